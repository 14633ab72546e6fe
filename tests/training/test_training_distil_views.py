"""Views come back pixel for pixel from their numbers, and the field spoils a photo the same way each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from training.augment import AugmentConfig
from training.distil.corruptions import KINDS, corrupt
from training.distil.views import View, draw_view, render, shrink


@pytest.fixture(scope="module")
def photo() -> RGB:
    generator = np.random.default_rng(3)
    coarse = generator.integers(30, 220, (9, 12, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8)) + generator.integers(0, 20, (72, 96, 3), dtype=np.uint8)


def test_a_stored_view_gives_the_same_pixels(photo: RGB) -> None:
    for number in range(20):
        view = draw_view(photo.shape, AugmentConfig(), 0.5, (0, 7, number))
        assert view == draw_view(photo.shape, AugmentConfig(), 0.5, (0, 7, number))
        again = View.of(view.row())
        assert again == view and np.array_equal(render(photo, again, 32), render(photo, view, 32))
        assert 0 <= view.left < view.right <= 1 + 1e-6 and 0.49 < view.area <= 1 + 1e-6


def test_other_seeds_photos_and_numbers_give_other_views(photo: RGB) -> None:
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({draw_view(photo.shape, AugmentConfig(), 0.5, seed) for seed in seeds}) == 4


def test_the_share_of_spoilt_views_is_as_asked(photo: RGB) -> None:
    for share in (0.0, 0.3, 1.0):
        views = [draw_view(photo.shape, AugmentConfig(), share, (0, 0, number)) for number in range(300)]
        assert np.mean([bool(view.corruption) for view in views]) == pytest.approx(share, abs=0.08)
    assert {view.corruption for view in views} == set(KINDS)


def test_every_number_of_a_view_shows(photo: RGB) -> None:
    plain = View(0.1, 0.1, 0.9, 0.9, False, False, 1.0, 1.0, 1.0)
    pixels = render(photo, plain, 40)
    whole = replace(plain, left=0.0, right=1.0)
    changes = [whole, replace(plain, brightness=1.1), replace(plain, contrast=0.8), replace(plain, saturation=0.5)]
    changes += [replace(plain, corruption="haze", strength=0.5)]
    assert all(not np.array_equal(render(photo, view, 40), pixels) for view in changes)
    assert np.array_equal(render(photo, replace(plain, mirrored=True), 40), pixels[:, ::-1])
    assert np.array_equal(render(photo, replace(plain, flipped=True), 40), pixels[::-1])
    assert np.array_equal(render(photo, changes[-1], 40, spoilt=False), pixels)


def test_a_smaller_picture_is_the_same_picture(photo: RGB) -> None:
    pixels = render(photo, View(0, 0, 1, 1, False, False, 1, 1, 1), 64)
    assert shrink(pixels, 64) is pixels
    small = shrink(pixels, 16)
    blocks = pixels.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert small.shape == (16, 16, 3) and np.abs(small - blocks).mean() < 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_corruption_changes_a_photo_more_the_stronger_it_is_and_always_alike(kind: str, photo: RGB) -> None:
    original = photo.copy()

    def apart(strength: float, grain: int) -> float:
        return float(np.abs(corrupt(photo, kind, strength, grain).astype(float) - photo).mean())

    spoilt = corrupt(photo, kind, 0.7, 5)
    assert spoilt.shape == photo.shape and spoilt.dtype == np.uint8
    assert np.array_equal(spoilt, corrupt(photo, kind, 0.7, 5))
    mild, strong = (np.mean([apart(strength, grain) for grain in range(8)]) for strength in (0.0, 1.0))
    assert 0.5 < mild < strong
    assert np.array_equal(photo, original)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"jpeg", "low resolution"}))
def test_the_grain_decides_what_differs_between_photos(kind: str, photo: RGB) -> None:
    assert len({corrupt(photo, kind, 0.5, grain).tobytes() for grain in range(8)}) > 1


def test_unknown_corruptions_are_refused(photo: RGB) -> None:
    for kind, strength in (("snow", 0.5), ("rain", 1.5), ("rain", float("nan"))):
        with pytest.raises(UsageError, match="accepted: motion blur"):
            corrupt(photo, kind, strength, 0)
