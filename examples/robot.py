"""A robot's loop: RGB frames in, a decision a frame out.

    python examples/robot.py

The camera here is a photo that drifts; put your own generator of RGB ``uint8 (H, W, 3)`` arrays in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import agriclip_edge

PHOTO = Path(__file__).parent / "photos" / "cow.jpg"
SURE = 0.5  # confidence under which the robot slows down and looks again


def camera(frames: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames of 640 × 480 pixels, cut out of one photo."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    for number in range(frames):
        left = 20 * number
        yield photo[200:680, left : left + 640]


def main() -> None:
    """Stop for animals, go on for grass."""
    classifier = agriclip_edge.load(labels=["a cow", "a horse", "grass without animals", "a person"])
    for number, answer in enumerate(classifier.classify_many(camera(8))):
        best = answer.best
        assert best is not None  # only a min_confidence can leave an answer empty
        decision = "stop" if best.confidence >= SURE and best.label != "grass without animals" else "slow"
        print(f"frame {number}: {best.label} {best.confidence:.2f} in {answer.timing_ms.total:.0f} ms -> {decision}")


if __name__ == "__main__":
    main()
