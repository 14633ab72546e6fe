"""Writes a bundle beside its place, opens it again in full, and only then renames it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from agriclip_edge.bundle.manifest import FileEntry, Manifest
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import UsageError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: same contents, same bytes
_MODE = 0o644


def write_bundle(output: Path, manifest: Manifest, files: Mapping[str, bytes], *, zipped: bool = False) -> None:
    """Write a bundle; a former bundle at ``output`` is replaced only by one that was verified in full.

    Args:
        output: the folder, or with ``zipped`` the file, to be made.
        manifest: everything but its ``files``, which are listed here.
        files: contents by path inside the bundle.
        zipped: one zip file (stored, fixed times) instead of a folder.

    Raises:
        BundleError: what was written is not a valid bundle; nothing is left behind.
        UsageError: ``output`` is something else than a bundle and will not be overwritten.
    """
    _check_output(output, zipped)
    contents = {**dict(sorted(files.items())), "bundle.json": encode_manifest(manifest, files)}
    output.parent.mkdir(parents=True, exist_ok=True)
    with _beside(output) as folder:
        fresh = folder / "fresh"
        if zipped:
            _write_zip(fresh, contents)
        else:
            _write_folder(fresh, contents)
        for _ in verify_bundle(fresh):
            pass
        if output.is_dir():  # a folder cannot be renamed over another
            output.rename(folder / "former")
        fresh.replace(output)


def encode_manifest(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """``bundle.json`` with the size and sha256 of every file, checked against the rules of the format."""
    entries = [FileEntry(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in sorted(files.items())]
    complete = msgspec.structs.replace(manifest, files=entries)
    complete.check()
    return msgspec.json.format(msgspec.json.encode(complete), indent=2) + b"\n"


@contextlib.contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A folder on the same disk as ``output`` that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_output(output: Path, zipped: bool) -> None:
    if zipped and output.is_dir():
        raise UsageError(f"{output} is a folder; accepted with --zip: the name of a file")
    if zipped and output.exists() and not zipfile.is_zipfile(output):
        raise UsageError(f"{output} is there and is no zip; accepted: a new name, or a bundle to replace")
    if not zipped and output.exists() and not (output / "bundle.json").is_file():
        raise UsageError(f"{output} is there and is no bundle; accepted: a new name, or a bundle to replace")


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _write_zip(path: Path, contents: Mapping[str, bytes]) -> None:
    with open(path, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, data in contents.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.external_attr = _MODE << 16
                info.create_system = 3  # Unix, whatever this runs on: part of the bytes
                archive.writestr(info, data)
        file.flush()
        os.fsync(file.fileno())
