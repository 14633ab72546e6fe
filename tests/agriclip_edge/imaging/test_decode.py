"""Any photo becomes upright RGB: orientations, colour modes, formats, the reduced scale of large JPEGs."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

import agriclip_edge
from agriclip_edge.errors import PhotoError
from agriclip_edge.imaging.decode import decode
from agriclip_edge.imaging.preprocess import preprocess

AVIF = ["AVIF"] if features.check("avif") else []
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def four_corners() -> np.ndarray:
    """A picture (32, 48, 3) that looks different in each of its eight orientations."""
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:16, :24], rgb[:16, 24:], rgb[16:, :24], rgb[16:, 24:] = RED, GREEN, BLUE, WHITE
    return rgb


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


# How the same upright picture lies in the file, by the meaning of the tag in the EXIF standard (0th row, 0th column).
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.transpose(1, 0, 2),  # left, top
    6: lambda upright: np.rot90(upright, 1),  # right, top
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda upright: np.rot90(upright, -1),  # left, bottom
}
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}
LOSSY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 98, "subsampling": 0},
    **{form: {"quality": 98, "subsampling": "4:4:4"} for form in AVIF},
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", [*LOSSLESS, *LOSSY])
def test_orientations(form: str, orientation: int, tmp_path: Path) -> None:
    """The same picture stored in eight ways is the same picture, by path, by bytes and as a Pillow image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](four_corners())))
    data = saved(stored, form, exif=exif, **LOSSLESS.get(form, LOSSY.get(form, {})))
    path = tmp_path / "photo"
    path.write_bytes(data)
    for photo in (path, str(path), data, bytearray(data), memoryview(data), Image.open(path)):
        found = decode(photo)
        assert found.shape == (32, 48, 3)
        assert np.abs(found.astype(int) - four_corners()).max() <= (0 if form in LOSSLESS else 8)


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_orientation_that_does_not_exist_counts_as_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert (decode(saved(Image.fromarray(four_corners()), "PNG", exif=exif)) == four_corners()).all()


BROKEN_EXIF = {
    "empty": b"",
    "no TIFF header": b"garbage" * 9,
    "directory beyond the end": b"II*\0\xff\xff\xff\x7f",
    "entries beyond the end": b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff\x06\0\0\0" * 5,
    "orientation as text": b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0\0\0\0\0",
    "orientation as a fraction over zero": b"II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x1a\0\0\0\0\0\0\0"
    + bytes(8),
}


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=list(BROKEN_EXIF))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_counts_as_upright(exif: bytes) -> None:
    jpeg = saved(Image.fromarray(four_corners()), "JPEG", quality=98, subsampling=0)
    segment = b"Exif\0\0" + exif
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert np.abs(decode(data).astype(int) - four_corners()).max() <= 8


def plain(mode: str, colour: Any) -> Image.Image:
    return Image.new(mode, (8, 6), colour)


def grey16(value: int) -> Image.Image:
    return Image.fromarray(np.full((6, 8), value, np.uint16))


def palette(*, transparency: Any = None) -> Image.Image:
    image = plain("P", 1)
    image.putpalette([*GREEN, *RED, *BLUE])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


# What is stored -> the colour that it is, and how far a lossy format may be from it.
COLOURS: dict[str, tuple[bytes, tuple[int, int, int], int]] = {
    "RGB JPEG": (saved(plain("RGB", RED), "JPEG"), RED, 3),
    "grey JPEG": (saved(plain("L", 100), "JPEG"), (100, 100, 100), 1),
    "CMYK JPEG, red": (saved(plain("CMYK", (0, 255, 255, 0)), "JPEG"), RED, 3),
    "CMYK JPEG, white": (saved(plain("CMYK", (0, 0, 0, 0)), "JPEG"), WHITE, 3),
    "CMYK JPEG, black": (saved(plain("CMYK", (0, 0, 0, 255)), "JPEG"), BLACK, 3),
    "CMYK TIFF, red": (saved(plain("CMYK", (0, 255, 255, 0)), "TIFF"), RED, 3),
    "grey PNG": (saved(plain("L", 100), "PNG"), (100, 100, 100), 0),
    "one bit PNG": (saved(plain("1", 1), "PNG"), WHITE, 0),
    "palette PNG": (saved(palette(), "PNG"), RED, 0),
    "palette GIF": (saved(palette(), "GIF"), RED, 0),
    "palette PNG, its colour transparent": (saved(palette(transparency=1), "PNG"), WHITE, 0),
    "palette PNG, half transparent": (saved(palette(transparency=b"\xff\x80\xff"), "PNG"), (255, 127, 127), 1),
    "palette PNG, another colour transparent": (saved(palette(transparency=0), "PNG"), RED, 0),
    "RGB PNG, its colour transparent": (saved(plain("RGB", RED), "PNG", transparency=RED), WHITE, 0),
    "RGBA PNG, opaque": (saved(plain("RGBA", (*BLUE, 255)), "PNG"), BLUE, 0),
    "RGBA PNG, half transparent": (saved(plain("RGBA", (*RED, 128)), "PNG"), (255, 127, 127), 1),
    "RGBA PNG, transparent": (saved(plain("RGBA", (*BLACK, 0)), "PNG"), WHITE, 0),
    "RGBA WebP, half transparent": (
        saved(plain("RGBA", (*BLACK, 128)), "WEBP", lossless=True, exact=True),
        (127, 127, 127),
        1,
    ),
    "RGBA TIFF, half transparent": (saved(plain("RGBA", (*RED, 128)), "TIFF"), (255, 127, 127), 1),
    "grey PNG with alpha": (saved(plain("LA", (0, 128)), "PNG"), (127, 127, 127), 1),
    "grey PNG with alpha, transparent": (saved(plain("LA", (0, 0)), "PNG"), WHITE, 0),
    "16-bit grey PNG, middle": (saved(grey16(0x8080), "PNG"), (128, 128, 128), 0),
    "16-bit grey PNG, dark": (saved(grey16(1000), "PNG"), (4, 4, 4), 0),
    "16-bit grey PNG, white": (saved(grey16(65535), "PNG"), WHITE, 0),
    "16-bit grey TIFF": (saved(grey16(0x8080), "TIFF"), (128, 128, 128), 0),
    "16-bit grey TIFF, compressed": (saved(grey16(0x4040), "TIFF", compression="tiff_lzw"), (64, 64, 64), 0),
    "16-bit grey PGM": (b"P5 8 6 65535\n" + b"\x80\x80" * 48, (128, 128, 128), 0),
    "PPM": (saved(plain("RGB", GREEN), "PPM"), GREEN, 0),
    "BMP": (saved(plain("RGB", GREEN), "BMP"), GREEN, 0),
    "WebP": (saved(plain("RGB", BLUE), "WEBP", lossless=True), BLUE, 0),
    "GIF, first of two frames": (
        saved(plain("RGB", RED), "GIF", save_all=True, append_images=[plain("RGB", BLUE)]),
        RED,
        0,
    ),
    "WebP, first of two frames": (
        saved(plain("RGB", RED), "WEBP", save_all=True, append_images=[plain("RGB", BLUE)], lossless=True),
        RED,
        0,
    ),
    "TIFF, first of two pages": (
        saved(plain("RGB", RED), "TIFF", save_all=True, append_images=[plain("RGB", BLUE)]),
        RED,
        0,
    ),
    "MPO, first of two frames": (
        saved(plain("RGB", RED), "MPO", save_all=True, append_images=[plain("RGB", BLUE)]),
        RED,
        3,
    ),
    **{form: (saved(plain("RGB", GREEN), form, quality=95), GREEN, 8) for form in AVIF},
}


@pytest.mark.parametrize(("data", "colour", "tolerance"), COLOURS.values(), ids=list(COLOURS))
def test_colours(data: bytes, colour: tuple[int, int, int], tolerance: int) -> None:
    for photo in (data, Image.open(io.BytesIO(data))):
        found = decode(photo)
        assert found.shape == (6, 8, 3)
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - colour).max() <= tolerance


MODES = {
    "1": 1,
    "L": 255,
    "P": 255,
    "RGB": WHITE,
    "RGBX": (*WHITE, 0),
    "CMYK": (0, 0, 0, 0),
    "I": 65535,
    "HSV": (0, 0, 255),
}


@pytest.mark.parametrize(("mode", "white"), MODES.items(), ids=list(MODES))
def test_white_is_white_in_every_pillow_mode(mode: str, white: Any) -> None:
    image = plain(mode, white)
    if mode == "P":
        image.putpalette([255] * 768)
    assert (decode(image) == 255).all()


def test_the_first_photo_of_a_process_may_be_of_any_format(tmp_path: Path) -> None:
    """Pillow loads its readers one after the other: each must be found without the others."""
    program = "import sys; from agriclip_edge.imaging.decode import decode; print(decode(sys.argv[1]).shape)"
    (tmp_path / "photo").write_bytes(saved(plain("RGB", RED), "TIFF"))
    command = [sys.executable, "-c", program, tmp_path / "photo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "(6, 8, 3)\n", done.stderr


# --- The reduced scale of large JPEGs -------------------------------------------------------------------------------


@settings(max_examples=40)
@given(width=st.integers(1, 700), height=st.integers(1, 700), size=st.integers(8, 64))
def test_reduced_scale_keeps_twice_the_input(width: int, height: int, size: int) -> None:
    """Of the scales 1, 1/2, 1/4 and 1/8 the smallest is taken whose short side is at least twice the input's."""
    data = saved(Image.new("L", (width, height)), "JPEG")
    scale = max(scale for scale in (1, 2, 4, 8) if scale == 1 or min(width, height) // scale >= 2 * size)
    assert decode(data, input_size=size).shape == (-(-height // scale), -(-width // scale), 3)
    assert decode(data).shape == (height, width, 3)


def test_reduced_scale_of_a_real_photo(photos: dict[str, Path]) -> None:
    assert decode(photos["dandelion_meadow"], input_size=224).shape == (747, 1328, 3)
    assert decode(photos["cow"], input_size=224).shape == (768, 1024, 3)


def test_other_formats_are_decoded_in_full() -> None:
    assert decode(saved(Image.new("L", (900, 700)), "PNG"), input_size=32).shape == (700, 900, 3)


def test_reduced_scale_and_orientation_together(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.kron(np.rot90(four_corners(), 1), np.ones((16, 16, 1), np.uint8)).astype(np.uint8)
    found = decode(saved(Image.fromarray(stored), "JPEG", exif=exif, quality=95), input_size=64)
    assert found.shape == (128, 192, 3)
    corners = found[[8, 8, -8, -8], [8, -8, 8, -8]].astype(int)
    assert np.abs(corners - [RED, GREEN, BLUE, WHITE]).max() <= 8


@pytest.fixture(scope="module")
def reduced_photos(photos: dict[str, Path]) -> dict[str, bytes]:
    """Real photos that are decoded at a half, a quarter and an eighth, most at just twice the encoder's input."""
    meadow, cow = Image.open(photos["dandelion_meadow"]), Image.open(photos["cow"])
    made = {
        "a quarter of 16 megapixels": meadow,
        "a quarter, at twice the input": meadow.crop((900, 200, 2900, 1992)),
        "a half, at twice the input": meadow.crop((900, 200, 1900, 1096)),
        "an eighth, at twice the input": cow.resize((3584, 3584)),
        "a half of a cow": cow.resize((1200, 900)),
    }
    return {name: saved(image, "JPEG", quality=90) for name, image in made.items()}


def test_reduced_scale_keeps_the_embedding(
    default_bundle: Path, reduced_photos: dict[str, bytes], reference: Callable[[np.ndarray, int], np.ndarray]
) -> None:
    """The shipped encoder sees the same picture: nearer to a full decode than another filter brings it (Lanczos)."""
    classifier = agriclip_edge.load(default_bundle, runtime="cpu-float")  # INT8 would add its own rounding
    size = classifier.bundle.manifest.preprocessing.size
    for name, data in reduced_photos.items():
        full = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert decode(data, input_size=size).shape[0] < full.shape[0], name
        right = np.rint(reference(full, size)).astype(np.uint8)
        target = classifier.embed(right)[0]
        cosine, other = (float(classifier.embed(what)[0] @ target) for what in (data, lanczos(full, size)))
        assert cosine >= 0.998 and cosine > other, f"{name}: {cosine}, {other}"


def lanczos(photo: np.ndarray, size: int) -> np.ndarray:
    """The centre square at the encoder's size by another filter than the bicubic one."""
    height, width, _ = photo.shape
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS, box=box))


def test_unreduced_photos_keep_the_embedding(
    default_bundle: Path, photos: dict[str, Path], reference: Callable[[np.ndarray, int], np.ndarray]
) -> None:
    classifier = agriclip_edge.load(default_bundle, runtime="cpu-float")  # INT8 would add its own rounding
    for name in ("cow", "chickens", "pig", "duck", "horses", "perch"):
        full = np.asarray(Image.open(photos[name]).convert("RGB"))
        right = np.rint(reference(full, 224)).astype(np.uint8)
        assert float(classifier.embed(photos[name])[0] @ classifier.embed(right)[0]) >= 0.999, name


# --- Arrays ---------------------------------------------------------------------------------------------------------


def test_an_array_is_taken_as_it_is() -> None:
    rgb = four_corners()
    assert decode(rgb) is rgb
    assert (preprocess(decode(rgb[:, ::-1]), 8) == preprocess(rgb[:, ::-1].copy(), 8)).all()


WRONG_ARRAYS: dict[str, np.ndarray] = {
    "float": np.zeros((4, 4, 3), np.float32),
    "signed": np.zeros((4, 4, 3), np.int8),
    "16 bits": np.zeros((4, 4, 3), np.uint16),
    "boolean": np.zeros((4, 4, 3), bool),
    "objects": np.zeros((4, 4, 3), object),
    "grey": np.zeros((4, 4), np.uint8),
    "one channel": np.zeros((4, 4, 1), np.uint8),
    "four channels": np.zeros((4, 4, 4), np.uint8),
    "channels first": np.zeros((3, 4, 4), np.uint8),
    "a batch": np.zeros((2, 4, 4, 3), np.uint8),
    "no rows": np.zeros((0, 4, 3), np.uint8),
    "no columns": np.zeros((4, 0, 3), np.uint8),
    "no dimension": np.zeros((), np.uint8),
}


@pytest.mark.parametrize("array", WRONG_ARRAYS.values(), ids=list(WRONG_ARRAYS))
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"array of .*; accepted: RGB uint8 \(H, W, 3\)"):
        decode(array)


@pytest.mark.parametrize(
    "photo", [None, 3, 2.5, [1, 2], iter([]), object(), Path], ids=lambda photo: type(photo).__name__
)
def test_other_things_are_refused(photo: Any) -> None:
    with pytest.raises(PhotoError, match="a photo cannot be a .*; accepted: path, bytes, Pillow image, uint8 array"):
        decode(photo)


@pytest.mark.parametrize("form", AVIF)
def test_avif_under_the_brand_that_it_shares_with_heic(form: str) -> None:
    data = saved(plain("RGB", GREEN), form, quality=95)
    shared = data[:8] + b"mif1" + data[12:]
    assert b"avif" in shared[:64]
    assert np.abs(decode(shared).astype(int) - GREEN).max() <= 8


# --- HEIC -----------------------------------------------------------------------------------------------------------


def test_heic_without_its_decoder_names_the_line_that_installs_it(tmp_path: Path) -> None:
    """In a process that cannot import pillow_heif, as where the extra is not installed."""
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    program = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from agriclip_edge.cli.app import run\n"
        "sys.exit(run(['classify', *sys.argv[1:]]))"
    )
    bundle = Path(__file__).parents[2] / "data" / "tiny_bundle"
    command = [sys.executable, "-c", program, path, "--bundle", bundle]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"agriclip-edge: {path}: HEIC needs a decoder that is not installed; "
        'install it with: pip install "agriclip-edge[heif]"'
    ]
