"""Where a benchmark runs: the machine, the commit, and the product as a user installs it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.runtimes import available_cores

from .record import BenchmarkError, Machine

ROOT = Path(__file__).resolve().parent.parent
_RUNTIME = ".venv-runtime"  # the Makefile's name for it
_INSTALL = f"make {_RUNTIME}/.ready"


def machine(packages: dict[str, str]) -> Machine:
    """This machine, with the versions of the packages that were measured."""
    system = f"{platform.system()} {platform.machine()}"
    return Machine(_cpu(), available_cores(), _memory_gb(), system, platform.python_version(), packages)


def load() -> float:
    """Processes that were running or waiting, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit(root: Path = ROOT) -> str:
    """The commit of the working tree; ``+changes`` when its code differs, ``uncommitted`` when there is none."""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return "uncommitted"
    written_here = (":!benchmarks/records", ":!docs/results.md")
    return f"{head}+changes" if _git(root, "status", "--porcelain", "--", ".", *written_here) else head


def versions(*names: str) -> dict[str, str]:
    """Versions of packages in this environment; those that are missing are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def runtime_versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of packages in the environment of the installed product."""
    program = "import sys\nfrom importlib.metadata import version\nfor name in sys.argv[1:]: print(name, version(name))"
    command = [str(runtime("python")), "-I", "-c", program, *names]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def runtime(program: str, root: Path = ROOT) -> Path:
    """A program of the environment that holds the installed wheel and its dependencies alone.

    Raises:
        BenchmarkError: it has not been set up.
    """
    path = root / _RUNTIME / "bin" / program
    if not path.exists():
        raise BenchmarkError(f"{_RUNTIME} has no {program}; the installed product is measured: {_INSTALL}")
    return path


def wheel(root: Path = ROOT) -> Path:
    """The built wheel.

    Raises:
        BenchmarkError: there is none, or several.
    """
    found = sorted((root / "build" / "wheel").glob("*.whl"))
    if len(found) != 1:
        raise BenchmarkError(f"build/wheel holds {len(found)} wheels; accepted: one: {_INSTALL}")
    return found[0]


def describe(bundle: Bundle) -> dict[str, str]:
    """Which bundle was measured."""
    return {"bundle": f"{bundle.manifest.name} {bundle.manifest.version}", "bundle sha256": bundle.sha256}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
