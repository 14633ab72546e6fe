"""The exit codes, and every error as one line on stderr: the only place that knows either."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

DONE = 0
SOME_PHOTOS_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130  # 128 + SIGINT, as in every shell


class Interrupted(Exception):
    """Ctrl-C, with words on what became of the work; typer drops those of a KeyboardInterrupt."""


def complain(message: str) -> None:
    """Print one line on stderr; what a path or a file holds that is no printable text is shown as escapes."""
    line = " ".join(f"agriclip-edge: {message}".split("\n"))
    try:
        sys.stderr.write("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) + "\n")
        sys.stderr.flush()
    except OSError:  # nobody reads stderr: nothing is left to say it to
        pass


def guarded(command: Callable[[], int]) -> int:
    """Run a command and turn whatever it raises into one line and an exit code."""
    from ..errors import AgriclipError, PhotoError

    try:
        code = command()
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, Interrupted) as interrupt:
        complain(str(interrupt) or "interrupted")
        return INTERRUPTED
    except PhotoError as error:
        complain(str(error))
        return SOME_PHOTOS_FAILED
    except AgriclipError as error:
        complain(str(error))
        return WRONG_USE
    except BrokenPipeError as error:
        _silence_stdout()
        complain("the reader of the output closed it" if error.errno is not None else str(error))
        return SOME_PHOTOS_FAILED
    except OSError as error:
        complain(_os_message(error))
        _silence_stdout()
        return WRONG_USE
    except MemoryError:
        complain("out of memory; fewer --threads or a smaller --labels-file need less")
        return WRONG_USE
    except Exception as error:
        if os.environ.get("AGRICLIP_EDGE_DEBUG"):
            raise
        kind = type(error).__name__
        complain(f"unexpected {kind}: {error}; please report it, with what AGRICLIP_EDGE_DEBUG=1 prints")
        return WRONG_USE


def _os_message(error: OSError) -> str:
    where = os.fsdecode(error.filename) if error.filename is not None else "the output"
    advice = "; make room there, or choose another place" if error.errno == errno.ENOSPC else ""
    return f"{where}: {error.strerror or error}{advice}"


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
