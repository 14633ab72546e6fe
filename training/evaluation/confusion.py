"""Pictures of which label is taken for which, one a task."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from agriclip_edge.files import atomic_write

from .record import Evaluation, TaskRecord

_CELL, _MARGIN = 0.34, 3.2  # inches
_NUMBERS = 30  # labels up to which counts are written into the cells


def draw_confusions(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw the zero-shot answers of every task as ``<folder>/<task>.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    return [draw_confusion(task, folder / f"{task.task}.png") for task in evaluation.tasks]


def draw_confusion(task: TaskRecord, path: Path) -> Path:
    """Draw one task: rows are labels as they are, columns as answered, colours shares of a row; counts are written."""
    from matplotlib.figure import Figure

    counts = np.array(task.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(task.labels)
    side = _MARGIN + _CELL * classes
    figure = Figure(figsize=(side + 0.4, side), dpi=80, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(classes), task.labels, rotation=90, fontsize=8)
    axes.set_yticks(range(classes), task.labels, fontsize=8)
    axes.set(xlabel="answered", ylabel="is")
    axes.set_title(f"{task.task}: {100 * task.scores[0].accuracy:.1f} %, chance {100 / classes:.1f} %", fontsize=10)
    if classes <= _NUMBERS:
        for row, column in zip(*np.nonzero(counts)):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the row")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return path
