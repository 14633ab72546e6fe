"""Windows round pixels; none crosses the border of a tile."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError

Pixels = npt.NDArray[np.int64]


class Windows:
    """Cuts windows out of one array, again and again."""

    def __init__(
        self,
        values: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_],
        tile: npt.NDArray[np.int32],
        side: int,
    ) -> None:
        """Look up where the tiles lie.

        Args:
            values: (H, W, C), of any type.
            valid: bool (H, W).
            tile: int32 (H, W), -1 for pixels of none.
            side: pixels, odd.

        Raises:
            UsageError: the side is even or below 1.
        """
        from scipy.ndimage import find_objects

        if side < 1 or side % 2 == 0:
            raise UsageError(f"a window of {side} pixels has no centre; accepted: odd numbers from 1 on")
        self._values, self._valid, self._tile, self._half = values, valid, tile, side // 2
        boxes = np.zeros((int(tile.max(initial=-1)) + 1, 4), np.int64)  # first and last row, first and last column
        for number, box in enumerate(find_objects(tile + 1)):
            if box is not None:
                rows, columns = box
                boxes[number] = rows.start, rows.stop - 1, columns.start, columns.stop - 1
        self._boxes = boxes

    def places(self, pixels: Pixels) -> tuple[Pixels, Pixels, npt.NDArray[np.bool_]]:
        """Where the windows' pixels are taken from.

        Beyond its tile a window sees the tile mirrored at its outermost row of pixels.

        Args:
            pixels: rows and columns of N centres, int (N, 2).

        Returns:
            Rows and columns, int64 (N, S, S), and whether there are data of the centre's tile, bool (N, S, S).
        """
        rows, columns = np.asarray(pixels, np.int64).T
        tiles = self._tile[rows, columns]
        boxes = self._boxes[tiles]
        offsets = np.arange(-self._half, self._half + 1)
        down = _mirrored(rows[:, None] + offsets, boxes[:, 0:1], boxes[:, 1:2])[:, :, None]
        across = _mirrored(columns[:, None] + offsets, boxes[:, 2:3], boxes[:, 3:4])[:, None, :]
        seen = (self._tile[down, across] == tiles[:, None, None]) & self._valid[down, across]
        seen &= (tiles >= 0)[:, None, None]
        shape = seen.shape
        return np.broadcast_to(down, shape), np.broadcast_to(across, shape), seen

    def of(self, pixels: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Windows (N, S, S, C) round N pixels, 0 where there are no data, and where there are, bool (N, S, S)."""
        down, across, seen = self.places(pixels)
        cut = self._values[down, across]
        cut[~seen] = 0
        return cut, seen


def windows(
    values: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    tile: npt.NDArray[np.int32],
    pixels: Pixels,
    side: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The same once: `Windows` looks the tiles up a single time for many calls.

    Raises:
        UsageError: the side is even or below 1.
    """
    return Windows(values, valid, tile, side).of(pixels)


def _mirrored(places: Pixels, first: Pixels, last: Pixels) -> Pixels:
    """Places outside first to last, mirrored in again at the border, as often as it takes."""
    period = np.maximum(2 * (last - first), 1)
    folded = np.mod(places - first, period)
    return first + np.minimum(folded, period - folded) * (last > first)
