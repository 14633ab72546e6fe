"""Shares of right answers, and how far chance alone would move them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]

LEVEL = 0.95  # of every interval
_CHUNK = 200  # bootstrap draws at a time: bounds the memory where a task has many photos


def mean_per_class(right: Shares, actual: Indices) -> float:
    """Mean over the classes that occur of the mean of their photos' shares.

    Args:
        right: how often each photo was answered rightly, 0 to 1, float64 (N,).
        actual: number of each photo's class, int64 (N,).

    Example:
        >>> mean_per_class(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 2]))
        0.75
    """
    return float(np.mean([right[actual == label].mean() for label in np.unique(actual)]))


def mean_per_class_accuracy(predicted: Indices, actual: Indices) -> float:
    """Mean over the classes that occur in ``actual`` of the share of their photos that is answered rightly.

    Example:
        >>> mean_per_class_accuracy(np.array([0, 0, 1]), np.array([0, 0, 2]))
        0.5
    """
    return mean_per_class((predicted == actual).astype(np.float64), actual)


def majority(actual: Indices) -> float:
    """Top-1 accuracy of always answering the most frequent class.

    Example:
        >>> majority(np.array([0, 0, 0, 2]))
        0.75
    """
    return float(np.bincount(actual).max() / len(actual))


def normalised_gain(accuracy: float, chance: float) -> float:
    """Share of the way from a blind choice to all right; negative when worse than blind.

    Example:
        >>> normalised_gain(0.75, 0.5)
        0.5
    """
    return (accuracy - chance) / (1 - chance)


def resample(right: Shares, actual: Indices, draws: int, seed: int) -> Shares:
    """Bootstrap of `mean_per_class`: the photos are drawn with replacement (Efron 1979).

    As the figure is linear in ``right``, differences of two encoders on the same photos give the paired bootstrap.

    Args:
        right: float64 (N,).
        actual: int64 (N,).
        draws: how many times.
        seed: of the draws.

    Returns:
        float64 (draws,); a class of which a draw has no photo does not count in it.
    """
    photos, generator = len(actual), np.random.default_rng(seed)
    member = (actual[:, np.newaxis] == np.unique(actual)).astype(np.float64)  # (N, C)
    parts = []
    for start in range(0, draws, _CHUNK):
        several = min(_CHUNK, draws - start)
        times = generator.multinomial(photos, np.full(photos, 1 / photos), several).astype(np.float64)
        drawn, score = times @ member, times @ (member * right[:, np.newaxis])
        shares = np.divide(score, drawn, out=np.full_like(score, np.nan), where=drawn > 0)
        parts.append(np.nanmean(shares, axis=1))
    return np.concatenate(parts)


def interval(draws: Shares) -> tuple[float, float]:
    """The middle 95 % of bootstrap draws: low and high."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean of independent draws (Student 1908); 0 for a single one.

    Example:
        >>> round(half_width([0.5, 0.7]), 2)
        1.27
    """
    if len(values) < 2:
        return 0.0
    from scipy import stats

    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * spread
