"""Accuracy under corruptions: of an encoder that sees colours, on photos made by code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data import ClassEntry, Collection, Photos, Task
from training.distil.corruptions import KINDS, corrupt
from training.robustness import judge_spoilt

WORDS = ("red", "green", "blue")
LABELS = np.eye(3, dtype=np.float32)


def collection() -> Collection:
    task = Task("colour", "colour", "", "", "", "", "", "", tuple(ClassEntry(word) for word in WORDS))
    return Collection(Path(), "made", (task,), WORDS, ((0, 1, 2),))


def photos(spread: float) -> Photos:
    """Photos whose strongest colour is their label, by ``spread`` of 255 more than the others."""
    label = np.arange(30) % 3
    rgb = []
    for number, shown in enumerate(label):
        pixels = np.random.default_rng(number).normal(100, 20, (48, 64, 3))
        pixels[..., shown] += spread
        rgb.append(pixels.clip(0, 255).astype(np.uint8))
    return Photos(tuple(rgb), np.zeros(30, np.int64), label, "")


def mean_colour(rgb: object) -> np.ndarray:
    vectors = np.stack([np.asarray(photo, np.float32).mean(axis=(0, 1)) for photo in rgb])  # type: ignore[attr-defined]
    vectors -= vectors.min(axis=1, keepdims=True) - 1e-3  # under some corruptions all colours are one
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_an_encoder_that_no_corruption_touches_keeps_all() -> None:
    told: list[tuple[int, int, str]] = []
    found = judge_spoilt(mean_colour, LABELS, collection(), photos(80), (0.5,), lambda *state: told.append(state))
    assert (found.photos, found.clean, found.over_clean) == (30, 1, 1)
    assert [one.kind for one in found.spoilt] == list(KINDS) and list(found.by_kind()) == list(KINDS)
    assert [state[:2] for state in told] == [(number, 1 + len(KINDS)) for number in range(1 + len(KINDS))]


def test_each_photo_is_spoilt_in_its_own_way_and_the_same_each_time() -> None:
    seen: list[np.ndarray] = []

    def embed(rgb: object) -> np.ndarray:
        seen.extend(rgb)  # type: ignore[arg-type]
        return mean_colour(rgb)

    given = photos(3)
    found = judge_spoilt(embed, LABELS, collection(), given, (0.5, 1.0))
    assert len(seen) == 30 * (1 + 2 * len(KINDS))
    place = 30 * (1 + 2 * KINDS.index("rain")) + 7
    np.testing.assert_array_equal(seen[place], corrupt(given.rgb[7], "rain", 0.5, 7))
    assert judge_spoilt(mean_colour, LABELS, collection(), given, (0.5, 1.0)) == found
    assert found.over_clean == pytest.approx(np.mean([one.accuracy for one in found.spoilt]) / found.clean)
