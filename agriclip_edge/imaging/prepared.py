"""A photo on its way into the encoder: decoded, cropped, resized, and how long that took."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from .decode import RGB, Photo, decode
from .preprocess import preprocess


class Prepared(NamedTuple):
    """The encoder's input of one photo.

    Attributes:
        path: of the photo, or None if it had none.
        square: ``uint8 (S, S, 3)``.
        decode_ms: milliseconds of reading and decoding.
        preprocess_ms: milliseconds of crop and resize.
    """

    path: str | None
    square: RGB
    decode_ms: float
    preprocess_ms: float


def prepare(photo: Photo | Prepared, size: int) -> Prepared:
    """Make one photo ready for an encoder of input size ``size``; one that is ready stays as it is.

    Raises:
        PhotoError: the photo cannot be used.

    Example:
        >>> prepare("examples/photos/cow.jpg", 224).square.shape
        (224, 224, 3)
    """
    if isinstance(photo, Prepared):
        return photo
    start = time.perf_counter()
    rgb = decode(photo, input_size=size)
    decoded = time.perf_counter()
    square = preprocess(rgb, size)
    return Prepared(path_of(photo), square, (decoded - start) * 1e3, (time.perf_counter() - decoded) * 1e3)


def path_of(photo: Photo | Prepared) -> str | None:
    """The path of a photo that was given by path or prepared from one."""
    if isinstance(photo, Prepared):
        return photo.path
    return os.fsdecode(os.fspath(photo)) if isinstance(photo, (str, os.PathLike)) else None
