"""Memory stays flat however many photos come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, sys
import numpy as np
import psutil
import agriclip_edge

classifier = agriclip_edge.load(sys.argv[1], threads=2)
process = psutil.Process()
random = np.random.default_rng(0)

def frames(count):
    for number in range(count):  # of many sizes, as from many cameras
        height, width = 200 + 3 * (number % 50), 300 + 2 * (number % 70)
        yield random.integers(0, 256, (height, width, 3), dtype=np.uint8)

resident = []
for number, answer in enumerate(classifier.classify_many(frames(400), workers=2), start=1):
    assert answer.error is None
    if number % 100 == 0:
        resident.append(process.memory_info().rss)
print(json.dumps(resident))
"""


def test_four_hundred_photos_take_the_memory_of_a_hundred(tiny_bundle: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tiny_bundle)]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8", timeout=60)
    resident = json.loads(run.stdout)
    assert len(resident) == 4
    assert resident[-1] <= 1.05 * resident[0], resident
