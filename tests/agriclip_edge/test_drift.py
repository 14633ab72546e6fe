"""Drift: photos like the known ones pass, others do not, and statistics are read without trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge import BundleError, BundleFault, UsageError
from agriclip_edge.drift import SIZES, Reference, compare

DIM, CENTRES = 16, 5


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def photos(count: int, shift: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    known = np.random.default_rng(0).normal(size=(CENTRES, DIM))
    moved = shift * np.random.default_rng(1).normal(size=DIM)
    return unit(known[generator.integers(CENTRES, size=count)] + moved + 0.3 * generator.normal(size=(count, DIM)))


def reference() -> Reference:
    centres = unit(np.random.default_rng(0).normal(size=(CENTRES, DIM)))
    draft = Reference(
        centres=centres,
        typical=np.full(CENTRES, 1.0, np.float32),
        basis=np.eye(DIM, dtype=np.float32)[:2] / 0.08,
        rest=np.array([0.08], np.float32),
        gap=np.zeros(DIM, np.float32),
        chance=np.ones((len(SIZES), 2), np.float32),
        singles=np.linspace(0, 2, 101, dtype=np.float32),
    )
    usual = draft.ratios(photos(2000, 0, 9))
    chance = [np.quantile(np.random.default_rng(2).choice(usual, (500, n)).mean(axis=1), (0.95, 0.99)) for n in SIZES]
    return replace(
        draft,
        typical=np.full(CENTRES, usual.mean(), np.float32),
        chance=np.array(chance, np.float32) / np.float32(usual.mean()),
        singles=np.quantile(usual / usual.mean(), np.linspace(0, 1, 101)).astype(np.float32),
    )


def test_known_photos_pass_and_moved_ones_do_not() -> None:
    known = [compare(reference(), photos(32, 0, seed), ["a"] * 32).state for seed in range(40, 80)]
    assert known.count("left") <= 2
    moved = compare(reference(), photos(32, 0.6, 3), ["a"] * 32)
    assert moved.state == "left" and moved.needed is not None and moved.needed <= 32
    assert "have left what the model knows" in moved.sentence()


def test_the_most_unusual_photo_is_listed_first() -> None:
    vectors = photos(20, 0, 5)
    vectors[7] = -vectors[7]
    found = compare(reference(), vectors, [f"{n}.jpg" for n in range(20)], listed=3)
    assert found.unusual[0].path == "7.jpg" and len(found.unusual) == 3
    assert found.unusual[0].beyond == 1 and found.unusual[0].ratio > found.unusual[1].ratio


def test_too_few_photos_are_said_to_be_so() -> None:
    assert compare(reference(), photos(3, 2, 5), ["a", "b", "c"]).state == "too-few"
    with pytest.raises(UsageError, match="no photo could be used"):
        compare(reference(), np.empty((0, DIM), np.float32), [])


def test_statistics_outlive_a_file() -> None:
    found = Reference.from_bytes(reference().to_bytes(), DIM, "x")
    assert np.allclose(found.ratios(photos(9, 0, 1)), reference().ratios(photos(9, 0, 1)), rtol=0.01)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rest": np.array([0], np.float32)}, "not above 0"),
        ({"centres": np.full((CENTRES, DIM), np.nan, np.float32)}, "no numbers"),
        ({"gap": np.zeros(3, np.float32)}, "gap is float16"),
        ({"singles": np.linspace(2, 0, 101, dtype=np.float32)}, "do not rise"),
    ],
)
def test_wrong_statistics_are_refused(changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Reference.from_bytes(replace(reference(), **changed).to_bytes(), DIM, "x")
    assert caught.value.fault is BundleFault.REFERENCE_INVALID


@given(st.data())
def test_a_broken_file_is_refused_or_finite(
    mutated: Callable[[st.DataObject, bytes], bytes], data: st.DataObject
) -> None:
    try:
        found = Reference.from_bytes(mutated(data, reference().to_bytes()), DIM, "x")
    except BundleError:
        return
    assert np.isfinite(found.ratios(photos(4, 0, 1))).all()
