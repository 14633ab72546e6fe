"""Pieces cover a raster once, with their margins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.tiles import pieces


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(0, 9))
def test_every_pixel_is_given_once_and_has_its_margin(height: int, width: int, inside: int, margin: int) -> None:
    count = np.zeros((height, width), int)
    raster = np.arange(height * width).reshape(height, width)
    for piece in pieces(height, width, inside + 2 * margin, margin):
        count[piece.inner] += 1
        np.testing.assert_array_equal(raster[piece.outer][piece.within], raster[piece.inner])
        for inner, outer, length in zip(piece.inner, piece.outer, (height, width)):
            assert outer.start == max(inner.start - margin, 0) and outer.stop == min(inner.stop + margin, length)
            assert outer.stop - outer.start <= inside + 2 * margin
    assert (count == 1).all()


def test_margins_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing inside margins of 4"):
        next(pieces(10, 10, 8, 4))
