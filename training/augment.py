"""Random views of a photo: crop, flips and a little colour, drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from agriclip_edge.imaging.decode import RGB


@dataclass(frozen=True)
class AugmentConfig:
    """What may happen to a training photo."""

    area: tuple[float, float] = (0.5, 1.0)  # share of the photo that a crop keeps: signs of disease are small
    aspect: tuple[float, float] = (0.8, 1.25)  # width to height of a crop before it becomes a square
    vertical_flip: float = 0.2  # leaves and fields have no top, animals and cartons do: seldom
    colour: float = 0.15  # brightness, contrast and saturation within 1 ± this; hue stays, disease is colour


def augment(rgb: RGB, size: int, config: AugmentConfig, generator: np.random.Generator) -> RGB:
    """One random view.

    Args:
        rgb: uint8 (H, W, 3).
        size: side S of the result in pixels.
        config: how much may change.
        generator: the only source of chance.

    Returns:
        uint8 (S, S, 3).
    """
    height, width = rgb.shape[:2]
    area = height * width * generator.uniform(*config.area)
    aspect = np.exp(generator.uniform(*np.log(config.aspect)))
    crop_width, crop_height = min(np.sqrt(area * aspect), width), min(np.sqrt(area / aspect), height)
    left, top = generator.uniform(0, width - crop_width), generator.uniform(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    view = Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC, box=box)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(1 + generator.uniform(-config.colour, config.colour))
    pixels = np.asarray(view)
    if generator.random() < 0.5:
        pixels = pixels[:, ::-1]
    if generator.random() < config.vertical_flip:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
