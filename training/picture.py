"""The picture of a run: loss and accuracy by epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agriclip_edge.files import atomic_write


def draw_history(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the epochs of a log as a PNG of 900 by 400 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([entry["epoch"] for entry in history], [entry["loss"] for entry in history], marker="o")
    left.set(xlabel="epoch", ylabel="training loss")
    for name in ("dev", "val"):
        judged = [entry for entry in history if name in entry]
        if judged:
            epochs, shares = [entry["epoch"] for entry in judged], [100 * entry[name] for entry in judged]
            right.plot(epochs, shares, marker="o", label=name)
            right.legend(frameon=False)
    right.set(xlabel="epoch", ylabel="mean per-class accuracy, %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
