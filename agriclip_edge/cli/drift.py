"""``agriclip-edge drift``: whether photos have left what the model knows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .embedded import embed_listed
from .exits import DONE, SOME_PHOTOS_FAILED
from .photos import list_photos

EXAMPLES = """\b
Examples:
  agriclip-edge drift field/
  agriclip-edge drift field/2026-06/ --list 20
  agriclip-edge drift field/ --json --output drift.json"""


def drift(
    photos: options.Photos,
    listed: Annotated[
        int, typer.Option("--list", min=0, metavar="N", help="Name so many of the most unusual photos.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write there, whole or not at all.")
    ] = None,
    bundle: options.BundlePath = None,
    threads: options.Threads = None,
    runtime: options.Runtime = None,
) -> int:
    """Say whether camera, season or place has left what the model knows, by the embeddings of photos.

    Exit code 0 says that it was told, whatever the answer; 1 that some photos could not be used.
    """
    from ..bundle.reader import Bundle
    from ..classifier import load
    from ..drift import compare
    from ..errors import UsageError
    from ..files import atomic_write

    opened = Bundle.open(bundle)
    opened.for_photos()
    reference = opened.reference
    if reference is None:
        raise UsageError(f"bundle {opened.manifest.name} has no reference statistics; export it again to get them")
    items = list_photos(photos)
    classifier = load(opened, threads=threads, runtime=runtime)
    vectors, paths = embed_listed(items, classifier.embed)
    found = compare(reference, vectors, paths, listed)
    if as_json:
        text = json.dumps({**asdict(found), "says": found.sentence()}, indent=2) + "\n"
    else:
        lines = [found.sentence()]
        lines += [
            f"  {photo.ratio:5.2f}  farther than {100 * photo.beyond:3.0f} % of known photos  {photo.path}"
            for photo in found.unusual
        ]
        text = "\n".join(lines) + "\n"
    data = text.encode("utf-8", "backslashreplace")
    if output is None:
        typer.echo(data.decode(), nl=False)
    else:
        with atomic_write(output) as file:
            file.write(data)
    return DONE if len(paths) == len(items) else SOME_PHOTOS_FAILED
