"""The user's own label packs: a folder of ``*.safetensors`` files that survive a new version of the package."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ..bundle.manifest import NAME
from ..bundle.reader import Bundle
from ..errors import BundleError, BundleFault, LabelError
from ..files import atomic_write, home
from .pack import MAX_PACK_BYTES, LabelPack

SUFFIX = ".safetensors"


class PackStore:
    """The packs in one folder; the folder is made when the first pack is added."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use ``folder``, or ``packs/`` under `home`."""
        self.folder = folder if folder is not None else home() / "packs"

    def names(self) -> list[str]:
        """Names of the packs that are there, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}") if re.fullmatch(NAME, path.stem))

    def path(self, name: str) -> Path:
        """Where the pack of that name lies or would lie.

        Raises:
            LabelError: the name cannot be a file's name everywhere.
        """
        if re.fullmatch(NAME, name) is None:
            raise LabelError(f"pack name {name[:80]!r}; accepted: up to 64 of a-z, 0-9, '.', '_', '-'")
        return self.folder / f"{name}{SUFFIX}"

    def add(self, pack: LabelPack, *, replace: bool = False) -> Path:
        """Write a pack into the folder, whole or not at all.

        Raises:
            LabelError: a pack of that name is there and ``replace`` is not set.
            OSError: the folder cannot be written.
        """
        path = self.path(pack.name)
        if path.exists() and not replace:
            raise LabelError(f"there is a pack named {pack.name!r} already ({path}); --replace overwrites it")
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(pack.to_bytes())
        return path

    def remove(self, name: str) -> Path:
        """Delete a pack.

        Raises:
            LabelError: no pack of that name.
        """
        path = self.path(name)
        if not path.is_file():
            raise LabelError(f"no pack of your own is named {name!r}; yours are: {', '.join(self.names()) or 'none'}")
        path.unlink()
        return path


def read_pack_file(path: Path) -> LabelPack:
    """Read a pack from a file without trust.

    Raises:
        LabelError: the file cannot be read.
        BundleError: it is not a valid pack.
    """
    try:
        status = os.stat(path)  # before it is opened: a pipe without a writer would block there for ever
        if stat.S_ISREG(status.st_mode) and status.st_size > MAX_PACK_BYTES:
            message = f"{path}: has {status.st_size:,} bytes; at most {MAX_PACK_BYTES:,} are accepted"
            raise BundleError(BundleFault.TOO_LARGE, message)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise LabelError(f"cannot read pack {path}: not a regular file")
        with open(path, "rb") as file:
            data = file.read(MAX_PACK_BYTES + 1)
    except (OSError, ValueError) as error:
        raise LabelError(f"cannot read pack {path}: {getattr(error, 'strerror', None) or error}") from None
    return LabelPack.from_bytes(data, where=str(path))


def find_pack(bundle: Bundle, name: str, store: PackStore | None = None, *, foreign: bool = False) -> LabelPack:
    """A pack by name (the user's own first, then the bundle's) or by the path of its file.

    Args:
        bundle: an open bundle.
        name: of the pack, or path of a pack file.
        store: the user's own packs; None takes those under `home`.
        foreign: take packs of another bundle too, to be looked at.

    Raises:
        LabelError: nothing of that name.
        BundleError: the pack is broken or belongs to another bundle.
    """
    store = store or PackStore()
    if name.endswith(SUFFIX) or os.sep in name:
        pack = read_pack_file(Path(name))
    elif name in store.names():
        pack = read_pack_file(store.path(name))
    else:
        known = [entry.name for entry in bundle.manifest.packs]
        if name not in known:
            own = ", ".join(store.names())
            raise LabelError(f"no pack named {name!r}; the bundle has: {', '.join(known)}; yours: {own or 'none'}")
        return bundle.pack(name)
    if not foreign:
        bundle.accept(pack)
    return pack
