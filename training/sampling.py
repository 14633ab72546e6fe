"""Which photos an epoch shows: rare classes and small tasks more often than their number of photos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .data import Collection, Indices, Photos


def photo_weights(photos: Photos, collection: Collection, by_class: float, by_task: float) -> npt.NDArray[np.float64]:
    """How often each photo is to be seen, float64 (N,), in any scale.

    A photo weighs (photos of its class) ** -by_class * (classes of its task) ** -by_task. With both powers 1 every
    class of a task and every task counts alike, as the metric has it, but the rarest photos are learnt by heart.
    """
    _, where, counts = np.unique(photos.label, return_inverse=True, return_counts=True)
    classes = np.array([len(rows) for rows in collection.rows])[photos.task]
    weights: npt.NDArray[np.float64] = counts[where] ** -float(by_class) * classes ** -float(by_task)
    return weights


def draw_order(weights: npt.NDArray[np.float64], generator: np.random.Generator) -> Indices:
    """N photo numbers in random order; photo i is there floor(N * share_i) times, or once more (systematic draw)."""
    edges = np.cumsum(weights) / weights.sum() * len(weights)
    edges[-1] = len(weights)  # rounding of the sum must not lose the last photo
    counts = np.diff(np.floor(edges + generator.random()), prepend=0).astype(np.int64)
    return generator.permutation(np.repeat(np.arange(len(weights)), counts))
