"""What is wrong with a photo is told by its pixels, and nothing is wrong with a good one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from agriclip_edge.imaging.prepared import prepare
from agriclip_edge.imaging.quality import complaint, measure

PHOTOS = sorted((Path(__file__).resolve().parents[3] / "examples" / "photos").glob("*.jpg"))


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_real_photo_is_good_until_it_is_spoilt(path: Path) -> None:
    square = prepare(str(path), 224).square
    assert complaint(square) is None
    assert complaint((square // 8).astype(np.uint8)) == "too-dark"
    assert complaint((255 - square // 16).astype(np.uint8)) == "too-bright"
    blurred = np.asarray(Image.fromarray(square).filter(ImageFilter.GaussianBlur(6)))
    assert complaint(blurred) == "blurred"


def test_low_contrast_is_not_blur() -> None:
    square = prepare(str(PHOTOS[0]), 224).square.astype(np.float32)
    pale = (128 + (square - 128) / 8).astype(np.uint8)
    assert complaint(pale) is None
    assert measure(pale)[1] == pytest.approx(measure(square.astype(np.uint8))[1], rel=0.5)


def test_one_colour_has_no_sharpness() -> None:
    assert measure(np.full((8, 8, 3), 100, np.uint8)) == (pytest.approx(100, abs=0.01), 0.0)
    assert complaint(np.full((8, 8, 3), 100, np.uint8)) == "blurred"
