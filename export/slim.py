"""Smaller bundles made of one that is there: the image encoders of some runtimes, everything else as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import UsageError

from .writer import write_bundle

# By device, the variants and runtimes that its bundle keeps; the first is what the bundle is for. All keep an encoder
# in float32 for ONNX Runtime: it runs anywhere, answers until TensorRT has built an engine, and is what
# `agriclip-edge verify` holds the others against.
FAMILY = {
    "cpu": ("cpu-int8", "cpu-float"),
    "arm": ("arm-int8", "cpu-float"),
    "openvino": ("openvino", "cpu-float"),
    "jetson": ("tensorrt", "arm-int8", "cpu-float"),
}


def slim(bundle: Bundle, only: Sequence[str], output: Path, *, zipped: bool = False) -> None:
    """Write a bundle that keeps some of another's image encoders: the same bytes each time.

    Args:
        bundle: an open bundle.
        only: runtimes, or names of variants, to keep; at least one.
        output: folder, or with ``zipped`` the file, to be made.
        zipped: one zip file instead of a folder.

    Raises:
        UsageError: the bundle has no such runtime or variant, or ``output`` is something else than a bundle.
        BundleError: a file of the bundle is broken.
    """
    manifest = bundle.manifest
    known = list(dict.fromkeys(word for entry in manifest.image for word in (entry.runtime, entry.name)))
    unknown = [word for word in only if word not in known]
    if unknown or not only:
        found = f"no {unknown[0]!r}" if unknown else "nothing to keep is named"
        raise UsageError(f"{found}; the bundle {manifest.name} has: {', '.join(known)}")
    kept = [entry for entry in manifest.image if entry.runtime in only or entry.name in only]
    left_out = {entry.file for entry in manifest.image} - {entry.file for entry in kept}
    files = {entry.path: bundle.read(entry.path) for entry in manifest.files if entry.path not in left_out}
    sources = {**manifest.sources, "slimmed from": bundle.sha256}
    write_bundle(output, msgspec.structs.replace(manifest, image=kept, sources=sources), files, zipped=zipped)


def write_family(bundle: Bundle, folder: Path) -> Iterator[str]:
    """Write one zip for each device of `FAMILY` that the bundle has encoders for.

    Yields:
        one line a device.

    Raises:
        UsageError: a name in ``folder`` is taken by something else than a bundle.
        BundleError: a file of the bundle is broken.
    """
    manifest = bundle.manifest
    known = {word for entry in manifest.image for word in (entry.runtime, entry.name)}
    for device, wanted in FAMILY.items():
        if wanted[0] not in known:
            yield f"{device}  left out: {manifest.name} has no {wanted[0]}"
            continue
        only = [word for word in wanted if word in known]
        path = folder / f"{manifest.name}-{manifest.version}-{device}.zip"
        slim(bundle, only, path, zipped=True)
        yield f"{device}  {path.name}  {path.stat().st_size / 1e6:.1f} MB: {', '.join(only)}"
