"""The command ``build-shards``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """Examples:

python -m training build-shards --recipe alive.toml --output shards

python -m training build-shards --source "path=leaves/; licence=CC BY 4.0; origin=https://doi.org/…" --output shards

python -m training build-shards --recipe alive.toml --against ../data/downstream --embed BUNDLE --output shards

A build that was cut off goes on when the same command is given again. Exit codes: 0 done; 1 done, and some photos are
broken (named, left out); 2 nothing was built."""


def build_shards(
    output: Annotated[Path, typer.Option(help="Folder for the shards, their index and the report.")],
    recipe: Annotated[Path | None, typer.Option(help="TOML or JSON file of sources: docs/alive.md.")] = None,
    source: Annotated[
        list[str] | None, typer.Option(help='A source: "path=…; licence=…; origin=…", with any key of a recipe.')
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="A test set, in any form of a source: none of its photos is let in.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the collection.")] = None,
    val: Annotated[float | None, typer.Option(help="Share to hold out of sources without a split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split and of the order.")] = None,
    bits: Annotated[
        int | None, typer.Option(help="Near duplicates: bits of 64 in which the hashes may differ.")
    ] = None,
    grey: Annotated[float | None, typer.Option(help="Near duplicates: mean grey levels between thumbnails.")] = None,
    embed: Annotated[
        Path | None, typer.Option(help="Bundle or training run whose embeddings find copies across splits too.")
    ] = None,
    cosine: Annotated[float | None, typer.Option(help="Least cosine that is a copy, with --embed.")] = None,
    short_side: Annotated[int | None, typer.Option(help="Make photos this small, in pixels; 0 leaves them.")] = None,
    quality: Annotated[int | None, typer.Option(help="Of JPEGs that are written anew.")] = None,
    shard_photos: Annotated[int | None, typer.Option(help="Photos a shard, at most.")] = None,
    allow_unlicensed: Annotated[bool, typer.Option(help="Let in sources that state no licence or origin.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = os.cpu_count() or 1,
) -> None:
    """Build training shards out of labelled photos of many sources, without copies, with their licences."""
    from rich.console import Console

    from .build import build_shards as build
    from .recipe import Recipe, change_recipe, read_recipe

    changes = {
        "name": name, "val": val, "seed": seed, "bits": bits, "grey": grey, "cosine": cosine,
        "short_side": short_side, "quality": quality, "shard_photos": shard_photos,
    }  # fmt: skip
    start = Recipe() if recipe is None else read_recipe(recipe)
    whole = change_recipe(start, source or [], against or [], **changes)
    built = build(
        whole,
        output,
        encoder=embed,
        allow_unlicensed=allow_unlicensed,
        workers=workers,
        console=Console(stderr=True),
    )
    for photo, reason in built.pool.broken:
        typer.echo(f"left out: {photo.source}: {photo.name} {reason}", err=True)
    photos = sum(shard.photos for shard in built.index.shards)
    typer.echo(
        f"{photos:,} photos in {len(built.index.shards)} shards, {len(built.duplicates):,} copies left out; "
        f"look at {output / 'report.html'}"
    )
    if built.pool.broken:
        raise typer.Exit(1)
