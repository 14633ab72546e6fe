"""A whole process: wall time, CPU time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .record import BenchmarkError

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Usage:
    """What one process used, from its start to its end; 1 MB is 1e6 bytes."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str


def run_process(*command: str | Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Run a program to its end.

    Args:
        command: the program and its arguments.
        environment: variables to set besides those of this process.

    Raises:
        BenchmarkError: it is missing or ends with an error; the message has its last words.
    """
    words = [os.fspath(word) for word in command]
    name = Path(words[0]).name
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder) / "stdout", Path(folder) / "stderr"
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER), str(stdout), str(stderr), *words]
        done = subprocess.run(launch, capture_output=True, text=True, env={**os.environ, **(environment or {})})
        if done.returncode != 0:
            raise BenchmarkError(f"{name} cannot be started: {_last_line(done.stderr)}")
        wall, cpu, peak_kib, code = json.loads(done.stdout)
        if code != 0:
            raise BenchmarkError(f"{name} ended with {code}: {_last_line(stderr.read_text(errors='replace'))}")
        return Usage(wall, cpu, peak_kib * 1024 / 1e6, stdout.read_text(errors="replace"))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:300]
