"""Sides measured in turn, so that what else a machine does falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Result = TypeVar("Result")
Step = Callable[[float, float, str], None]  # work done, of how much, what now


def interleave(
    sides: Mapping[str, Callable[[], Result]], rounds: int, step: Step, warm_ups: int = 1
) -> dict[str, list[Result]]:
    """Measure A B A B …: each side once a round.

    Args:
        sides: what to measure, by name, in their order.
        rounds: how many rounds count.
        step: tells how far it is.
        warm_ups: rounds before them that do not count: they fill the file cache.

    Returns:
        one result a round for each side.
    """
    results: dict[str, list[Result]] = {name: [] for name in sides}
    total = len(sides) * (rounds + warm_ups)
    done = 0
    for number in range(-warm_ups, rounds):
        for name, measure in sides.items():
            step(done, total, f"{name}, round {number + 1} of {rounds}" if number >= 0 else f"{name}, warm-up")
            result = measure()
            done += 1
            if number >= 0:
                results[name].append(result)
    step(done, total, "done")
    return results


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """The quotient of each pair: one round's two sides.

    Example:
        >>> ratios([6.0, 9.0], [2.0, 3.0])
        (3.0, 3.0)
    """
    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} and {len(denominators)} values are no pairs")
    return tuple(above / below for above, below in zip(numerators, denominators))
