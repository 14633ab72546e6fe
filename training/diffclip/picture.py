"""The picture of a pre-training: errors at shown and at hidden places of each modality, and the rate."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agriclip_edge.files import atomic_write


def draw_pretraining(history: Sequence[Mapping[str, Any]], modalities: Sequence[str], path: Path) -> None:
    """Draw a log as a PNG of 1,200 by 400 pixels.

    Args:
        history: entries of the log.
        modalities: their names.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), dpi=100, layout="constrained")
    axes = figure.subplots(1, 3)
    steps = [entry["step"] for entry in history]
    for axis, part in zip(axes, ("visible", "masked")):
        for name in modalities:
            axis.plot(steps, [entry[f"{name} {part}"] for entry in history], label=name)
        axis.set(xlabel="step", ylabel=f"squared error, {part} pixels", ylim=(0, None))
        axis.legend(frameon=False)
    axes[2].plot(steps, [entry["rate"] for entry in history])
    axes[2].set(xlabel="step", ylabel="learning rate")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
