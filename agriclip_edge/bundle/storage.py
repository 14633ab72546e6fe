"""Where a bundle's bytes come from: a folder or a single zip, never unpacked, never trusted."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import BundleError, BundleFault
from .manifest import MAX_FILES, check_path

if TYPE_CHECKING:
    import zipfile

_MAX_DIRECTORY_BYTES = 2 * MAX_FILES * (46 + 255 + 64)  # an entry's record, its longest name, some extra fields


class Storage(Protocol):
    """Reads one bundle's files by their manifest path."""

    def read(self, path: str, limit: int) -> bytes:
        """All bytes of one file.

        Raises:
            BundleError: the file is missing, is not a regular file inside the bundle, or exceeds ``limit`` bytes.
        """

    def paths(self) -> list[str]:
        """Every file that is there, listed in the manifest or not."""


class FolderStorage:
    """A bundle as a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def read(self, path: str, limit: int) -> bytes:
        """All bytes of one file; see `Storage`."""
        check_path(path)
        target = self._root.joinpath(path)
        try:
            inside = target.resolve(strict=True)
            if not inside.is_relative_to(self._root):
                raise BundleError(BundleFault.PATH_UNSAFE, f"{path} is a link to a file outside the bundle")
            status = inside.stat()  # before it is opened: a pipe without a writer would block there for ever
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(BundleFault.FILE_MISSING, f"{path} is not a regular file")
            _check_limit(path, status.st_size, limit)
            with open(inside, "rb") as file:
                return file.read(limit + 1)
        except FileNotFoundError:
            raise BundleError(BundleFault.FILE_MISSING, f"{path} is listed in bundle.json but is not there") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: Python before 3.13 on links that form a circle
            reason = getattr(error, "strerror", None) or "links that form a circle"
            raise BundleError(BundleFault.FILE_MISSING, f"{path} cannot be read: {reason}") from None

    def paths(self) -> list[str]:
        """Every file below the folder."""
        return sorted(
            str(Path(folder, name).relative_to(self._root).as_posix())
            for folder, _, names in os.walk(self._root)
            for name in names
        )


class ZipStorage:
    """A bundle as one zip file; entries are read straight from it."""

    def __init__(self, path: Path) -> None:
        import zipfile  # a folder, the shipped form, does not wait for it

        self._lock = threading.Lock()  # one file position for all readers
        _check_directory(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise BundleError(BundleFault.NOT_A_BUNDLE, f"{path} is not a readable zip file: {error}") from None
        self._entries = self._check()

    def _check(self) -> dict[str, zipfile.ZipInfo]:
        import zipfile

        infos = self._archive.infolist()
        if len(infos) > 2 * MAX_FILES:
            self._refuse(f"holds {len(infos):,} entries; at most {2 * MAX_FILES:,} are accepted")
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.orig_filename
            check_path(name[:-1] if name.endswith("/") else name)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 1:
                self._refuse(f"entry {name!r} is encrypted")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                self._refuse(f"entry {name!r} is a link or a device; accepted: regular files")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                self._refuse(f"entry {name!r} is compressed by method {info.compress_type}; accepted: stored, deflated")
            if name in entries:
                self._refuse(f"entry {name!r} is there twice")
            entries[name] = info
        return {name: info for name, info in entries.items() if not name.endswith("/")}

    def _refuse(self, message: str) -> None:
        raise BundleError(BundleFault.ARCHIVE_UNSAFE, f"the zip {message}")

    def read(self, path: str, limit: int) -> bytes:
        """All bytes of one entry; see `Storage`."""
        import zipfile
        import zlib

        info = self._entries.get(path)
        if info is None:
            raise BundleError(BundleFault.FILE_MISSING, f"{path} is listed in bundle.json but is not in the zip")
        _check_limit(path, info.file_size, limit)
        try:
            with self._lock, self._archive.open(info) as file:
                return file.read(limit + 1)  # bounded even when the entry's own size lies
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise BundleError(BundleFault.ARCHIVE_UNSAFE, f"the zip's entry {path} cannot be read: {error}") from None

    def paths(self) -> list[str]:
        """Every entry that is a file."""
        return sorted(self._entries)


def open_storage(path: Path) -> Storage:
    """Open a folder or a zip.

    Raises:
        BundleError: there is nothing at ``path``, or it is neither.
    """
    try:
        if path.is_dir():
            return FolderStorage(path)
        if path.is_file():
            return ZipStorage(path)
    except OSError as error:
        raise BundleError(BundleFault.NOT_FOUND, f"the bundle {path} cannot be opened: {error.strerror}") from None
    raise BundleError(BundleFault.NOT_FOUND, f"no bundle at {path}; accepted: a bundle's folder or zip file")


def _check_directory(path: Path) -> None:
    """Refuse a zip by the size of its directory, which ``zipfile`` reads whole, 500 bytes of memory an entry.

    Raises:
        BundleError: the directory is larger than any bundle's, or in the form for zips over 4 GiB.
    """
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - 65_557, 0))  # the end record of 22 bytes, and its comment of up to 65,535
        tail = file.read()
    plain = tail[-22:-18] == b"PK\5\6" and tail[-2:] == b"\0\0"  # as zipfile chooses it
    at = len(tail) - 22 if plain else tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        return  # no zip: zipfile says so
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if size > _MAX_DIRECTORY_BYTES or tail[max(at - 20, 0) : at].startswith(b"PK\6\7"):
        message = f"the zip has a directory of {size:,} bytes; at most {_MAX_DIRECTORY_BYTES:,}, no ZIP64, are accepted"
        raise BundleError(BundleFault.ARCHIVE_UNSAFE, message)


def _check_limit(path: str, size: int, limit: int) -> None:
    if size > limit:
        fault = BundleFault.TOO_LARGE if path == "bundle.json" else BundleFault.SIZE_MISMATCH
        raise BundleError(fault, f"{path} has {size:,} bytes; expected at most {limit:,}")
