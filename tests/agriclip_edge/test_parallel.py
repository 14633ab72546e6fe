"""The ordered map keeps the order, looks ahead no further than it says, and ends cleanly; so does a begun call."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from agriclip_edge.parallel import begin, ordered_map


def our_threads() -> int:
    return sum(thread.name.startswith("agriclip-edge") for thread in threading.enumerate())


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_order(workers: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number < 3 else 0)
        return number * number

    assert list(ordered_map(slow_at_first, range(50), workers)) == [number * number for number in range(50)]
    assert list(ordered_map(slow_at_first, [], workers)) == []
    assert our_threads() == 0


def test_works_side_by_side() -> None:
    """Four items that wait for each other pass only when four are under way at once."""
    meeting = threading.Barrier(4, timeout=10)
    assert len(list(ordered_map(lambda _: meeting.wait(), range(4), 4))) == 4


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_bounded_look_ahead(workers: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count():
            taken = number + 1
            yield number

    results = ordered_map(lambda number: number, items(), workers)
    assert taken == 0  # nothing begins before somebody asks
    for number in range(40):
        assert next(results) == number
        assert taken <= number + 3 * workers
    results.close()  # type: ignore[attr-defined]
    assert our_threads() == 0


def test_an_error_of_the_function_comes_in_its_place() -> None:
    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = ordered_map(fail_at_three, range(9), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert our_threads() == 0


def test_an_error_of_the_items_is_passed_on() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("the camera is gone")

    results = ordered_map(lambda number: number, items(), 2)
    with pytest.raises(OSError, match="the camera is gone"):
        list(results)
    assert our_threads() == 0


def test_closing_cancels_what_has_not_begun() -> None:
    begun = []
    go = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            go.wait(10)
        return number

    results = ordered_map(work, itertools.count(), 2)
    assert next(results) == 0
    threading.Timer(0.05, go.set).start()
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 4  # of the six that were taken
    assert our_threads() == 0


def test_a_forgotten_generator_leaves_no_threads() -> None:
    results = ordered_map(abs, itertools.count(), 2)
    next(results)
    del results
    assert our_threads() == 0


def test_a_begun_call_runs_before_its_result_is_wanted() -> None:
    running, go_on = threading.Event(), threading.Event()

    def call(word: str) -> str:
        running.set()
        assert go_on.wait(10)
        return word

    result = begin(call, "done")
    assert running.wait(10)
    go_on.set()
    assert result() == result() == "done"


def test_a_begun_call_that_fails_fails_where_its_result_is_wanted() -> None:
    result = begin(int, "leaf")
    for _ in range(2):
        with pytest.raises(ValueError, match="leaf"):
            result()
