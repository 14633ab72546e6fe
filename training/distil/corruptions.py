"""What the field does to a photo: motion, compression, haze, wrong exposure, rain, few pixels; the same each time.

After the kinds of ImageNet-C (Hendrycks & Dietterich 2019, section 4.1) that a camera outdoors meets.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB

Pixels = npt.NDArray[np.float32]  # (S, S, 3), 0 to 255


def corrupt(rgb: RGB, kind: str, strength: float, grain: int) -> RGB:
    """A photo as the field would have spoilt it.

    Args:
        rgb: uint8 (H, W, 3).
        kind: one of `KINDS`.
        strength: 0, hardly seen, to 1, as bad as photos that people still send.
        grain: seed of what differs between photos of one kind and strength: direction, sign, drops.

    Returns:
        uint8 (H, W, 3); the same arguments give the same bytes.

    Raises:
        UsageError: there is no such kind, or the strength is outside 0 to 1.
    """
    if kind not in _MAKERS or not 0 <= strength <= 1:
        raise UsageError(f"corruption {kind!r} of strength {strength}; accepted: {', '.join(KINDS)}, 0 to 1")
    made = _MAKERS[kind](rgb, strength, np.random.default_rng(grain))
    return np.rint(made).clip(0, 255).astype(np.uint8)


def _motion_blur(rgb: RGB, strength: float, generator: np.random.Generator) -> Pixels:
    """The mean along a straight way of 2 to 10 % of the photo's shorter side."""
    height, width = rgb.shape[:2]
    length = (0.02 + 0.08 * strength) * min(height, width)
    return _smear(rgb.astype(np.float32), length, generator.uniform(0, math.pi))


def _jpeg(rgb: RGB, strength: float, generator: np.random.Generator) -> npt.NDArray[Any]:
    """Compression of quality 40 down to 8, as messengers and thin radio links do."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=round(40 - 32 * strength))
    return np.asarray(Image.open(buffer))


def _haze(rgb: RGB, strength: float, generator: np.random.Generator) -> Pixels:
    """Scattered light in place of the scene's, more towards the top, where the scene is farther (Koschmieder)."""
    light = generator.uniform(190, 235)
    depth = np.linspace(1.0, generator.uniform(0.4, 0.9), rgb.shape[0], dtype=np.float32)[:, None, None]
    through = np.exp(-(0.3 + 1.2 * np.float32(strength)) * depth)
    return rgb * through + np.float32(light) * (1 - through)


def _exposure(rgb: RGB, strength: float, generator: np.random.Generator) -> Pixels:
    """0.5 to 2 stops too dark or too bright, in linear light (gamma 2.2)."""
    stops = (0.5 + 1.5 * strength) * (1 if generator.random() < 0.5 else -1)
    levels = 255 * np.minimum((np.arange(256) / 255) ** 2.2 * 2**stops, 1) ** (1 / 2.2)
    return levels.astype(np.float32)[rgb]


def _rain(rgb: RGB, strength: float, generator: np.random.Generator) -> Pixels:
    """Bright slanted streaks, and the dull light of a rainy day."""
    height, width = rgb.shape[:2]
    drops = (generator.random((height, width, 1)) < 0.004 + 0.012 * strength).astype(np.float32)
    length = (0.05 + 0.07 * strength) * min(height, width)
    streaks = _smear(drops, length, math.pi / 2 + generator.uniform(-0.35, 0.35))
    cover = np.minimum(streaks * length * (0.35 + 0.3 * strength), 0.8)
    dull = rgb.astype(np.float32) * (1 - 0.25 * strength)
    return dull * (1 - cover) + 225 * cover


def _low_resolution(rgb: RGB, strength: float, generator: np.random.Generator) -> npt.NDArray[Any]:
    """As from half down to an eighth of the pixels along a side."""
    height, width = rgb.shape[:2]
    share = 1 / (2 + 6 * strength)
    few = (max(2, round(width * share)), max(2, round(height * share)))
    small = Image.fromarray(rgb).resize(few, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _smear(values: Pixels, length: float, angle: float) -> Pixels:
    """The mean of a picture over shifts along a line of ``length`` pixels; edges go on as they end."""
    taps = max(2, math.ceil(length) + 1)
    offsets = {
        (round(math.sin(angle) * at), round(math.cos(angle) * at)) for at in np.linspace(-length / 2, length / 2, taps)
    }
    reach = max(max(abs(down), abs(right)) for down, right in offsets)
    height, width = values.shape[:2]
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(values)
    for down, right in sorted(offsets):  # sums of floats depend on their order
        total += padded[reach + down : reach + down + height, reach + right : reach + right + width]
    return total / np.float32(len(offsets))


_MAKERS: dict[str, Callable[[RGB, float, np.random.Generator], npt.NDArray[Any]]] = {
    "motion blur": _motion_blur,
    "jpeg": _jpeg,
    "haze": _haze,
    "exposure": _exposure,
    "rain": _rain,
    "low resolution": _low_resolution,
}
KINDS = tuple(_MAKERS)
