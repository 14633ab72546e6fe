"""The one preprocessing stays within 1/255 of a float64 reference, on any picture and size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agriclip_edge.imaging.preprocess import preprocess, preprocessing_id

Reference = Callable[[np.ndarray, int], np.ndarray]

# The reference is not rounded: half a grey level is the rounding itself, the rest is float32.
TOLERANCE = 0.51


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10_007 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def checkerboard(height: int, width: int, cell: int) -> np.ndarray:
    """Black and white squares: the hardest edges there are."""
    rows, columns = np.indices((height, width))
    return np.repeat((((rows // cell + columns // cell) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def hold(reference: Reference, rgb: np.ndarray, size: int) -> None:
    found = preprocess(rgb, size)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.abs(found - reference(rgb, size)).max() <= TOLERANCE


@pytest.mark.parametrize("name", ["cow", "horses", "perch"])
def test_real_photos(name: str, photos: dict[str, Path], reference: Reference) -> None:
    hold(reference, np.asarray(Image.open(photos[name]).convert("RGB")), 224)


MADE = {
    "noise, reduced": (noise(700, 900), 224),
    "noise, upright": (noise(901, 640), 224),
    "noise, same size": (noise(224, 224), 224),
    "noise, enlarged": (noise(150, 190), 224),
    "noise, odd sides": (noise(333, 777), 97),
    "one pixel more than the side": (noise(33, 34), 32),
    "checkerboard, reduced": (checkerboard(700, 900, 7), 224),
    "checkerboard, enlarged": (checkerboard(150, 190, 9), 224),
    "checkerboard of pixels": (checkerboard(640, 480, 1), 224),
    "one pixel": (noise(1, 1), 32),
    "one row": (noise(1, 500), 32),
    "one column": (noise(500, 1), 32),
    "two rows": (noise(2, 301), 8),
    "very wide": (noise(40, 4000), 64),
    "to one pixel": (noise(50, 60), 1),
}


@pytest.mark.parametrize(("rgb", "size"), MADE.values(), ids=list(MADE))
def test_made_pictures(rgb: np.ndarray, size: int, reference: Reference) -> None:
    hold(reference, rgb, size)


def test_large_picture(reference: Reference) -> None:
    hold(reference, noise(1201, 1801), 224)


@given(height=st.integers(1, 180), width=st.integers(1, 180), size=st.integers(1, 90), cell=st.integers(0, 12))
def test_any_size(height: int, width: int, size: int, cell: int, reference: Reference) -> None:
    hold(reference, checkerboard(height, width, cell) if cell else noise(height, width), size)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (17, 130, 251)])
def test_one_colour_stays_as_it_is(colour: tuple[int, int, int]) -> None:
    rgb = np.full((123, 457, 3), colour, np.uint8)
    assert (preprocess(rgb, 64) == colour).all()


def test_takes_the_centre_square() -> None:
    """What lies beyond the square's filter leaves no trace."""
    rgb = noise(100, 400)
    other = rgb.copy()
    other[:, :140] = 0
    other[:, 260:] = 255
    assert (preprocess(rgb, 50) == preprocess(other, 50)).all()


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "BGR turned to RGB": lambda rgb: rgb[:, :, ::-1],
    "upside down": lambda rgb: rgb[::-1],
    "every other pixel": lambda rgb: rgb[::2, ::2],
    "columns first": lambda rgb: np.asfortranarray(rgb),
    "not writeable": lambda rgb: np.frombuffer(rgb.tobytes(), np.uint8).reshape(rgb.shape),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_memory_layout_does_not_matter(view: Callable[[np.ndarray], np.ndarray]) -> None:
    rgb = view(noise(90, 120))
    assert (preprocess(rgb, 32) == preprocess(rgb.copy(order="C"), 32)).all()


def test_leaves_its_input_alone() -> None:
    rgb = noise(32, 32)
    before = rgb.copy()
    preprocess(rgb, 32)[:] = 0
    assert (rgb == before).all()


@settings(max_examples=20)
@given(sizes=st.sets(st.integers(1, 4096), min_size=2, max_size=6))
def test_id_changes_with_the_size(sizes: set[int]) -> None:
    ids = {preprocessing_id(size) for size in sizes}
    assert len(ids) == len(sizes)
    assert all(len(identity) == 64 for identity in ids)


def test_id_is_the_one_that_bundles_carry() -> None:
    """Whoever changes what this module does to a pixel raises PREPROCESSING_VERSION, and then this line."""
    assert preprocessing_id(224) == "862cc83609a2b43c9fb5554f42300d0f3a9dec13140b780641cc4631eb070ffd"
