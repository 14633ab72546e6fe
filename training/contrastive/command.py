"""The commands ``contrastive`` and ``embed-shards``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CONTRASTIVE_EXAMPLES = """Examples:

python -m training contrastive --shards alive/ --output runs/tiny --recipe tiny

torchrun --nproc-per-node 8 -m training contrastive --shards alive/ --output runs/b16

python -m training contrastive --shards alive/ --output runs/lora --pretrained b16.pt --image lora --text frozen

python -m training contrastive --shards alive/ --output runs/b16 --wise 0.3"""
EMBED_EXAMPLES = """Examples:

python -m training embed-shards --shards alive/ --output vectors --pretrained b16.pt --workers 8 --gpus 1

python -m training embed-shards --shards alive/ --output v --pretrained runs/b16 --address head:6379 --workers 8"""

Shards = Annotated[list[Path], typer.Option(help="Folder that build-shards wrote; may be given several times.")]


def contrastive(
    shards: Shards,
    output: Annotated[Path, typer.Option(help="Folder of the run; a cut-off run there goes on.")],
    recipe: Annotated[str, typer.Option(help="Where to begin: vit-b-16 or tiny.")] = "vit-b-16",
    config: Annotated[Path | None, typer.Option(help="TOML file with what differs from the recipe.")] = None,
    model: Annotated[str | None, typer.Option(help="Name that open_clip knows, or a JSON in its form.")] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="open_clip's tag, a checkpoint, a run's folder; empty for random weights.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image tower: full, lora or frozen.")] = None,
    text: Annotated[str | None, typer.Option(help="Text tower: full, lora or frozen.")] = None,
    loss: Annotated[str | None, typer.Option(help="softmax or sigmoid.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs a step, over all processes.")] = None,
    micro: Annotated[int | None, typer.Option(help="Pairs a pass: lower it where memory ends.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps in place of the recipe's epochs.")] = None,
    wise: Annotated[
        float | None, typer.Option(help="Share of the tuned weights in the model; on a finished run, mixes again.")
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(help="Captions in other words, that `prompts rewrite` wrote; the grammar's beside them."),
    ] = None,
    device: Annotated[str, typer.Option(help="cuda or cpu; empty takes a GPU where there is one.")] = "",
) -> None:
    """Train an image and a text tower on shards of photos and the captions of their classes."""
    from rich.console import Console

    from agriclip_edge.errors import UsageError

    from ..captions import captions_for
    from ..progress import StatusLine
    from ..rewriting import read_rewritten
    from .config import RECIPES, read_config
    from .run import train_contrastive

    if recipe not in RECIPES:
        raise UsageError(f"no recipe is called {recipe!r}; accepted: {', '.join(RECIPES)}")
    given = {"model": model, "pretrained": pretrained, "image": image, "text": text, "loss": loss}
    numbers = {"batch": batch, "micro": micro, "max_steps": max_steps, "wise": wise}
    chosen = read_config(RECIPES[recipe](), config, given | numbers)

    rewritten = read_rewritten(captions).by_label() if captions is not None else {}

    def told(label: str) -> tuple[str, ...]:
        return captions_for(label, chosen.captions, chosen.seed) + rewritten.get(label, ())

    train_contrastive(shards, output, chosen, told, StatusLine(Console()), device)


def embed_shards(
    shards: Shards,
    output: Annotated[Path, typer.Option(help="Folder for one file a shard; what is there already is left.")],
    model: Annotated[str, typer.Option(help="Name that open_clip knows, or a JSON in its form.")] = "ViT-B-16",
    pretrained: Annotated[str, typer.Option(help="open_clip's tag, a checkpoint, or a run's folder.")] = "",
    workers: Annotated[int, typer.Option(help="Processes under Ray Data; 1 needs no Ray.")] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each worker; 0.5 lets two share one.")] = 0,
    address: Annotated[str, typer.Option(help="Of a Ray cluster; empty uses this machine.")] = "",
) -> None:
    """Store the image embeddings of all photos, shard by shard over many workers; a cut-off run goes on."""
    from rich.console import Console

    from ..progress import StatusLine
    from . import embed

    status = StatusLine(Console())

    def said(done: int, total: int) -> None:
        status.step(done, max(1, total), f"{done} of {total} shards")

    embed.embed_shards(shards, output, model, pretrained, workers, gpus=gpus, address=address, said=said)
