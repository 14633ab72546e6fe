"""The JPEG that goes into a shard: the photo's own bytes where they will do, written anew where not."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from agriclip_edge.imaging.decode import RGB

from .candidates import Candidate

_ORIENTATION = 0x0112
_KEPT_SEGMENTS = (0xE0, 0xE2, 0xEE)  # JFIF, colour profile, Adobe's colour transform: decoding needs them


@dataclass(frozen=True)
class Picture:
    """A JPEG with its width and height in pixels."""

    data: bytes
    width: int
    height: int


def make_picture(candidate: Candidate, data: bytes, short_side: int, quality: int) -> Picture:
    """The JPEG of a candidate, upright and without EXIF (place and owner of the camera are nobody's business).

    Args:
        candidate: whose box is cut out.
        data: bytes of its file.
        short_side: the picture is made this small where it is larger, in pixels; 0 for its own size.
        quality: of a JPEG that is written anew; 4:4:4 colour, as disease is colour.

    Raises:
        PhotoError: the file cannot be decoded.
    """
    if candidate.box is None and short_side == 0:
        own = bare_jpeg(data)
        if own is not None:
            return own
    rgb = resize_short_side(candidate.rgb(data), short_side)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=quality, subsampling=0)
    return Picture(buffer.getvalue(), rgb.shape[1], rgb.shape[0])


def resize_short_side(rgb: RGB, short_side: int) -> RGB:
    """The picture with this short side, or itself when it is no larger or ``short_side`` is 0."""
    height, width = rgb.shape[:2]
    scale = short_side / min(height, width)
    if not 0 < scale < 1:
        return rgb
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    image = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def bare_jpeg(data: bytes) -> Picture | None:
    """A JPEG file without its metadata, its pixels untouched; None when it must be written anew."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            if image.format != "JPEG" or image.mode not in ("RGB", "L") or not upright:
                return None
            width, height = image.size
    except Exception:  # broken EXIF and the like: decoding says what is wrong, if it is
        return None
    parts, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:  # the scan: all that follows is pixels
            return Picture(b"".join([*parts, data[place:]]), width, height)
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _KEPT_SEGMENTS or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[place:end])
        place = end
    return None
