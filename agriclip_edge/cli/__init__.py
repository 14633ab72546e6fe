"""The command ``agriclip-edge``: one file a command, heavy imports inside the commands."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line and leave with its exit code."""
    # The process is ours, so its threads are too: OpenBLAS would start a pool that this program never uses.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What a command loads stays. To look through it for cycles after every 700 objects took `packs build` 65 ms.
    gc.set_threshold(50_000)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a path may be no UTF-8
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")  # Pillow's, about photos that it can read all the same
    try:
        from .app import run

        _leave(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while the program is still being loaded
        sys.stderr.write("agriclip-edge: interrupted\n")
        sys.exit(130)


def _leave(code: int) -> NoReturn:
    """End the process here: the interpreter's own end would free a session and modules for 70 ms to no use."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):  # told already, where it was written
        pass
    os._exit(code)
