"""Shots, halves of places, and what is kept apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import UsageError
from training.diffclip.splits import apart, blocked, cells, few_shot, limited, patches

LABELS = np.random.default_rng(0).integers(0, 4, (30, 20)).astype(np.int16)
TRAIN = (np.arange(30) < 15)[:, None] & (LABELS > 0)
TEST = (np.arange(30) >= 15)[:, None] & (LABELS > 0)


def flat(pixels: np.ndarray) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in pixels}


@given(st.integers(1, 60), st.integers(0, 5))
def test_shots_are_of_the_train_mask_k_a_class_or_all(k: int, seed: int) -> None:
    shots, labels, test = few_shot(LABELS, TRAIN, TEST, k, seed)
    assert flat(shots) <= flat(np.argwhere(TRAIN)) and flat(test) == flat(np.argwhere(TEST))
    assert len(flat(shots)) == len(shots) and (LABELS[tuple(shots.T)] == labels).all()
    for label in (1, 2, 3):
        assert (labels == label).sum() == min(k, int((TRAIN & (label == LABELS)).sum()))


def test_shots_nest_and_differ_by_seed() -> None:
    few, more, other = (few_shot(LABELS, TRAIN, TEST, k, seed)[0] for k, seed in ((2, 7), (5, 7), (2, 8)))
    assert flat(few) < flat(more) and flat(few) != flat(other)


def test_shots_among_the_test_pixels_are_taken_out() -> None:
    shots, _, test = few_shot(LABELS, LABELS > 0, LABELS > 0, 3, 0)
    assert not flat(shots) & flat(test) and len(shots) + len(test) == (LABELS > 0).sum()


def test_no_shots_and_no_test_pixels_are_refused() -> None:
    with pytest.raises(UsageError, match="0 shots a class"):
        few_shot(LABELS, TRAIN, TEST, 0, 0)
    with pytest.raises(UsageError, match="none to test"):
        few_shot(LABELS, TRAIN, np.zeros_like(TEST), 1, 0)


def test_the_limit_is_the_same_choice_for_everybody() -> None:
    test = np.argwhere(TEST)
    assert len(limited(test, 50)) == 50 and (limited(test, 50) == limited(test, 50)).all()
    assert limited(test, 10_000) is test and limited(test, None) is test


def test_a_blocked_split_halves_places_and_every_class() -> None:
    groups = cells(30, 20, 5)
    train, test = blocked(LABELS, groups, 0)
    assert not (train & test).any() and ((train | test) == (LABELS > 0)).all()
    assert not set(groups[train]) & set(groups[test])
    for label in (1, 2, 3):
        share = (train & (label == LABELS)).sum() / (label == LABELS).sum()
        assert 0.35 < share < 0.65
    assert (blocked(LABELS, groups, 1)[0] != train).any() and (blocked(LABELS, groups, 0)[0] == train).all()


def test_a_class_of_two_places_has_one_on_either_side() -> None:
    labels = np.ones((8, 40), np.int16)
    groups = cells(8, 40, 8)
    labels[:, :16] = 2  # places 0 and 1 of five
    train, test = blocked(labels, groups, 3)
    assert (train & (labels == 2)).any() and (test & (labels == 2)).any()


def test_one_place_cannot_be_halved() -> None:
    with pytest.raises(UsageError, match="labels lie in 1 place"):
        blocked(LABELS, np.zeros_like(LABELS, np.int32), 0)


def test_apart_counts_in_the_shots_own_tile_alone() -> None:
    tile = np.zeros((10, 10), np.int32)
    tile[:, 5:] = 1
    test = np.argwhere(np.ones((10, 10), bool))
    left = flat(apart(np.array([[4, 3]]), test, tile, 3))
    assert (4, 5) in left and (4, 4) not in left and (1, 3) in left and (2, 1) not in left and (4, 0) in left
    assert len(left) == 100 - 5 * 4
    assert len(apart(np.array([[4, 3]]), test, tile, 0)) == 100


def test_patches_join_what_lies_near() -> None:
    inside = np.zeros((20, 20), bool)
    inside[2:4, 2:4] = inside[2:4, 8:10] = inside[15, 15] = True
    places = patches(inside, 3)
    assert places[2, 2] == places[3, 9] != places[15, 15] and (places[~inside] == -1).all()
