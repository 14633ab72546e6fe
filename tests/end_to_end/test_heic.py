"""HEIC, the photos of iPhones, decoded through the extra: nearly the same picture as the JPEG of the same scene."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image

import agriclip_edge
from agriclip_edge import PhotoError
from agriclip_edge.imaging.decode import decode

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """A small real photo, wider than high."""
    photo = Path(__file__).resolve().parents[2] / "examples" / "photos" / "cow.jpg"
    with Image.open(photo) as image:
        return image.convert("RGB").resize((240, 180), Image.Resampling.LANCZOS)


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[ORIENTATION] = orientation
    return found.tobytes()


def heic(scene: Image.Image, orientation: int = 1) -> bytes:
    """The scene as a camera held in that way writes it."""
    stored = scene.rotate({1: 0, 3: 180, 6: 90, 8: 270}[orientation], expand=True)
    buffer = io.BytesIO()
    pillow_heif.from_pillow(stored).save(buffer, quality=95, exif=exif(orientation))
    return buffer.getvalue()


def jpeg(scene: Image.Image, orientation: int = 1) -> bytes:
    stored = scene.rotate({1: 0, 3: 180, 6: 90, 8: 270}[orientation], expand=True)
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, exif=exif(orientation))
    return buffer.getvalue()


def heic10(scene: Image.Image) -> bytes:
    """The scene with 10 bits a channel, as newer cameras write it."""
    wide = np.asarray(scene).astype(np.uint16) * 257  # the 10 upper of 16 bits are kept
    height, width = wide.shape[:2]
    picture = pillow_heif.from_bytes("RGB;16", (width, height), wide.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, quality=95)
    return buffer.getvalue()


def difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    """Mean difference in grey levels."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_shows_what_its_jpeg_twin_shows(orientation: int, scene: Image.Image) -> None:
    """Turned once, not twice: libheif and EXIF both know the orientation."""
    picture = decode(heic(scene, orientation))
    assert picture.shape == (180, 240, 3)
    assert difference(picture, decode(jpeg(scene, orientation))) < 3
    assert difference(picture, np.asarray(scene)) < 3


def test_ten_bits(scene: Image.Image) -> None:
    data = heic10(scene)
    assert pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False).info["bit_depth"] == 10
    assert difference(decode(data), np.asarray(scene)) < 3


def test_it_gets_the_answer_of_its_jpeg_twin(scene: Image.Image, default_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.HEIC").write_bytes(heic(scene, 6))
    (tmp_path / "IMG_0001.jpg").write_bytes(jpeg(scene, 6))
    classifier = agriclip_edge.load(default_bundle)
    one, other = classifier.embed([tmp_path / "IMG_0001.HEIC", tmp_path / "IMG_0001.jpg"])
    assert float(one @ other) > 0.99


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.99])
def test_truncated(share: float, scene: Image.Image) -> None:
    data = heic(scene)
    with pytest.raises(PhotoError, match="cannot be decoded") as caught:
        decode(data[: max(int(share * len(data)), 12)])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged(scene: Image.Image) -> None:
    """Bytes overwritten anywhere: a picture or a PhotoError, nothing else."""
    data = heic(scene)
    for place in range(0, len(data), max(len(data) // 30, 1)):
        try:
            picture = decode(data[:place] + b"\xff\x00\xff\x7f" + data[place + 4 :])
        except PhotoError:
            continue
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
