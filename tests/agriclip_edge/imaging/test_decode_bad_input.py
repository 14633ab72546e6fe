"""Photos that are broken or hostile give one line of a PhotoError, quickly and in little memory."""

from __future__ import annotations

import io
import os
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agriclip_edge.errors import PhotoError, RuntimeUnavailable
from agriclip_edge.imaging.decode import MAX_PIXELS, decode


def made(form: str, **options: object) -> bytes:
    """A small picture that does not compress to nothing."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_header(width: int, height: int) -> bytes:
    """Start, frame of three components, scan: all that is read before the first pixel."""
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    scan = b"\x03\x01\0\x02\0\x03\0\0\x3f\0"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xda\0\x0c" + scan


JPEG, PNG = made("JPEG"), made("PNG")
PICTURE = "is not a picture of an accepted format"
PIXELS = rf"says it has .*pixels.* {MAX_PIXELS:,}"
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"is empty \(0 bytes\)"),
    "one byte": (b"\xff", PICTURE),
    "text": (b"rust on the third row\n" * 20, PICTURE),
    "zeros": (bytes(5000), PICTURE),
    "HTML": (b"<!doctype html><img src=cow.jpg>", PICTURE),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', PICTURE),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", PICTURE),
    "PDF": (b"%PDF-1.7\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF", PICTURE),
    "ZIP": (b"PK\x03\x04" + bytes(40), PICTURE),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), PICTURE),
    "TGA": (b"\0\0\x02\0\0\0\0\0\0\0\0\0\x08\0\x08\0\x18\0" + bytes(192), PICTURE),
    "JPEG, half": (JPEG[: len(JPEG) // 2], "truncated"),
    "JPEG, last bytes missing": (JPEG[:-200], "truncated"),
    "JPEG, two bytes": (JPEG[:2], PICTURE),
    "JPEG, start alone": (JPEG[:20], "cannot be decoded|" + PICTURE),
    "PNG, half": (PNG[: len(PNG) // 2], "truncated|cannot be decoded"),
    "PNG, signature alone": (PNG[:8], "cannot be decoded|" + PICTURE),
    "PNG without pixels": (png(8, 8), "cannot be decoded"),
    "PNG, checksum wrong": (PNG[:20] + b"\x99" + PNG[21:], "cannot be decoded|" + PICTURE),
    "WebP, half": (made("WEBP")[:700], "cannot be decoded|" + PICTURE),
    "TIFF, half": (made("TIFF")[:700], "cannot be decoded|" + PICTURE),
    "GIF, half": (made("GIF")[:-300], "truncated"),
    "BMP, half": (made("BMP")[:700], "truncated|cannot be decoded"),
    "50,000 by 50,000 PNG": (png(50_000, 50_000), PIXELS),
    "50,000 by 50,000 JPEG": (jpeg_header(50_000, 50_000), PIXELS),
    "50,000 by 50,000 BMP": (
        b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, *[0] * 6),
        PIXELS,
    ),
    "50,000 by 50,000 PPM": (b"P6 50000 50000 255\n" + bytes(100), PIXELS),
    "2^31 by 2^31 PNG": (png(2**31 - 1, 2**31 - 1), PIXELS),
    "width 0 PNG": (png(0, 8), "cannot be decoded|at least 1|" + PICTURE),
    "floating point TIFF": (b"", "32-bit floats"),
}
_floats = io.BytesIO()
Image.new("F", (4, 4), 0.5).save(_floats, "TIFF")
BAD["floating point TIFF"] = (_floats.getvalue(), "32-bit floats")


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=list(BAD))
@pytest.mark.filterwarnings("ignore")
def test_bad_data(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    before, start = peak_memory(), time.monotonic()
    for photo in (path, data):
        with pytest.raises(PhotoError, match=message) as caught:
            decode(photo, input_size=224)
        assert len(str(caught.value).splitlines()) == 1
    assert time.monotonic() - start < 5
    assert peak_memory() - before < 64 << 20


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_truncated_pillow_image_is_a_photo_error_too() -> None:
    """Pillow decodes when pixels are wanted, that is, here."""
    for data in (JPEG[:-200], PNG[:-200]):
        with pytest.raises(PhotoError, match="truncated"):
            decode(Image.open(io.BytesIO(data)))
    closed = Image.open(io.BytesIO(JPEG))
    closed.close()
    with pytest.raises(PhotoError, match="cannot be decoded"):
        decode(closed)
    with pytest.raises(PhotoError, match="at least 1"):
        decode(Image.new("RGB", (0, 4)))


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for path, message in (
        (tmp_path / "missing.jpg", "no such file"),
        ("", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "circle", "cannot be read"),
        ("a\0b.jpg", "cannot be read: embedded null byte"),
        ("x" * 5000, "cannot be read: File name too long"),
    ):
        with pytest.raises(PhotoError, match=message):
            decode(path)


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_not_read(device: str) -> None:
    with pytest.raises(PhotoError, match="is not a regular file"):
        decode(device)


def test_a_pipe_is_not_waited_for(tmp_path: Path, spawn: Callable[..., object]) -> None:
    """As a process of its own: opening a pipe without a writer would block for ever."""
    os.mkfifo(tmp_path / "photo.jpg")
    done = spawn("classify", "photo.jpg")
    assert (done.code, done.lines) == (
        1,
        ["agriclip-edge: photo.jpg: is not a regular file; accepted: a picture file"],
    )


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/row \xff\xfe.jpg"
    with open(path, "wb") as file:
        file.write(JPEG)
    assert decode(os.fsdecode(path)).shape == (48, 64, 3)


ORIGINALS = {
    "JPEG": JPEG,
    "progressive JPEG with EXIF": made("JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "PNG": PNG,
    "WebP": made("WEBP"),
    "TIFF": made("TIFF"),
    "compressed TIFF": made("TIFF", compression="tiff_lzw"),
    "GIF": made("GIF"),
    "BMP": made("BMP"),
}


@pytest.mark.parametrize("name", ORIGINALS)
@pytest.mark.filterwarnings("ignore")
@given(data=st.data())
def test_mutated_pictures(name: str, data: st.DataObject, mutated: Callable[[st.DataObject, bytes], bytes]) -> None:
    """A broken file gives a picture or a PhotoError, never anything else."""
    broken = mutated(data, ORIGINALS[name])
    start = time.monotonic()
    try:
        found = decode(broken, input_size=32)
    except (PhotoError, RuntimeUnavailable) as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 3
        assert found.shape[2] == 3
        assert found.shape[0] * found.shape[1] <= MAX_PIXELS
    assert time.monotonic() - start < 5
