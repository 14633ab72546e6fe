"""Joules, where the machine reports them: RAPL's counters on x86, ``tegrastats`` on a Jetson."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
_INTERVAL = 100  # milliseconds between two lines of tegrastats
# The whole board's input: VDD_IN on Orin and Xavier NX, POM_5V_IN on Nano, SYS5V/VIN elsewhere.
_BOARD_POWER = re.compile(r"\b(?:VDD_IN|POM_5V_IN|VIN_SYS_5V0|VIN) (\d+)(?:mW)?/")


class Meter(Protocol):
    """Reads the energy of the whole processor or board, idle parts of it included."""

    name: str

    def joules(self, work: Callable[[], Any]) -> float | None:
        """Energy spent while ``work`` runs; None when nothing could be read meanwhile."""


def find_meter(powercap: Path = POWERCAP) -> tuple[Meter | None, str]:
    """What reads energy here.

    Args:
        powercap: the kernel's folder of RAPL counters.

    Returns:
        the meter, or None; and what it is, or why there is none, in a line.

    Example:
        >>> meter, words = find_meter(Path("/nonexistent"))
        >>> meter is None or meter.name == "tegrastats"
        True
    """
    packages = [path.parent for path in sorted(powercap.glob("intel-rapl:*/name")) if _is_package(path)]
    if shutil.which("tegrastats"):
        return Tegrastats(), "tegrastats: the board's input"
    if not packages:
        return None, f"not readable: {powercap} has no processor package, and there is no tegrastats"
    try:
        return Rapl(packages), "RAPL: the processor's packages"
    except OSError:
        return None, f"not readable: {powercap}/*/energy_uj is root's alone (run as root, or grant the right to read)"


def _is_package(name: Path) -> bool:
    try:
        return name.read_text(encoding="ascii").startswith("package")
    except OSError:
        return False


class Rapl:
    """The running average power limit's counters, one a processor package, in microjoules."""

    name = "RAPL"

    def __init__(self, packages: list[Path]) -> None:
        """Read each package's counter once.

        Raises:
            OSError: one may not be read.
        """
        self._packages = packages
        self._limits = [int((package / "max_energy_range_uj").read_text()) for package in packages]
        self._read()

    def joules(self, work: Callable[[], Any]) -> float | None:
        """See `Meter.joules`; a counter that ran over its limit once meanwhile is read rightly."""
        before = self._read()
        work()
        spent = (
            after - start + (limit + 1 if after < start else 0)
            for start, after, limit in zip(before, self._read(), self._limits)
        )
        return sum(spent) / 1e6

    def _read(self) -> list[int]:
        return [int((package / "energy_uj").read_text()) for package in self._packages]


class Tegrastats:
    """Mean input power of a Jetson, times the seconds; its lines come ten times a second."""

    name = "tegrastats"

    def joules(self, work: Callable[[], Any]) -> float | None:
        """See `Meter.joules`."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(["tegrastats", "--interval", str(_INTERVAL)], stdout=said)
            try:
                start = time.perf_counter()
                work()
                seconds = time.perf_counter() - start
            finally:
                process.terminate()
                process.wait()
            said.seek(0)
            watts = [int(power) / 1e3 for power in _BOARD_POWER.findall(said.read().decode(errors="replace"))]
        return sum(watts) / len(watts) * seconds if watts else None
