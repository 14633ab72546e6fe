"""One encoder in a process of its own, run when told: its cold start, the time of its runs, its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import AgriclipError, BundleError, BundleFault, RuntimeUnavailable

Run = Callable[[], Any]
Prepare = Callable[[int], Run]  # from a batch size to the function that runs one such batch

_LEAST_RUNS = 3  # of a block, however slow the encoder
# Both pools would otherwise keep a core busy for a while after each run, and so slow down whoever runs next.
_QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Block:
    """Some runs of one batch size, one after the other.

    Attributes:
        milliseconds: of each run.
        peak_mb: most memory that the process ever held, MB of 1e6 bytes; None where the system does not say.
    """

    milliseconds: list[float]
    peak_mb: float | None


class Worker:
    """A process that holds one encoder, and runs it when told; closed, it ends.

    Attributes:
        process_ms: the interpreter's start and all imports.
        load_ms: reading the graph and making it ready.
        first_ms: the first answer.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start ``module.main(*arguments)``, which calls `serve`, and wait until it is ready.

        Raises:
            AgriclipError: it cannot load its encoder, with its own reason.
        """
        # The same modules as here, and nothing of the working folder.
        program = f"import sys; sys.path[:] = {sys.path!r}; import {module} as m; m.main(*sys.argv[1:])"
        self._stderr = tempfile.TemporaryFile()
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **_QUIET, **(environment or {})},
        )
        try:
            ready = self._answer()
        except BaseException:
            self.close()
            raise
        whole = (time.perf_counter() - start) * 1e3
        self.load_ms: float = ready["load_ms"]
        self.first_ms: float = ready["first_ms"]
        self.process_ms = whole - self.load_ms - self.first_ms

    def run(self, batch: int, seconds: float) -> Block:
        """Run batches of this size for so long, at least three times.

        Raises:
            AgriclipError: a run fails, or the process is gone.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([batch, seconds]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has ended; its answer says why
            pass
        answer = self._answer()
        return Block(answer["milliseconds"], answer["peak_mb"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._stderr.seek(0)
            words = self._stderr.read().decode(errors="replace").strip().splitlines()
            said = f": {words[-1][:200]}" if words else "; was there memory enough?"
            raise RuntimeUnavailable(f"its process ended with {code}{said}")
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            raise BundleError(BundleFault(answer["fault"]), answer["error"].rsplit(" [", 1)[0])
        if "error" in answer:
            raise RuntimeUnavailable(answer["error"])
        return answer


def serve(load: Callable[[], Prepare]) -> None:
    """Be a `Worker`'s process: load, run once, then run as stdin says until it ends.

    Args:
        load: makes the encoder ready and returns what prepares its runs.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not come between the answers

    def answer(**facts: Any) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    try:
        start = time.perf_counter()
        prepare = load()
        loaded = time.perf_counter()
        prepare(1)()
        answer(load_ms=(loaded - start) * 1e3, first_ms=(time.perf_counter() - loaded) * 1e3)
        prepared: dict[int, Run] = {}
        for line in sys.stdin:
            batch, seconds = json.loads(line)
            run = prepared.setdefault(batch, prepare(batch))
            answer(milliseconds=_block(run, seconds), peak_mb=peak_mb())
    except BundleError as error:
        answer(error=str(error), fault=error.fault.value)
    except (AgriclipError, MemoryError) as error:
        answer(error=str(error) or "out of memory")


def _block(run: Run, seconds: float) -> list[float]:
    spent: list[float] = []
    begin = time.perf_counter()
    while len(spent) < _LEAST_RUNS or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        spent.append((time.perf_counter() - start) * 1e3)
    return spent


def peak_mb() -> float | None:
    """Most memory that this process ever held, in MB of 1e6 bytes; None where the system does not say.

    Linux's ``ru_maxrss`` would begin at the size of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
