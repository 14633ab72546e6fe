"""A raster cut into pieces that overlap, so that a map of it is made in bounded memory and without seams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import UsageError


class Piece(NamedTuple):
    """A part of a raster; each pair is rows and columns.

    Attributes:
        inner: what this piece gives to the map: pieces' inner parts cover the raster once.
        outer: what is read for it: the inner part with the margin, as far as the raster reaches.
        within: where the inner part lies in the outer.
    """

    inner: tuple[slice, slice]
    outer: tuple[slice, slice]
    within: tuple[slice, slice]


def pieces(height: int, width: int, side: int, margin: int) -> Iterator[Piece]:
    """Pieces of at most ``side`` pixels a side with their margins, row by row.

    Args:
        height: of the raster, pixels.
        width: of it.
        side: of a piece with its margins.
        margin: pixels round the inner part: half the receptive field.

    Raises:
        UsageError: margins leave nothing of a piece.

    Example:
        >>> [(p.inner[1], p.outer[1]) for p in pieces(4, 8, 8, 2)]
        [(slice(0, 4, None), slice(0, 6, None)), (slice(4, 8, None), slice(2, 8, None))]
    """
    step = side - 2 * margin
    if step < 1 or margin < 0:
        raise UsageError(f"pieces of {side} pixels have nothing inside margins of {margin}")
    for top in range(0, height, step):
        rows, all_rows, in_rows = _line(top, min(top + step, height), margin, height)
        for left in range(0, width, step):
            columns, all_columns, in_columns = _line(left, min(left + step, width), margin, width)
            yield Piece((rows, columns), (all_rows, all_columns), (in_rows, in_columns))


def _line(first: int, stop: int, margin: int, length: int) -> tuple[slice, slice, slice]:
    low, high = max(first - margin, 0), min(stop + margin, length)
    return slice(first, stop), slice(low, high), slice(first - low, stop - low)
