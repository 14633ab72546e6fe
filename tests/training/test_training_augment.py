from __future__ import annotations

import numpy as np
import pytest

from training.augment import AugmentConfig, augment

STILL = AugmentConfig(area=(1, 1), aspect=(1, 1), vertical_flip=0, colour=0)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_one_seed_gives_one_view(rgb: np.ndarray) -> None:
    views = [augment(rgb, 32, AugmentConfig(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == (32, 32, 3) and views[0].dtype == np.uint8
    assert np.array_equal(views[0], views[1]) and not np.array_equal(views[0], views[2])


def test_left_and_right_are_swapped_half_of_the_time(rgb: np.ndarray) -> None:
    square = rgb[:, :48]
    views = [augment(square, 48, STILL, np.random.default_rng(seed)) for seed in range(100)]
    same = sum(np.array_equal(view, square) for view in views)
    swapped = sum(np.array_equal(view, square[:, ::-1]) for view in views)
    assert same + swapped == 100 and 35 <= same <= 65


def test_colours_stay_near(rgb: np.ndarray) -> None:
    plain = np.full((40, 40, 3), (180, 60, 40), np.uint8)
    for seed in range(20):
        view = augment(plain, 32, AugmentConfig(), np.random.default_rng(seed)).astype(int)
        assert view[..., 0].min() > view[..., 1].max() >= view[..., 2].min()  # still red
        assert np.abs(view.mean(axis=(0, 1)) - (180, 60, 40)).max() < 0.5 * 180


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (200, 3, 3)])
def test_takes_photos_of_any_shape(shape: tuple[int, int, int]) -> None:
    for seed in range(10):
        assert augment(np.zeros(shape, np.uint8), 16, AugmentConfig(), np.random.default_rng(seed)).shape == (16, 16, 3)
