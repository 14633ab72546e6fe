"""How right a map's pixels are: overall accuracy, average accuracy and Cohen's kappa."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Shares from 0 to 1.

    Attributes:
        overall: share of the pixels that are right (OA).
        average: mean over the classes that have test pixels of the share of them that is right (AA).
        kappa: agreement beyond what the two maps' class counts would give by chance (Cohen 1960).
        by_class: that share of each of K classes; NaN for a class without test pixels.
    """

    overall: float
    average: float
    kappa: float
    by_class: tuple[float, ...]


def score(predicted: Labels, actual: Labels, classes: int) -> Scores:
    """Judge predicted against actual labels, both int (m,) from 1 to ``classes``.

    Example:
        >>> score(np.array([1, 1, 2, 2]), np.array([1, 1, 1, 2]), 2).overall
        0.75
    """
    pairs = (np.asarray(actual) - 1) * classes + np.asarray(predicted) - 1
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    there, said, pixels = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    by_class = np.divide(np.diag(confusion), there, out=np.full(classes, np.nan), where=there > 0)
    overall = np.trace(confusion) / pixels
    chance = float(there @ said) / float(pixels) ** 2
    kappa = (overall - chance) / (1 - chance) if chance < 1 else 0.0
    return Scores(float(overall), float(np.nanmean(by_class)), float(kappa), tuple(map(float, by_class)))
