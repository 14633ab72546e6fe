"""Sides take turns, and ratios are those of one round."""

import pytest

from benchmarks.record import Measurement
from benchmarks.rounds import interleave, ratios


def test_sides_take_turns_and_warm_ups_do_not_count() -> None:
    order: list[str] = []

    def side(name: str) -> int:
        order.append(name)
        return len(order)

    results = interleave({"a": lambda: side("a"), "b": lambda: side("b")}, 2, lambda *_: None, warm_ups=1)
    assert order == ["a", "b"] * 3
    assert results == {"a": [3, 5], "b": [4, 6]}


def test_steps_begin_at_nothing_and_end_with_all() -> None:
    steps: list[tuple[float, float]] = []
    interleave({"a": lambda: None}, 3, lambda done, total, _: steps.append((done, total)))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_slow_moment_that_meets_both_sides_of_a_round_leaves_the_ratio() -> None:
    assert ratios([6.0, 60.0, 6.0], [2.0, 20.0, 2.0]) == (3.0, 3.0, 3.0)


def test_sides_of_different_length_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="2 and 1 values"):
        ratios([1.0, 2.0], [1.0])


def test_the_figure_is_the_median_of_the_pairs_ratios_and_not_the_ratio_of_the_medians(complete_measurement) -> None:
    theirs, ours = [10.0, 30.0, 20.0], [5.0, 3.0, 10.0]
    record = complete_measurement(Measurement(method="", samples={"times": ratios(theirs, ours)}))
    assert record.medians["times"] == 2.0
    assert record.spread["times"] == (2.0, 10.0)
