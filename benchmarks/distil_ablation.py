"""What each loss of distillation brings, from the record of the students that were trained for it."""

from __future__ import annotations

from pathlib import Path

from training.distil.ablation import read_ablation

from .environment import versions
from .record import Detail, Measurement


def measure(path: Path) -> Measurement:
    """The table of an ablation.

    Args:
        path: of the record of ``python -m training distil-ablation``.

    Raises:
        UsageError: it is missing or broken.
    """
    ablation = read_ablation(path)
    return Measurement(
        method=ablation.method(),
        samples=ablation.samples(),
        seeds={f"training {number + 1}": seed for number, seed in enumerate(ablation.seeds)},
        subject={"stored views sha256": ablation.reinforced},
        packages=versions("torch", "timm"),
        details=(Detail("Losses on, off and alone", *ablation.cells()),),
    )
