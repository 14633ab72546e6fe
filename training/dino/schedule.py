"""Values that change over a course of steps."""

from __future__ import annotations

import math


def cosine(step: int, steps: int, first: float, last: float, rise: int = 0) -> float:
    """Half a cosine from ``first`` to ``last``, after a linear rise from 0 over ``rise`` steps.

    Example:
        >>> [cosine(step, 5, 1.0, 0.0) for step in (0, 2, 4)]
        [1.0, 0.5, 0.0]
    """
    if step < rise:
        return first * (step + 1) / rise
    share = (step - rise) / max(1, steps - 1 - rise)
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * min(share, 1.0)))


def ramp(step: int, rise: int, first: float, last: float) -> float:
    """A straight line from ``first`` to ``last`` over ``rise`` steps, then ``last``.

    Example:
        >>> [ramp(step, 4, 0.0, 1.0) for step in (0, 2, 9)]
        [0.0, 0.5, 1.0]
    """
    return last if step >= rise else first + (last - first) * step / rise
