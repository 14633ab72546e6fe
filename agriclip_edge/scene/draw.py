"""Pictures of maps: classes in colours with a legend, confidence in one tone."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .classify import NO_DATA, NONE, Strip, Summary

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

RGB = tuple[int, int, int]

# Paul Tol's "muted" scheme, told apart by colour-blind readers, light and dark in turn.
_MUTED = (
    (51, 34, 136), (221, 204, 119), (17, 119, 51), (204, 102, 119), (136, 204, 238), (136, 34, 85),
    (68, 170, 153), (153, 153, 51), (170, 68, 153),
)  # fmt: skip
_GOLDEN_ANGLE = 0.381966  # of a turn: hues that go on by it stay apart however many there are
_EMPTY: RGB = (255, 255, 255)
_GREY: RGB = (150, 150, 150)
_INK: RGB = (30, 30, 30)
_SURE: RGB = (8, 69, 86)  # confidence of 1; none is white
_MOST = 1600  # pixels of a picture's longer side: a larger raster is thinned out
_LEAST = 480  # a smaller one is enlarged, each pixel to a square
_TEXT = 15  # pixels
_ROW = 24
_MARGIN = 16


def colours(count: int) -> list[RGB]:
    """A colour for each of so many classes: the same each time, and the first ones whatever the count.

    Example:
        >>> colours(2)
        [(51, 34, 136), (221, 204, 119)]
    """
    found: list[RGB] = list(_MUTED[:count])
    for number in range(len(found), count):
        red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN_ANGLE % 1, 0.35 + 0.3 * (number % 2), 0.6)
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return found


def palette(count: int) -> dict[int, RGB]:
    """Colours by the numbers in a map of so many classes."""
    return {NO_DATA: _EMPTY, **dict(enumerate(colours(count), start=1)), NONE: _GREY}


class Preview:
    """A map at the size of a picture, put together from its strips."""

    def __init__(self, height: int, width: int) -> None:
        """A picture of a map of so many pixels: of a large one every n-th."""
        self._stride = -(-max(height, width) // _MOST)
        shape = -(-height // self._stride), -(-width // self._stride)
        self.classes = np.zeros(shape, np.uint8)
        self.confidence = np.zeros(shape, np.float32)

    def add(self, strip: Strip) -> None:
        """Take over what a strip shows."""
        first = -strip.rows.start % self._stride
        row = (strip.rows.start + first) // self._stride
        for kept, found in ((self.classes, strip.classes), (self.confidence, strip.confidence)):
            thinned = found[first :: self._stride, :: self._stride]
            kept[row : row + len(thinned)] = thinned


def draw_classes(classes: npt.NDArray[np.uint8], summary: Summary, title: str = "") -> Image.Image:
    """A map of classes with a legend of those that occur, the largest first, and their shares.

    Args:
        classes: uint8 (H, W), as in `Strip`.
        summary: counts of the whole map.
        title: a line above the legend.
    """
    table = np.zeros((256, 3), np.uint8)
    tones = palette(len(summary.labels))
    for number, tone in tones.items():
        table[number] = tone
    record = summary.to_record()
    entries = sorted(record["classes"], key=lambda entry: -entry["pixels"])
    shown = [entry for entry in [*entries, record["none_of_these"]] if entry["pixels"]]
    return _beside(table[classes], [(tones[entry["value"]], _words(entry)) for entry in shown], title)


def draw_confidence(
    classes: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32], title: str = ""
) -> Image.Image:
    """A map of confidence, from white (0) to dark (1), with a legend."""
    share = np.where(classes == NO_DATA, 0, np.clip(confidence, 0, 1))[..., np.newaxis]
    steps = [(step / 4, f"{25 * step} %") for step in range(4, -1, -1)]
    legend = [(_tone(share), words) for share, words in steps]
    white, dark = np.array(_EMPTY, np.float32), np.array(_SURE, np.float32)
    return _beside((white + share * (dark - white)).astype(np.uint8), legend, title)


def _tone(share: float) -> RGB:
    red, green, blue = (round(e + share * (s - e)) for e, s in zip(_EMPTY, _SURE))
    return red, green, blue


def _words(entry: dict[str, Any]) -> str:
    area = f", {entry['hectares']:.4g} ha" if "hectares" in entry else ""
    return f"{entry['label']}  {100 * entry['share']:.1f} %{area}"


def _beside(pixels: npt.NDArray[np.uint8], legend: Sequence[tuple[RGB, str]], title: str) -> Image.Image:
    """A picture with its legend on the right."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = pixels.shape[:2]
    zoom = max(1, _LEAST // max(height, width))
    picture = Image.fromarray(pixels).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
    font = ImageFont.load_default(size=_TEXT)
    lines = [words for _, words in legend] + [title]
    wide = round(max(font.getlength(words) for words in lines)) + _ROW + 3 * _MARGIN
    rows = len(legend) + bool(title)
    tall = max(picture.height + 2 * _MARGIN, rows * _ROW + 2 * _MARGIN)
    page = Image.new("RGB", (picture.width + _MARGIN + wide, tall), _EMPTY)
    page.paste(picture, (_MARGIN, _MARGIN))
    pen = ImageDraw.Draw(page)
    pen.rectangle((_MARGIN - 1, _MARGIN - 1, _MARGIN + picture.width, _MARGIN + picture.height), outline=_GREY)
    left, top = picture.width + 2 * _MARGIN, _MARGIN
    if title:
        pen.text((left, top), title, _INK, font)
        top += _ROW
    for tone, words in legend:
        pen.rectangle((left, top + 2, left + _TEXT, top + 2 + _TEXT), fill=tone, outline=_GREY)
        pen.text((left + _ROW, top), words, _INK, font)
        top += _ROW
    return page
