"""``agriclip-edge info`` and ``agriclip-edge verify``: what a bundle is, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .exits import DONE

INFO_EXAMPLES = """\b
Examples:
  agriclip-edge info
  agriclip-edge info --bundle my-model.zip --json"""

VERIFY_EXAMPLES = """\b
Examples:
  agriclip-edge verify
  agriclip-edge verify my-model.zip"""


def info(
    bundle: options.BundlePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Say what a bundle holds: encoders, label packs, sizes, licences."""
    from ..bundle.reader import Bundle

    opened = Bundle.open(bundle)
    manifest = opened.manifest
    sizes = {entry.path: entry.size for entry in manifest.files}
    facts: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "description": manifest.description,
        "path": str(opened.path),
        "sha256": opened.sha256,
        "bytes": sum(sizes.values()),
        "embedding_dim": manifest.embedding_dim,
        "input_size": manifest.preprocessing.size,
        "image": {
            variant.name: {"runtime": variant.runtime, "precision": variant.precision, "bytes": sizes[variant.file]}
            for variant in manifest.image
        },
        "text": {"bytes": sizes[manifest.text.file], "templates": manifest.text.templates} if manifest.text else None,
        "packs": {entry.name: {"title": entry.title, "labels": entry.labels} for entry in manifest.packs},
        "licences": {licence.covers: licence.spdx for licence in manifest.licences},
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return DONE
    typer.echo(f"{facts['name']} {facts['version']}: {facts['description']}")
    typer.echo(f"  at        {facts['path']}")
    typer.echo(f"  sha256    {facts['sha256']}")
    typer.echo(f"  size      {facts['bytes'] / 1e6:.1f} MB in {len(sizes)} files")
    typer.echo(f"  photos    {facts['input_size']}×{facts['input_size']} pixels to {facts['embedding_dim']} values")
    for name, variant in facts["image"].items():
        typer.echo(f"  image     {name}: {variant['precision']} for {variant['runtime']}, {_megabytes(variant)}")
    if facts["text"] is not None:
        typer.echo(f"  text      {_megabytes(facts['text'])}, templates {', '.join(facts['text']['templates'])}")
    labels = sum(entry["labels"] for entry in facts["packs"].values())
    typer.echo(f"  packs     {len(facts['packs'])} with {labels} labels (agriclip-edge packs list)")
    for covers, spdx in facts["licences"].items():
        typer.echo(f"  licence   {spdx}: {covers}")
    return DONE


def _megabytes(part: dict[str, Any]) -> str:
    return f"{part['bytes'] / 1e6:.1f} MB"


def verify(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A bundle's folder or zip; else the shipped one.")
    ] = None,
    bundle: options.BundlePath = None,
) -> int:
    """Check every file of a bundle against its manifest, and run its encoders once."""
    from click.core import ParameterSource

    from ..bundle.verify import verify_bundle
    from ..errors import UsageError

    named = context.get_parameter_source("bundle") is ParameterSource.COMMANDLINE  # and not in the environment
    if path is not None and named and path != bundle:
        raise UsageError("a bundle as argument and another as --bundle; accepted: one")
    for line in verify_bundle(path or bundle):
        typer.echo(line)
    return DONE
