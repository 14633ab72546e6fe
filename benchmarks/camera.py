"""JPEGs like those of a 12-megapixel camera, made by code from one real photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from agriclip_edge.parallel import ordered_map

from .environment import ROOT
from .rounds import Step

SOURCE = ROOT / "examples" / "photos" / "cow.jpg"
CAMERA_SIZE = (4000, 3000)
HOW = (
    "examples/photos/cow.jpg, a random part of it, upscaled by bicubic resize, with Gaussian noise of 5 grey levels "
    "in the luminance, JPEG quality 88, 4:2:0"
)
_QUALITY = 88
_NOISE = 5.0  # grey levels: with it a 12-megapixel file has 2.5 to 4 MB, as those of phones
_SMALLEST_PART = 0.6  # of the source's width and height


def make_photo(path: Path, seed: int, size: tuple[int, int] = CAMERA_SIZE) -> None:
    """Write one JPEG; each seed gives another picture.

    Args:
        path: the file.
        seed: of part, mirroring and noise.
        size: width and height in pixels.
    """
    generator = np.random.default_rng(seed)
    with Image.open(SOURCE) as source:
        picture = source.convert("RGB")
    share = generator.uniform(_SMALLEST_PART, 1)
    width, height = picture.width * share, picture.height * share
    left, top = generator.uniform(0, picture.width - width), generator.uniform(0, picture.height - height)
    picture = picture.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if generator.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(picture).astype(np.float32)
    pixels += _NOISE * generator.standard_normal((size[1], size[0], 1), np.float32)
    grainy = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    grainy.save(path, "JPEG", quality=_QUALITY, subsampling="4:2:0")


def make_folder(folder: Path, sizes: Sequence[tuple[int, int]], seed: int, step: Step, workers: int = 2) -> list[Path]:
    """Write one photo a size and return their paths in order."""
    paths = [folder / f"{number:05d}.jpg" for number in range(len(sizes))]

    def make(number: int) -> None:
        make_photo(paths[number], seed + number, sizes[number])

    for done, _ in enumerate(ordered_map(make, range(len(sizes)), workers), start=1):
        step(done, len(sizes), "making photos")
    return paths


def sizes_in_bytes(paths: Sequence[Path]) -> tuple[float, float]:
    """Smallest and largest file in MB of 1e6 bytes."""
    sizes = [path.stat().st_size / 1e6 for path in paths]
    return min(sizes), max(sizes)
