"""The commands of ``python -m training``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agriclip_edge.errors import AgriclipError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Data = Annotated[
    Path, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data: the folder that holds alive-mini/.")
]


@app.command()
def encoder(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint and the log; a cut-off run there goes on.")],
    dev: Annotated[float, typer.Option(help="Share of the training photos to hold out and judge by.")] = 0.0,
    threads: Annotated[int, typer.Option(help="Cores for torch; 0 takes its own choice.")] = 0,
) -> None:
    """Fine-tune the image encoder by the recipe of training/config.py."""
    import torch
    from rich.console import Console

    from .config import EncoderConfig
    from .encoder import COLLECTION, train_encoder
    from .image_tower import ImageTower, lite0_weights, load_imagenet
    from .progress import StatusLine
    from .report import print_table
    from .results import judge_run
    from .text_tower import TextTower, minilm_folder

    if threads > 0:
        torch.set_num_threads(threads)
    config = EncoderConfig()
    text = TextTower(minilm_folder())
    torch.manual_seed(config.seed)
    tower = ImageTower(text.dim, config.architecture)
    load_imagenet(tower, lite0_weights())
    console = Console()
    train_encoder(data, output, config, tower, text, StatusLine(console), dev)
    if dev == 0:
        print_table(judge_run(output, data, COLLECTION, "val", text).table, console)


@app.command()
def evaluate(
    data: Data,
    checkpoint: Annotated[Path, typer.Option(help="Folder of a training run; the record is written there.")],
    collection: Annotated[str, typer.Option(help="Which collection under --data.")] = "alive-mini",
    split: Annotated[str, typer.Option(help="Which of its splits: train, val, query or support.")] = "val",
) -> None:
    """Judge a checkpoint on every task of a collection."""
    from rich.console import Console

    from .report import print_table
    from .results import judge_run
    from .text_tower import TextTower, minilm_folder

    print_table(judge_run(checkpoint, data, collection, split, TextTower(minilm_folder())).table, Console())


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app()
    except (AgriclipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
