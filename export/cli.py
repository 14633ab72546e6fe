"""The commands of ``python -m export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agriclip_edge.errors import AgriclipError, UsageError

from .budget import BUDGET

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Output = Annotated[Path, typer.Option(help="The bundle's folder, or with --zip its file; a bundle there is replaced.")]
Zip = Annotated[bool, typer.Option("--zip", help="One zip file instead of a folder.")]


@app.command()
def bundle(
    checkpoint: Annotated[Path, typer.Option(help="Folder of a finished training run.")],
    data: Annotated[Path, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data that it was trained on.")],
    output: Output,
    zip_: Zip = False,
    budget: Annotated[Path, typer.Option(help="What each variant may lose, as TOML.")] = BUDGET,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant of the image encoder; repeatable.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "agriclip-lite0",
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
) -> None:
    """Make the bundle of a training run."""
    from training.text_tower import TextTower, minilm_folder

    from .bundle import BundleConfig, export_bundle
    from .taxonomy import read_parents
    from .variants import choose

    config = BundleConfig(name=name, version=version, variants=choose(variant or []), budget=budget)
    text = TextTower(minilm_folder())
    export_bundle(checkpoint, data, output, text, read_parents(), config, zipped=zip_, say=typer.echo)


@app.command()
def tiny(output: Output, zip_: Zip = False) -> None:
    """Write the bundle of some kilobytes that the tests use."""
    from .tiny import write_tiny

    write_tiny(output, zipped=zip_)


@app.command()
def tensorrt(
    bundle: Annotated[Path, typer.Option(help="A bundle's folder or zip.")],
    prove: Annotated[
        bool, typer.Option("--prove", help="Run the engines too: parity, gate, latency. Needs a GPU.")
    ] = False,
    photos: Annotated[Path | None, typer.Option(help="With --prove: a folder of photos to compare on.")] = None,
    record: Annotated[Path | None, typer.Option(help="With --prove: the JSON file to write.")] = None,
) -> None:
    """Build a bundle's TensorRT variants, without a GPU; with --prove, run them on one."""
    from agriclip_edge.bundle.reader import Bundle

    from .tensorrt import lint
    from .tensorrt_proof import prove as proofs

    opened = Bundle.open(bundle)
    if prove and photos is not None and record is not None:
        lines = proofs(opened, photos, record)
    elif not prove and photos is None and record is None:
        lines = lint(opened)
    else:
        raise UsageError("--prove, --photos and --record go together; accepted: all of them, or none")
    for line in lines:
        typer.echo(line)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app()
    except (AgriclipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
