"""The command of stage 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DINO_EXAMPLES = """Examples:

python -m training dino --data DATA --output runs/dino --collection alive-mini --collection alive-plus

python -m training dino --data DATA --output runs/resnet --recipe default --architecture resnet50 --weights random

torchrun --nproc-per-node 8 -m training dino --data DATA --output runs/vit --recipe default \
--architecture vit_base_patch16_224 --weights random --device cuda --precision bfloat16"""


def dino(
    data: Annotated[Path, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data.")],
    output: Annotated[Path, typer.Option(help="Folder for the backbone and the log; a cut-off run there goes on.")],
    recipe: Annotated[str, typer.Option(help="offline (two cores), default (GPUs) or tiny.")] = "offline",
    weights: Annotated[str, typer.Option(help="imagenet, random, or the folder of a run to start from.")] = "imagenet",
    collection: Annotated[list[str] | None, typer.Option(help="Folder under --data; may be repeated.")] = None,
    architecture: Annotated[str, typer.Option(help="A timm model in place of the recipe's.")] = "",
    targets: Annotated[str, typer.Option(help="centring or sinkhorn, in place of the recipe's.")] = "",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16, in place of the recipe's.")] = "",
    steps: Annotated[int, typer.Option(help="In place of the recipe's; 0 keeps those.")] = 0,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Cores for torch; 0 takes its own choice.")] = 0,
) -> None:
    """Stage 2: learn features from photos without labels (DINO)."""
    from dataclasses import replace

    import torch
    from rich.console import Console

    from agriclip_edge.errors import UsageError

    from ..progress import StatusLine
    from .config import DinoConfig
    from .run import start_tower, train_dino
    from .workers import workers

    recipes = {"offline": DinoConfig.offline, "default": DinoConfig, "tiny": DinoConfig.tiny}
    if recipe not in recipes:
        raise UsageError(f"no recipe is called {recipe!r}; accepted: {', '.join(recipes)}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"device {device!r} is not here; accepted: cpu{', cuda' * torch.cuda.is_available()}")
    if threads > 0:
        torch.set_num_threads(threads)
    config = recipes[recipe]()
    chosen: dict[str, Any] = {"architecture": architecture, "targets": targets, "precision": precision, "steps": steps}
    config = replace(config, seed=seed, **{name: value for name, value in chosen.items() if value})
    torch.manual_seed(config.seed)
    tower, found = start_tower(config.architecture, weights)
    config = replace(config, architecture=found)
    with workers(device) as team:
        train_dino(data, output, config, tower, collection or ["alive-mini"], StatusLine(Console()), team)
