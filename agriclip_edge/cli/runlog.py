"""The log of a run: enough to say later what was answered by what."""

from __future__ import annotations

import json
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..files import atomic_write

_PACKAGES = ("agriclip-edge", "numpy", "pillow", "onnxruntime", "pillow-heif")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that an answer depends on; None for one that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


class RunLog:
    """Collects the facts of one run and writes them when it ends, however it ends."""

    def __init__(self, path: Path | None) -> None:
        """Write to ``path`` at the end; None keeps no log."""
        self._path = path
        self.facts: dict[str, Any] = {
            "command": [argument.encode("utf-8", "backslashreplace").decode() for argument in sys.argv],
            "started": _now(),
            "versions": versions() if path is not None else {},
            "machine": {"system": platform.system(), "architecture": platform.machine()},
        }

    def write(self, exit_code: int) -> None:
        """Write the log, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        if self._path is None:
            return
        document = {**self.facts, "finished": _now(), "exit_code": exit_code}
        with atomic_write(self._path) as file:
            file.write(json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
