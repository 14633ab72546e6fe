"""A view of a photo as explicit numbers: drawn once from a seed, stored, and rendered to the same pixels each time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from agriclip_edge.imaging.decode import RGB

from ..augment import AugmentConfig
from .corruptions import KINDS, corrupt

Rows = npt.NDArray[np.float32]  # (..., FIELDS)
FIELDS = 12
_GRAINS = 1 << 20  # whole numbers that float32 holds exactly


@dataclass(frozen=True)
class View:
    """One view; all its numbers are float32, so that what is stored is what was drawn.

    Attributes:
        left, top, right, bottom: of the crop, in shares of the photo's width and height.
        mirrored: left and right exchanged.
        flipped: top and bottom exchanged.
        brightness, contrast, saturation: factors, in this order (Pillow's `ImageEnhance`).
        corruption: one of `training.distil.corruptions.KINDS`, or empty.
        strength: of the corruption, 0 to 1.
        grain: seed of the corruption.
    """

    left: float
    top: float
    right: float
    bottom: float
    mirrored: bool
    flipped: bool
    brightness: float
    contrast: float
    saturation: float
    corruption: str = ""
    strength: float = 0.0
    grain: int = 0

    @property
    def area(self) -> float:
        """Share of the photo that the crop keeps."""
        return (self.right - self.left) * (self.bottom - self.top)

    def row(self) -> Rows:
        """The view as float32 (FIELDS,)."""
        kind = KINDS.index(self.corruption) + 1 if self.corruption else 0
        return np.array(
            [
                *(self.left, self.top, self.right, self.bottom, self.mirrored, self.flipped),
                *(self.brightness, self.contrast, self.saturation, kind, self.strength, self.grain),
            ],
            np.float32,
        )

    @classmethod
    def of(cls, row: Rows) -> View:
        """The view that `row` made these numbers of."""
        left, top, right, bottom, mirrored, flipped, *colours, kind, strength, grain = (float(value) for value in row)
        brightness, contrast, saturation = colours
        return cls(
            *(left, top, right, bottom),
            bool(mirrored),
            bool(flipped),
            *(brightness, contrast, saturation),
            corruption=KINDS[int(kind) - 1] if kind else "",
            strength=strength,
            grain=int(grain),
        )


def draw_view(shape: tuple[int, ...], config: AugmentConfig, corrupted: float, seed: tuple[int, int, int]) -> View:
    """Draw a view, by the rules of `training.augment`.

    Args:
        shape: of the photo, (H, W, 3).
        config: how much may change.
        corrupted: share of views that the field has spoilt.
        seed: of the views, number of the photo, number of the view: nothing else decides.
    """
    generator = np.random.default_rng(seed)
    height, width = shape[:2]
    area = height * width * generator.uniform(*config.area)
    aspect = np.exp(generator.uniform(*np.log(config.aspect)))
    across, down = min(np.sqrt(area * aspect) / width, 1), min(np.sqrt(area / aspect) / height, 1)
    left, top = generator.uniform(0, 1 - across), generator.uniform(0, 1 - down)
    colours = generator.uniform(-config.colour, config.colour, 3)
    brightness, contrast, saturation = (float(1 + change) for change in colours)
    mirrored, flipped = generator.random() < 0.5, generator.random() < config.vertical_flip
    spoilt, kind = generator.random() < corrupted, int(generator.integers(len(KINDS)))
    strength, grain = generator.random(), int(generator.integers(_GRAINS))
    drawn = View(left, top, left + across, top + down, mirrored, flipped, brightness, contrast, saturation)
    if spoilt:
        drawn = replace(drawn, corruption=KINDS[kind], strength=strength, grain=grain)
    return View.of(drawn.row())


def render(rgb: RGB, view: View, size: int, *, spoilt: bool = True) -> RGB:
    """The pixels of a view.

    Args:
        rgb: the photo, uint8 (H, W, 3).
        view: of it.
        size: side S of the result in pixels.
        spoilt: with the view's corruption; without it the crop and its colours alone.

    Returns:
        uint8 (S, S, 3); the same arguments give the same bytes.
    """
    height, width = rgb.shape[:2]
    box = (view.left * width, view.top * height, min(view.right * width, width), min(view.bottom * height, height))
    picture = Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC, box=box)
    factors = (view.brightness, view.contrast, view.saturation)
    for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors):
        picture = enhance(picture).enhance(factor)
    pixels = np.asarray(picture)
    if view.mirrored:
        pixels = pixels[:, ::-1]
    if view.flipped:
        pixels = pixels[::-1]
    pixels = np.ascontiguousarray(pixels)
    if spoilt and view.corruption:
        return corrupt(pixels, view.corruption, view.strength, view.grain)
    return pixels


def shrink(pixels: RGB, size: int) -> RGB:
    """The same picture with a side of ``size`` pixels, for a student that is trained on smaller views."""
    if pixels.shape[0] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


def checksum(pixels: RGB) -> int:
    """CRC-32 of a picture's bytes."""
    return zlib.crc32(pixels.tobytes())
