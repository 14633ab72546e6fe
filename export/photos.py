"""A folder of photos as the image encoder wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.imaging.decode import decode
from agriclip_edge.imaging.preprocess import preprocess

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def read_squares(folder: Path, size: int) -> npt.NDArray[np.uint8]:
    """All photos under a folder, preprocessed: uint8 (N, S, S, 3).

    Raises:
        UsageError: there is none, or one cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise UsageError(f"{folder} holds no photos; accepted: a folder with {', '.join(sorted(_SUFFIXES))}")
    return np.stack([_square(path, size) for path in paths])


def _square(path: Path, size: int) -> npt.NDArray[np.uint8]:
    try:
        return preprocess(decode(path, input_size=size), size)
    except PhotoError as error:
        raise UsageError(f"{path} {error}") from None
