"""Where this package writes, and how: beside the place and renamed, so that readers see all of a file or none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import UsageError


def home() -> Path:
    """The one folder that this package writes to by itself: ``$AGRICLIP_EDGE_HOME``, else the user's data folder.

    Raises:
        UsageError: the user has no home folder and names none.
    """
    chosen = os.environ.get("AGRICLIP_EDGE_HOME")
    if chosen:
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(data) if data else Path.home() / ".local" / "share") / "agriclip-edge"
    except RuntimeError:  # a container's user without a home
        raise UsageError("this user has no home folder; set AGRICLIP_EDGE_HOME to a folder of yours") from None


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of ``path`` only when the block ends without an error.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; nothing is left behind.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with atomic_write(target) as file:
        ...     _ = file.write(b"all or nothing")
        >>> target.read_bytes()
        b'all or nothing'
    """
    target = Path(path)
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        error.filename = str(target)  # a message names the file that the user knows
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, target)
    except BaseException as error:
        os.unlink(beside)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, beside):
            error.filename = str(target)
        raise


def _umask() -> int:
    """The process's file mode mask (mkstemp ignores it and writes files that only their owner can read)."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return 0o022
