"""The package as a user has it: the wheel in .venv-runtime, run as processes from the repository's root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def installed() -> Path:
    """The folder of the installed programs."""
    found = ROOT / ".venv-runtime" / "bin"
    assert (found / "agriclip-edge").is_file(), "the wheel is not installed in .venv-runtime; run: make test"
    return found


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Runs a program to its end; ``agriclip-edge`` and ``python`` are those of the installed wheel.

    Its surroundings are a user's: no PYTHONPATH into this repository, a home and an empty HOME of its own.
    """

    def call(*command: str | Path, env: dict[str, str] | None = None, **options: Any) -> Any:
        words = [str(word) for word in command]
        words = [str(installed / word) if word in ("agriclip-edge", "python") else word for word in words]
        surroundings = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AGRICLIP"))
        }
        surroundings["AGRICLIP_EDGE_HOME"] = str(tmp_path / "home")
        surroundings["HOME"] = str(tmp_path)
        options = {"cwd": ROOT, "capture_output": True, "encoding": "utf-8", "timeout": 60, "check": False, **options}
        return subprocess.run(words, env={**surroundings, **(env or {})}, **options)

    return call
