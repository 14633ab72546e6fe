"""Size of the wheel, and of what a fresh environment holds after it is installed."""

from __future__ import annotations

import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from agriclip_edge.bundle.reader import Bundle

from .environment import describe, runtime, wheel
from .record import BenchmarkError, Detail, Measurement
from .rounds import Step

_INSTALLERS = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth", "pkg_resources")
_LISTED = 10


def measure(step: Step) -> Measurement:
    """Install the wheel into a fresh environment and add up its files.

    Raises:
        BenchmarkError: no wheel has been built, or it cannot be installed.
    """
    built = wheel()
    with tempfile.TemporaryDirectory() as folder:
        step(0, 2, "making an environment")
        _run([str(runtime("python")), "-m", "venv", folder])
        step(1, 2, "installing the wheel and its dependencies")
        python = str(Path(folder) / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(built)])
        packages = next(Path(folder).glob("lib/python*/site-packages"))
        names = _run([python, "-m", "pip", "freeze", "--disable-pip-version-check"]).splitlines()
        by_name, on_disk = add_up(packages)
    step(2, 2, "done")
    installed = sum(by_name.values())
    largest = sorted(by_name.items(), key=lambda item: -item[1])
    rows = [(name, size / 1e6) for name, size in largest[:_LISTED]]
    rows.append(("all others", sum(size for _, size in largest[_LISTED:]) / 1e6))
    rows.append(("together", installed / 1e6))
    bundle = Bundle.open()
    graphs = {variant.file for variant in bundle.manifest.image if variant.precision == "int8"}
    return Measurement(
        method="The wheel's file. Installed: all bytes in the site-packages of a fresh environment after pip install, "
        "compiled files included, pip and setuptools left out; on disk they take whole blocks. 1 MB is 1e6 bytes.",
        samples={
            "wheel_mb": (built.stat().st_size / 1e6,),
            "installed_mb": (installed / 1e6,),
            "installed_on_disk_mb": (on_disk / 1e6,),
            "encoder_int8_mb": tuple(file.size / 1e6 for file in bundle.manifest.files if file.path in graphs),
        },
        subject=describe(bundle),
        packages=dict(line.split("==", 1) for line in names if "==" in line),
        details=(Detail("Installed, by folder of site-packages", (("folder", ""), ("MB", ".1f")), tuple(rows)),),
    )


def add_up(packages: Path) -> tuple[dict[str, int], int]:
    """Bytes by top-level name of a site-packages folder, and the bytes of disk that all of it takes."""
    sizes: defaultdict[str, int] = defaultdict(int)
    on_disk = 0
    for path in packages.rglob("*"):
        name = path.relative_to(packages).parts[0]
        if path.is_dir() or name.split("-")[0] in _INSTALLERS:
            continue
        status = path.lstat()
        sizes[name] += status.st_size
        on_disk += status.st_blocks * 512
    return dict(sizes), on_disk


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BenchmarkError(f"{' '.join(command[1:4])} failed: {last}")
    return done.stdout
