"""The commands of ``python -m export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agriclip_edge.errors import AgriclipError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Output = Annotated[Path, typer.Option(help="The bundle's folder, or with --zip its file; a bundle there is replaced.")]
Zip = Annotated[bool, typer.Option("--zip", help="One zip file instead of a folder.")]


@app.command()
def bundle(
    checkpoint: Annotated[Path, typer.Option(help="Folder of a finished training run.")],
    output: Output,
    zip_: Zip = False,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "agriclip-lite0",
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
) -> None:
    """Make the bundle of a training run."""
    from training.text_tower import TextTower, minilm_folder

    from .bundle import BundleConfig, export_bundle
    from .taxonomy import read_parents

    config = BundleConfig(name=name, version=version)
    export_bundle(checkpoint, output, TextTower(minilm_folder()), read_parents(), config, zipped=zip_)


@app.command()
def tiny(output: Output, zip_: Zip = False) -> None:
    """Write the bundle of some kilobytes that the tests use."""
    from .tiny import write_tiny

    write_tiny(output, zipped=zip_)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app()
    except (AgriclipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
