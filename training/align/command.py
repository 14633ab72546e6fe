"""The commands of stage 3 and of the ablation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Data, Threads, use_threads

ALIGN_EXAMPLES = """Examples:

python -m training align --data DATA --dino runs/dino --encoder runs/lite0 --output runs/aligned

python -m training align --data DATA --dino imagenet --encoder default --output runs/conse --collection alive-mini \
--collection alive-plus"""
ABLATION_EXAMPLES = """Examples:

python -m training ablation --data DATA --output runs/ablation

python -m training ablation --data DATA --config short.toml --collection alive-mini --collection alive-plus \
--judge alive-mini:val --judge alive-plus:val --judge downstream:query --output runs/ablation

python -m training ablation --data DATA --encoder runs/s0 --encoder runs/s1 --encoder runs/s2 --dino runs/dino \
--collection alive-mini --collection alive-plus --judge alive-mini:val --judge downstream:query \
--output runs/ablation"""

_Collections = Annotated[
    list[str] | None, typer.Option("--collection", help="Folder under --data to train on; may be repeated.")
]


def align(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for the map, the encoder, the mix and the report.")],
    dino: Annotated[str, typer.Option(help="Folder of a run of stage 2, or imagenet.")],
    encoder: Annotated[str, typer.Option(help="Folder of a run of stage 1, or default (ConSE).")],
    collection: _Collections = None,
    held_out: Annotated[float, typer.Option(help="Share of each class that judges penalty and mix.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of what is held out.")] = 0,
    threads: Threads = 0,
) -> None:
    """Stage 3: map DINO features into the text-aligned space in closed form."""
    from rich.console import Console

    from ..config import EncoderConfig
    from ..progress import StatusLine
    from ..text_tower import TextTower, minilm_folder
    from . import encoders
    from .config import AlignConfig
    from .run import align as run

    use_threads(threads)
    text = TextTower(minilm_folder())
    templates, size, seen = EncoderConfig().templates, EncoderConfig().input_size, ""
    if encoder == "default":
        target = encoders.default_encoder(text, size)
    else:
        target, templates, seen = encoders.trained_encoder(Path(encoder), text)
        size = target.backbone.space.input_size
    source = encoders.imagenet_backbone(size) if dino == "imagenet" else encoders.dino_backbone(Path(dino), size)
    config = AlignConfig(held_out=held_out, seed=seed)
    names = collection or ["alive-mini"]
    run(data, output, source, target, templates, names, config, text, StatusLine(Console()), seen)


def ablation(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for the record; a cut-off run there goes on.")],
    encoder: Annotated[
        list[Path] | None, typer.Option(help="Run of stage 1; once, or once a seed; trained a seed where none is.")
    ] = None,
    dino: Annotated[
        list[Path] | None, typer.Option(help="Run of stage 2; once, or once a seed; trained a seed where none is.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with what differs from the recipes: [encoder], [dino], [align].")
    ] = None,
    collection: _Collections = None,
    judge: Annotated[list[str] | None, typer.Option(help="<collection>:<split> to judge on; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="How many, from 0.")] = 3,
    threads: Threads = 0,
) -> None:
    """The table {ImageNet, trained} DINO × {default, trained} text-aligned encoder, beside contrastive only."""
    from rich.console import Console

    from ..ablation import default_start, run_ablation
    from ..ablation_config import AblationConfig, read_config
    from ..progress import StatusLine
    from ..text_tower import TextTower, minilm_folder

    use_threads(threads)
    console = Console()
    recipes = AblationConfig() if config is None else read_config(config, AblationConfig())
    record = run_ablation(
        data,
        output,
        default_start(TextTower(minilm_folder()), recipes.encoder.input_size),
        encoder or [],
        dino or [],
        collection or ["alive-mini"],
        judge or ["alive-mini:val", "downstream:query"],
        range(seeds),
        recipes,
        StatusLine(console),
    )
    console.print(record.markdown(), markup=False, highlight=False, soft_wrap=True)
