"""RGB of any size becomes the encoder's square uint8 input: antialiased bicubic resize of the centre square.

Mean, standard deviation and L2 normalisation are not here: they live inside the graph, so that no caller can
get them wrong.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from .decode import RGB  # commands that see no photo do without Pillow

PREPROCESSING_VERSION = 1
_CUBIC_A = -0.5  # Catmull-Rom, the bicubic of Pillow and torchvision
_SUPPORT = 2.0  # source pixels on each side of the centre, at scale 1
_BAND_HEIGHT = 8  # output pixels a matrix product: few enough that little of the banded matrix is zeros
# Multiplications a matrix product: OpenBLAS keeps products up to 262,144 on the calling thread. Its worker threads
# spin, and beside the inference runtime's own they were measured to cost up to 200 ms a photo.
_PRODUCT_SIZE = 262_144


def preprocessing_id(input_size: int) -> str:
    """sha256 of what this module does at one input size; packs and bundles carry it to prove that they agree.

    Example:
        >>> preprocessing_id(224) == preprocessing_id(224), preprocessing_id(224) == preprocessing_id(256)
        (True, False)
    """
    description = {
        "version": PREPROCESSING_VERSION,
        "crop": "centre square of the short side, left = (width - side) // 2, top = (height - side) // 2",
        "resample": f"separable bicubic, a = {_CUBIC_A}, antialiased, clipped and rounded once",
        "size": input_size,
        "colour": "RGB uint8",
    }
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def preprocess(rgb: RGB, size: int) -> RGB:
    """Cut the centre square out of a photo and resize it, in one step and with integer geometry.

    The filter is Pillow's antialiased bicubic, computed in float32 with one rounding at the end: Pillow's own
    resize rounds and clips between its two passes, which costs up to 18 grey levels at hard edges.

    Args:
        rgb: ``uint8 (H, W, 3)``, upright.
        size: side S of the result in pixels.

    Returns:
        ``uint8 (S, S, 3)``, within 1/255 of the same filter in float64.

    Example:
        >>> preprocess(np.full((480, 640, 3), 200, np.uint8), 224).shape
        (224, 224, 3)
    """
    height, width = rgb.shape[:2]
    side = min(height, width)
    rows = _line_filter(height, (height - side) // 2, side, size)
    columns = _line_filter(width, (width - side) // 2, side, size)
    left, right = columns[0].used.start, columns[-1].used.stop  # no other column reaches the result
    # The first result comes turned: to turn it afterwards would cost as much as both filters.
    strip = _apply(rows, rgb[:, left:right].reshape(height, -1), np.empty(((right - left) * 3, size), np.float32).T)
    turned = strip.T.reshape(right - left, 3 * size)  # a column's colours, each with its S rows
    square = _apply(columns, turned, np.empty((size, 3 * size), np.float32), first=left)
    picture = np.rint(square, out=square).clip(0, 255, out=square).astype(np.uint8)
    return np.ascontiguousarray(picture.reshape(size, 3, size).transpose(2, 0, 1))


class _Band(NamedTuple):
    """A block of the banded filter matrix: output pixels, the input pixels that they are made of, the weights."""

    out: slice
    used: slice
    weights: npt.NDArray[np.float32]  # (output pixels, input pixels)


def _apply(
    bands: tuple[_Band, ...], source: npt.NDArray[np.generic], result: npt.NDArray[np.float32], first: int = 0
) -> npt.NDArray[np.float32]:
    """Filter along the first axis of ``source`` (n, k), whose row 0 is pixel ``first``, into ``result`` (S, k)."""
    for out, used, weights in bands:
        step = max(_PRODUCT_SIZE // weights.size, 1)
        for left in range(0, source.shape[1], step):
            block = source[used.start - first : used.stop - first, left : left + step]
            result[out, left : left + step] = weights @ block.astype(np.float32)
    return result


@lru_cache(maxsize=32)
def _line_filter(length: int, start: int, side: int, size: int) -> tuple[_Band, ...]:
    """How pixels [start, start + side) of a line of ``length`` become ``size`` pixels."""
    scale = side / size
    stretch = max(scale, 1.0)  # antialiasing: the filter grows with the reduction
    support = _SUPPORT * stretch
    bands = []
    for top in range(0, size, _BAND_HEIGHT):
        out = slice(top, min(top + _BAND_HEIGHT, size))
        centres = start + (np.arange(out.start, out.stop) + 0.5) * scale
        low, high = np.maximum((centres - support + 0.5).astype(int), 0), (centres + support + 0.5).astype(int)
        used = slice(int(low[0]), int(min(high[-1], length)))
        pixels = np.arange(used.start, used.stop)
        weights = _cubic(np.abs((pixels + 0.5 - centres[:, None]) / stretch))
        weights[(pixels < low[:, None]) | (pixels >= high[:, None])] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        bands.append(_Band(out, used, weights.astype(np.float32)))
    return tuple(bands)


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel (IEEE TASSP 1981, eq. 15) at distances x >= 0."""
    a = _CUBIC_A
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
