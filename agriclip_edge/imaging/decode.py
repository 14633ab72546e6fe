"""Any photo becomes upright RGB, at the smallest JPEG scale that keeps its quality."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import PhotoError, RuntimeUnavailable

if TYPE_CHECKING:
    import numpy.typing as npt

# Written as text, because importing numpy.typing takes longer than preprocessing a photo.
RGB: TypeAlias = "npt.NDArray[np.uint8]"  # (H, W, 3), upright
Photo: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | RGB"

# Pillow's readers for these formats are in C and well fuzzed; others (EPS calls Ghostscript) stay shut.
# MPO is opened by the reader of JPEG; Pillow registers none of its own, and a name without a reader is a KeyError.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")

MAX_PIXELS = 178_956_970  # 1/4 GiB of RGB and the point at which Pillow itself refuses a picture
MAX_BYTES = 1 << 30
# A JPEG is decoded at 1/2, 1/4 or 1/8 only while its short side stays at least twice the encoder's input:
# the resize then still has pixels to average (embedding cosine to the full decode in tests/imaging).
DRAFT_OVERSAMPLING = 2

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(photo: Photo, *, input_size: int | None = None) -> RGB:
    """Decode one photo.

    Args:
        photo: a path, the bytes of a file, a Pillow image, or an RGB ``uint8`` array ``(H, W, 3)``
            (an array is taken as upright; files and Pillow images are turned by their EXIF orientation).
        input_size: side in pixels of the encoder's square input. When given, large JPEGs are decoded at a
            reduced DCT scale whose short side is at least twice this; None decodes in full.

    Returns:
        upright RGB, ``uint8 (H, W, 3)``. 16-bit greys are scaled to 8 bits, transparency is laid over white,
        the first frame of an animation is taken.

    Raises:
        PhotoError: the photo is missing, empty, truncated, not a picture of an accepted format, or too large.
        RuntimeUnavailable: a HEIC photo, and the extra ``heif`` is not installed.

    Example:
        >>> decode(np.zeros((480, 640, 3), np.uint8)).shape
        (480, 640, 3)
    """
    if isinstance(photo, np.ndarray):
        return _check_array(photo)
    if isinstance(photo, Image.Image):
        with _as_photo_errors():  # a picture that Pillow has opened is decoded only now
            _check_pixels(photo)
            return _finish(photo)
    if isinstance(photo, (bytes, bytearray, memoryview)):
        data = bytes(photo)
        return _decode_file(io.BytesIO(data), len(data), input_size)
    if not isinstance(photo, (str, os.PathLike)):
        raise PhotoError(
            f"a photo cannot be a {type(photo).__name__}; accepted: path, bytes, Pillow image, uint8 array (H, W, 3)"
        )
    try:
        status = os.stat(photo)  # before it is opened: a pipe without a writer would block there for ever
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError("is a folder; accepted: a picture file")
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError("is not a regular file; accepted: a picture file")
        with open(photo, "rb", buffering=1 << 16) as file:
            return _decode_file(file, os.fstat(file.fileno()).st_size, input_size)
    except FileNotFoundError:
        raise PhotoError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PhotoError(f"cannot be read: {_one_line(error)}") from None


def _check_array(array: npt.NDArray[Any]) -> RGB:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise PhotoError(f"array of {array.dtype} {array.shape}; accepted: RGB uint8 (H, W, 3), H and W at least 1")
    return array


def _decode_file(file: Any, size: int, input_size: int | None) -> RGB:
    """Decode an open file of ``size`` bytes."""
    if size == 0:
        raise PhotoError("is empty (0 bytes)")
    if size > MAX_BYTES:
        raise PhotoError(f"has {size:,} bytes; at most {MAX_BYTES:,} are accepted")
    head = file.read(64)
    file.seek(0)
    with _as_photo_errors():
        # "mif1" may be either of two codecs; the brands after it say which, and AVIF is Pillow's.
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
            return _finish(_open_heif(file))
        with Image.open(file, formats=FORMATS) as image:
            _check_pixels(image)
            if input_size is not None and image.format in ("JPEG", "MPO"):
                side = DRAFT_OVERSAMPLING * input_size
                image.draft(image.mode, (side, side))
            return _finish(image)


@contextmanager
def _as_photo_errors() -> Iterator[None]:
    """Every way in which a decoder can fail becomes a PhotoError."""
    try:
        yield
    except (PhotoError, RuntimeUnavailable):
        raise
    except UnidentifiedImageError:
        raise PhotoError(f"is not a picture of an accepted format ({', '.join(FORMATS)}, HEIC)") from None
    except Image.DecompressionBombError:
        raise PhotoError(f"says it has more pixels than are accepted (at most {MAX_PIXELS:,})") from None
    except MemoryError:
        raise PhotoError("does not fit into memory") from None
    # Pillow's readers meet broken data with OSError, SyntaxError, struct.error, KeyError, zlib.error and
    # others still: whatever a decoder raises on a file means that this file cannot be decoded.
    except Exception as error:
        raise PhotoError(f"cannot be decoded: {_one_line(error)}") from None


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PhotoError(f"says it has {width}×{height} pixels; at most {MAX_PIXELS:,} are accepted")
    if width < 1 or height < 1:
        raise PhotoError(f"has {width}×{height} pixels; at least 1×1 is accepted")


def _open_heif(file: Any) -> Image.Image:
    try:
        import pillow_heif
    except ImportError:
        raise RuntimeUnavailable(
            'HEIC needs a decoder that is not installed; install it with: pip install "agriclip-edge[heif]"'
        ) from None
    picture = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)  # libheif itself turns it upright
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PhotoError(f"says it has {width}×{height} pixels; at most {MAX_PIXELS:,} are accepted")
    image: Image.Image = picture.to_pillow()
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1 to 8; broken EXIF data counts as upright, as in every viewer."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


def _finish(image: Image.Image) -> RGB:
    """Convert to upright 8-bit RGB."""
    image.load()  # before the orientation is asked for: Pillow turns a TIFF by itself when it loads it
    orientation = _orientation(image)
    rgb = _to_rgb(image)
    if orientation != 1:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    return np.asarray(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise PhotoError("holds 32-bit floats; accepted: 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16-bit greys; Pillow's own convert("RGB") would clip them to white
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text[:200] or type(error).__name__
