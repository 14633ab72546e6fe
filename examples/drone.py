"""A drone's folder after the flight: what each photo shows, as CSV, with labels that can change in flight.

python examples/drone.py examples/photos
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import agriclip_edge


def main(folder: str) -> None:
    """Write one row a photo; a broken photo is a row with its error."""
    classifier = agriclip_edge.load(packs=["land-use-rsscn7", "animal-species-popular"])
    rows = csv.writer(sys.stdout)
    rows.writerow(["photo", "label", "confidence", "error"])
    for answer in classifier.classify_many(sorted(Path(folder).glob("*.jpg")), top_k=1):
        best = answer.best
        rows.writerow([answer.path, best.label if best else "", f"{best.confidence:.3f}" if best else "", answer.error])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples/photos")
