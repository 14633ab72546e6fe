"""What each stage of the teacher brings, from the record of the ablation."""

from __future__ import annotations

from pathlib import Path

from training.ablation import read_ablation

from .environment import versions
from .record import Detail, Measurement


def measure(path: Path) -> Measurement:
    """The table of an ablation.

    Args:
        path: of the record of ``python -m training ablation``.

    Raises:
        UsageError: it is missing or broken.
    """
    ablation = read_ablation(path)
    return Measurement(
        method=ablation.method(),
        samples=ablation.samples(),
        seeds={f"ablation {number + 1}": seed for number, seed in enumerate(ablation.seeds)},
        subject=ablation.subjects,
        packages=versions("torch", "timm"),
        details=(Detail("The three stages", *ablation.cells()),),
    )
