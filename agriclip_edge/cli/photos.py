"""What the arguments of a command mean: photos, folders, patterns and lists become paths in a fixed order."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_SUFFIXES = ".jpg .jpeg .jpe .jfif .mpo .png .webp .tif .tiff .bmp .gif .avif .heic .heif .ppm .pgm .pnm"
SUFFIXES = frozenset(_SUFFIXES.split(" "))


class Listed(NamedTuple):
    """One path to work on, or one that could not be listed and why."""

    path: str
    error: str | None = None


def list_photos(arguments: Iterable[str]) -> list[Listed]:
    """Expand the arguments, in order; the same path given twice is there twice."""
    found: list[Listed] = []
    for argument in arguments:
        if argument == "-":
            for line in sys.stdin.buffer:
                path = os.fsdecode(line.rstrip(b"\r\n"))
                if path:
                    found.extend(_expand(path))
        else:
            found.extend(_expand(argument))
    return found


def _expand(argument: str) -> Iterator[Listed]:
    if os.path.isdir(argument):
        yield from _walk(argument)
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            yield Listed(argument, "no file matches this pattern")
        for match in matches:
            if os.path.isdir(match):
                if not argument.endswith("**"):  # ** names the files inside by itself
                    yield from _walk(match)
            else:
                yield Listed(match)
    else:
        yield Listed(argument)


def _walk(folder: str) -> Iterator[Listed]:
    """Photos in a folder and below, by name; files of other kinds and hidden ones are passed over."""
    failures: list[OSError] = []
    empty = True
    for parent, folders, names in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                empty = False
                yield Listed(os.path.join(parent, name))
    for failure in failures:
        empty = False
        yield Listed(os.fsdecode(failure.filename or folder), f"folder cannot be read: {failure.strerror}")
    if empty:
        yield Listed(folder, "holds no photo; accepted: " + _SUFFIXES)
