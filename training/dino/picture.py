"""The picture of a stage 2 run: loss, entropies, monitors, rate, and what the views look like."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agriclip_edge.files import atomic_write
from agriclip_edge.imaging.decode import RGB

_CURVES = (("loss", ("loss",)), ("entropy, nats", ("target_entropy", "mean_entropy")), ("learning rate", ("rate",)))


def draw_run(history: Sequence[Mapping[str, Any]], views: Sequence[RGB], columns: int, path: Path) -> None:
    """Draw a log and some views as a PNG of 1,200 by 800 pixels.

    Args:
        history: entries of the log.
        views: RGB uint8, photo by photo.
        columns: views of one photo.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), dpi=100, layout="constrained")
    halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
    curves, samples = halves
    axes = curves.subplots(2, 2).flat
    for axis, (title, names) in zip(axes, _CURVES):
        for name in names:
            known = [entry for entry in history if name in entry]
            axis.plot([entry["step"] for entry in known], [entry[name] for entry in known], label=name)
        axis.set(xlabel="step", ylabel=title)
        if len(names) > 1:
            axis.legend(frameon=False)
    judged = [entry for entry in history if "knn" in entry]
    for name in ("knn", "probe"):
        axes[3].plot([e["step"] for e in judged], [100 * e[name] for e in judged], marker="o", label=name)
    axes[3].set(xlabel="step", ylabel="mean per-class accuracy, %")
    axes[3].legend(frameon=False)
    grid = samples.subplots(max(1, len(views) // columns), columns, squeeze=False)
    for axis, view in zip(grid.flat, views):
        axis.imshow(view)
        axis.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
