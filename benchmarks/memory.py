"""Memory of a process that classifies 20,000 photos, against its memory after 200."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agriclip_edge.bundle.reader import Bundle

from .camera import make_folder
from .environment import describe, versions
from .process import run_process
from .record import Detail, Measurement
from .rounds import Step

_SOAK = Path(__file__).with_name("soak.py")


@dataclass(frozen=True)
class MemoryConfig:
    """How many photos, how large, and how often; memory is read after each of ``checkpoints``."""

    checkpoints: tuple[int, ...] = (200, 500, 1000, 2000, 5000, 10_000, 15_000, 20_000)
    distinct: int = 100  # all of them are seen before the first checkpoint
    short_side: tuple[int, int] = (160, 800)  # pixels, smallest and largest
    workers: int = 2
    runs: int = 1
    seed: int = 0

    @classmethod
    def tiny(cls) -> MemoryConfig:
        """Sixty photos, once."""
        return cls(checkpoints=(20, 60), distinct=10, runs=1)


def measure(bundle: Path | None, step: Step, config: MemoryConfig = MemoryConfig()) -> Measurement:
    """Run `benchmarks/soak.py` in its own process, several times.

    Args:
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: how many and how often.

    Raises:
        BenchmarkError: a run fails.
    """
    generator = np.random.default_rng(config.seed)
    sides = generator.integers(*config.short_side, endpoint=True, size=config.distinct)
    sizes = [(int(side * shape), int(side)) for side, shape in zip(sides, generator.uniform(1, 1.8, config.distinct))]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), sizes, config.seed, step)
        checkpoints = ",".join(map(str, config.checkpoints))
        chosen = [bundle.resolve()] if bundle else []
        for number in range(config.runs):
            step(number, config.runs, f"run {number + 1} of {config.runs}, {config.checkpoints[-1]:,} photos")
            used = run_process(sys.executable, "-I", _SOAK, folder, checkpoints, str(config.workers), *chosen)
            runs.append(json.loads(used.output))
    step(config.runs, config.runs, "done")
    first, last = str(config.checkpoints[0]), str(config.checkpoints[-1])
    return Measurement(
        method=f"classify_many with {config.workers} workers in a process of its own over the paths of "
        f"{config.distinct} different generated JPEGs (short side {config.short_side[0]} to {config.short_side[1]} "
        "pixels), again and again; resident memory from /proc/self/statm after a garbage collection, once the photos "
        "under way were done.",
        samples={
            "growth": [run["after"][last] / run["after"][first] for run in runs],
            "loaded_mb": [run["loaded"] for run in runs],
            f"after_{first}_mb": [run["after"][first] for run in runs],
            f"after_{last}_mb": [run["after"][last] for run in runs],
            "peak_mb": [run["peak"] for run in runs],
            "photos_per_s": [config.checkpoints[-1] / run["seconds"] for run in runs],
        },
        seeds={"photos": config.seed},
        subject=describe(Bundle.open(bundle)),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=(
            Detail(
                "Resident memory, MB",
                (("photos", "d"), *((f"run {number + 1}", ".1f") for number in range(config.runs))),
                tuple((point, *(run["after"][str(point)] for run in runs)) for point in config.checkpoints),
            ),
        ),
    )
