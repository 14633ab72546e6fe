"""Levelling: each pixel loses a share of what all of its raster have in common, its flight's light and its season."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .tiles import pieces

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..bundle.manifest import SceneLevel
    from .classify import Window

_DARK = 1e-6  # of a spectrum's length: an all-dark pixel stays at 0


def unit_length(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Channels (..., C) of each pixel as a vector of length 1: light and shade make no difference to it.

    Example:
        >>> unit_length(np.array([[3, 4], [0, 0]], np.float32)).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length = np.sqrt(np.square(values).sum(axis=-1, keepdims=True))
    unit: npt.NDArray[np.float32] = (values / np.maximum(length, _DARK)).astype(np.float32)
    return unit


class Leveller:
    """Levels the windows of one raster by means over all of it, which it takes in a first pass.

    Memory is that of one window, whatever the size of the raster.

    Attributes:
        means: by modality, the mean float64 (C,) of all pixels with data; of a modality without any, zeros.

    Example:
        >>> from agriclip_edge.bundle.manifest import SceneLevel
        >>> plane = np.arange(6, dtype=np.float32).reshape(2, 3, 1)
        >>> def read(rows, columns):
        ...     return {"sar": plane[rows, columns]}, {"sar": np.ones(plane[rows, columns].shape[:2], bool)}
        >>> level = Leveller(read, {"sar": SceneLevel(share=0.5)}, 2, 3, side=2)
        >>> level.means["sar"].tolist(), level(slice(1, 2), slice(0, 3))[0]["sar"][0, :, 0].tolist()
        ([2.5], [1.75, 2.75, 3.75])
    """

    def __init__(
        self,
        read: Window,
        levels: Mapping[str, SceneLevel],
        height: int,
        width: int,
        side: int,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the means.

        Args:
            read: gives parts of the raster.
            levels: of the modalities that are levelled, by name.
            height: of the raster, pixels.
            width: of the raster, pixels.
            side: of the parts that are read at a time, pixels.
            step: called after each of them.
        """
        self._read, self._levels = read, dict(levels)
        sums: dict[str, npt.NDArray[np.float64]] = {}
        counts = dict.fromkeys(levels, 0)
        for piece in pieces(height, width, side, 0):
            values, valid = read(*piece.inner)
            for name in levels:
                if name in values:
                    seen = self._ready(name, values[name], valid[name])[valid[name]]
                    sums[name] = sums.get(name, 0.0) + seen.sum(axis=0, dtype=np.float64)
                    counts[name] += len(seen)
            step()
        self.means = {name: total / max(counts[name], 1) for name, total in sums.items()}

    def __call__(
        self, rows: slice, columns: slice
    ) -> tuple[dict[str, npt.NDArray[np.float32]], Mapping[str, npt.NDArray[np.bool_]]]:
        """Levelled values (h, w, C), 0 where there is no data, and where there is (h, w), by modality."""
        values, valid = self._read(rows, columns)
        levelled = dict(values)
        for name, mean in self.means.items():
            taken = (self._levels[name].share * mean).astype(np.float32)
            ready = self._ready(name, values[name], valid[name])
            levelled[name] = np.where(valid[name][..., np.newaxis], ready - taken, np.float32(0))
        return levelled, valid

    def _ready(
        self, name: str, values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """Values of which the mean is taken; what lies where there is no data may be NaN."""
        known = np.where(valid[..., np.newaxis], values, np.float32(0))
        return unit_length(known) if self._levels[name].unit_length else known
