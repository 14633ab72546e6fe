"""``agriclip-edge info`` and ``agriclip-edge verify``: what a bundle is, and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .exits import DONE, SOME_PHOTOS_FAILED, WRONG_USE, complain

if TYPE_CHECKING:
    from ..bundle.manifest import SceneEncoder
    from ..bundle.reader import Bundle
    from ..labels.pack import LabelPack

INFO_EXAMPLES = """\b
Examples:
  agriclip-edge info
  agriclip-edge info --bundle my-model.zip --json"""

VERIFY_EXAMPLES = """\b
Examples:
  agriclip-edge verify
  agriclip-edge verify my-model.zip
  agriclip-edge verify my-model.zip --photos trial/            # runs every encoder on these photos
  agriclip-edge verify my-model.zip --photos trial/ --json     # trial/<label>/*.jpg: accuracy too"""


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
        "modality": manifest.scene.modality if manifest.scene is not None else "photo",
        **({"scene": _scene(manifest.scene, sizes)} if manifest.scene is not None else {}),
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
    size, dim = facts["input_size"], facts["embedding_dim"]
    if manifest.scene is None:
        typer.echo(f"  photos    {size}×{size} pixels to {dim} values")
    else:
        typer.echo(f"  scenes    {facts['modality']} in tiles of {size}×{size} pixels, {dim} values a pixel")
        for name, modality in facts["scene"]["modalities"].items():
            typer.echo(f"  modality  {name}: {modality['channels']} channels, {modality['said']}")
        for name, variant in facts["scene"]["variants"].items():
            typer.echo(f"  scene     {name}: {variant['precision']} for {variant['runtime']}, {_megabytes(variant)}")
    for name, variant in facts["image"].items():
        typer.echo(f"  image     {name}: {variant['precision']} for {variant['runtime']}, {_megabytes(variant)}")
    if facts["text"] is not None:
        typer.echo(f"  text      {_megabytes(facts['text'])}, templates {', '.join(facts['text']['templates'])}")
    labels = sum(entry["labels"] for entry in facts["packs"].values())
    typer.echo(f"  packs     {len(facts['packs'])} with {labels} labels (agriclip-edge packs list)")
    for covers, spdx in facts["licences"].items():
        typer.echo(f"  licence   {spdx}: {covers}")
    return DONE


def _scene(scene: SceneEncoder, sizes: dict[str, int]) -> dict[str, Any]:
    """The facts of a scene encoder."""
    modalities: dict[str, dict[str, Any]] = {}
    for modality in scene.modalities:
        waves = modality.wavelengths
        said = f"{modality.unit}, {min(waves):g} to {max(waves):g} nm" if waves else modality.unit
        level = modality.level
        said += f", levelled by {level.share:g} of each raster's mean" if level is not None else ""
        modalities[modality.name] = {
            "unit": modality.unit, "channels": modality.channels, "wavelengths": waves, "said": said,
            "level": {"share": level.share, "unit_length": level.unit_length} if level is not None else None,
        }  # fmt: skip
    return {
        "modalities": modalities,
        "receptive_field": scene.receptive_field,
        "ground_sampling": scene.ground_sampling,
        "text_encoder": scene.text.encoder if scene.text is not None else None,
        "variants": {
            variant.name: {"runtime": variant.runtime, "precision": variant.precision, "bytes": sizes[variant.file]}
            for variant in scene.variants
        },
    }


def _megabytes(part: dict[str, Any]) -> str:
    return f"{part['bytes'] / 1e6:.1f} MB"


def verify(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A bundle's folder or zip; else the shipped one.")
    ] = None,
    bundle: options.BundlePath = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            "--photos",
            metavar="FOLDER",
            help="Hold every encoder that runs here against the float32 one, on these photos; about a hundred.",
        ),
    ] = None,
    threads: options.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Check every file of a bundle against its manifest, and run its encoders: once, or on your own photos.

    With --photos, embeddings and best labels are compared with the float32 encoder's, against the limits of the
    bundle. Where every photo lies in a folder that is named for what it shows, accuracy is measured too. Exit code 2
    says that an encoder must not be used on this device; the line names the figure.
    """
    from click.core import ParameterSource

    from ..bundle.verify import verify_bundle
    from ..errors import UsageError

    named = context.get_parameter_source("bundle") is ParameterSource.COMMANDLINE  # and not in the environment
    if path is not None and named and path != bundle:
        raise UsageError("a bundle as argument and another as --bundle; accepted: one")
    checks = []
    for line in verify_bundle(path or bundle):
        checks.append(line)
        if not as_json:
            typer.echo(line)
    facts: dict[str, Any] = {"checks": checks}
    code = DONE
    if photos is not None:
        facts["gate"], code = _gate(path or bundle, photos, threads)
        if not as_json:
            for line in _gate_lines(facts["gate"]):
                typer.echo(line)
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    return code


def _gate(path: Path | None, folder: Path, threads: int | None) -> tuple[dict[str, Any], int]:
    """What the gate says on the photos of a folder, and the exit code."""
    from dataclasses import asdict

    from ..bundle.gate import judge_variants
    from ..bundle.reader import Bundle
    from ..errors import PhotoError, UsageError
    from ..imaging.prepared import prepare
    from ..runtimes import available_cores
    from .photos import list_photos
    from .progress import progress

    if not folder.is_dir():
        raise UsageError(f"--photos {folder}: no such folder")
    listed = list_photos([str(folder)])
    opened = Bundle.open(path)
    classes = _classes(folder, [photo.path for photo in listed if photo.error is None])
    pack = _labels(opened, classes)
    rows = {label.text: row for row, label in enumerate(pack.labels)} if pack is not None and classes else {}
    truth: list[int] = []
    unreadable = 0

    def squares() -> Iterator[Any]:
        nonlocal unreadable
        with progress(len(listed)) as advance:
            for photo in listed:
                try:
                    if photo.error is not None:
                        raise PhotoError(photo.error)
                    square = prepare(photo.path, opened.manifest.preprocessing.size).square
                except PhotoError as error:
                    unreadable += 1
                    complain(f"{photo.path}: {error}")
                else:
                    if rows:
                        truth.append(rows[_label_of(photo.path)])
                    yield square
                advance()

    report = judge_variants(opened, squares(), threads or available_cores(), pack, truth if rows else None)
    facts: dict[str, Any] = {
        **asdict(report),
        "unreadable": unreadable,
        "labels": len(pack.labels) if pack is not None else 0,
        "passed": not any(verdict.refused for verdict in report.verdicts),
    }
    for verdict in report.verdicts:
        if verdict.refused:
            complain(f"{verdict.variant} must not be used on this device: {'; '.join(verdict.refused)}")
    if not facts["passed"]:
        return facts, WRONG_USE
    return facts, SOME_PHOTOS_FAILED if unreadable else DONE


def _classes(folder: Path, paths: list[str]) -> list[str]:
    """Labels by the folders that the photos lie in; none when a photo lies in no folder, or all in one."""
    if any(Path(path).parent == folder for path in paths):
        return []
    labels = sorted({_label_of(path) for path in paths})
    return labels if len(labels) > 1 else []


def _label_of(path: str) -> str:
    return " ".join(Path(path).parent.name.replace("_", " ").split())


def _labels(bundle: Bundle, classes: list[str]) -> LabelPack | None:
    """Labels to choose among: the classes, else those of the default packs; None when the bundle cannot offer any."""
    from ..classifier import build_pack
    from ..labels.pack import merge

    if classes and bundle.manifest.text is not None:
        return build_pack(bundle, classes)
    packs = [bundle.pack(entry.name) for entry in bundle.manifest.packs if entry.default]
    return merge(packs) if packs else None


def _gate_lines(gate: dict[str, Any]) -> Iterator[str]:
    right = "" if gate["accuracy"] is None else f", {100 * gate['accuracy']:.1f} % right"
    yield f"gate      {gate['photos']} photos, {gate['labels']} labels; float32 by {gate['reference']}{right}"
    for verdict in gate["verdicts"]:
        said = [f"gate      {verdict['variant']} {'fails' if verdict['refused'] else 'passes'}"]
        if verdict["mean_cosine"] is not None:
            said.append("cosine mean {mean_cosine:.4f}, p1 {p1_cosine:.4f}, least {least_cosine:.4f}".format(**verdict))
        if verdict["agreement"] is not None:
            said.append(f"same label {100 * verdict['agreement']:.1f} %")
        if verdict["accuracy"] is not None:
            said.append(f"{100 * verdict['accuracy']:.1f} % right")
        yield "; ".join(said)
    for name, reason in gate["not_run"].items():
        yield f"gate      {name} was not run: {reason}"
