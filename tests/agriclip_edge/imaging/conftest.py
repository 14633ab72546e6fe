"""The reference that the one preprocessing is held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

Reference = Callable[[np.ndarray, int], np.ndarray]


def _keys(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2, written out (Catmull-Rom)."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))


def _matrix(length: int, first: int, side: int, size: int) -> np.ndarray:
    """Weights (size, length) that turn pixels [first, first + side) of a line into ``size`` pixels."""
    step = side / size
    widen = max(1.0, step)
    centres = first + step * (np.arange(size)[:, None] + 0.5)
    weights = _keys((np.arange(length)[None, :] + 0.5 - centres) / widen)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The centre square resized in float64 by dense matrices: float (S, S, 3), not rounded, clipped to 0 to 255."""

    def square(rgb: np.ndarray, size: int) -> np.ndarray:
        height, width = rgb.shape[:2]
        side = min(height, width)
        down = _matrix(height, (height - side) // 2, side, size)
        across = _matrix(width, (width - side) // 2, side, size)
        used = across.any(axis=0)  # columns that reach the result: saves time, changes nothing
        planes = [down @ rgb[:, used, channel].astype(np.float64) @ across[:, used].T for channel in range(3)]
        return np.clip(np.stack(planes, axis=-1), 0, 255)

    return square
