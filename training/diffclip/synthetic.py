"""A small scene made by a physical rule, for tests, pages and the example bundle.

Leaves absorb by Beer and Lambert's law, canopies cover soil by Beer's law of the leaf area, and a pixel is the linear
mixture of both under its own light; heights come as a second modality. Nothing of it is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality, Scene

from .colours import RGB_NM
from .labelled import STORED, LabelledScene

Array = npt.NDArray[np.float64]

_FIRST_NM, _LAST_NM = 400.0, 1000.0  # what a silicon sensor sees
_LIGHT = 2.0  # display gain of the RGB picture: canopies reflect a few per cent
_EXTINCTION = 0.5  # of a canopy of leaves at all angles (Beer's law)
_NOISE = 0.004  # standard deviation of the sensor, in reflectance
_CELLS = 2  # crowns or fields of each class in a tile


@dataclass(frozen=True)
class _Cover:
    """What a class's plants are like: pigments in units of a healthy leaf, leaf area, and height in metres."""

    name: str
    chlorophyll: float
    carotenoid: float
    water: float
    plateau: float
    leaf_area: float
    height: float


# Neighbours in spectrum (maize and alfalfa, olive and vineyard) differ in height, so either sensor alone is not enough.
COVERS = (
    _Cover("maize", 1.00, 0.9, 1.0, 0.50, 3.5, 2.3),
    _Cover("alfalfa", 1.05, 0.9, 1.1, 0.52, 4.0, 0.5),
    _Cover("ripe wheat", 0.10, 1.1, 0.1, 0.45, 2.5, 0.9),
    _Cover("bare soil", 0.30, 0.5, 0.3, 0.40, 0.15, 0.0),
    _Cover("olive tree", 0.70, 0.7, 0.5, 0.42, 1.6, 4.0),
    _Cover("vineyard", 0.75, 0.7, 0.6, 0.43, 1.5, 1.6),
    _Cover("sunflower", 0.85, 1.0, 1.2, 0.55, 3.0, 1.7),
    _Cover("grassland", 0.80, 0.8, 0.8, 0.46, 2.2, 0.2),
)


def synthetic_scene(seed: int = 0, tiles: int = 8, side: int = 24, bands: int = 40, classes: int = 4) -> LabelledScene:
    """Tiles of fields and crowns, seen by a hyperspectral camera (400 to 1000 nm) and a LiDAR.

    Args:
        seed: of everything.
        tiles: number of them, stacked down the rows; even ones train, odd ones test, each is a place of its own.
        side: of a tile, pixels of 1 m.
        bands: of the camera.
        classes: 2 to 8; each occurs in each tile.

    Returns:
        A scene of (tiles * side, side) pixels; a few at the borders of fields have no label.

    Raises:
        UsageError: a number is out of range.
    """
    if tiles < 2 or side < 8 or bands < 3 or not 2 <= classes <= len(COVERS):
        raise UsageError("a synthetic scene has 2 tiles or more of 8 pixels or more, 3 bands and 2 to 8 classes")
    generator = np.random.default_rng(seed)
    nm = np.linspace(_FIRST_NM, _LAST_NM, bands)
    parts = [_tile(generator, side, nm, COVERS[:classes]) for _ in range(tiles)]
    values, heights, labels = (np.concatenate([part[i] for part in parts]) for i in range(3))
    tile = np.repeat(np.arange(tiles, dtype=np.int32), side * side).reshape(tiles * side, side)
    valid = np.ones(tile.shape, bool)
    camera = Modality("hyperspectral", values.astype(np.float32), valid, "reflectance", nm)
    lidar = Modality("lidar", heights[..., None].astype(np.float32), valid.copy(), "metres")
    train = (labels > 0) & (tile % 2 == 0)
    colours = values[..., [int(np.abs(nm - want).argmin()) for want in RGB_NM]]
    return LabelledScene(
        scene=Scene("synthetic", (camera, lidar), tile, ground_sampling=1.0, source={"seed": seed}),
        labels=labels.astype(np.int16),
        classes=tuple(cover.name for cover in COVERS[:classes]),
        splits={STORED: (train, (labels > 0) & ~train)},
        groups=tile.copy(),
        rgb=(np.clip(colours * _LIGHT, 0, 1) * 255).round().astype(np.uint8),
    )


def _tile(
    generator: np.random.Generator, side: int, nm: Array, covers: tuple[_Cover, ...]
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Reflectances (S, S, bands), heights (S, S) in metres and labels (S, S) of one tile."""
    owner = np.tile(np.arange(len(covers)), _CELLS)
    places = generator.permutation(side * side)[: len(owner)]
    centres = np.stack(np.unravel_index(places, (side, side)), axis=-1)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    distances = np.linalg.norm(grid[:, :, None] - centres, axis=-1)
    cell = distances.argmin(axis=-1)
    nearest = np.sort(distances, axis=-1)
    border = (nearest[..., 1] - nearest[..., 0] < 1) & (nearest[..., 0] > 0)
    label = owner[cell]

    def of_cells(read: list[float], spread: float) -> Array:
        """A class's property with the variation of its cells and, less, of its pixels."""
        cells = np.array(read)[owner] * generator.lognormal(0, spread, len(owner))
        return cells[cell] * generator.lognormal(0, spread / 2, (side, side))

    chlorophyll = of_cells([c.chlorophyll for c in covers], 0.15)
    carotenoid = of_cells([c.carotenoid for c in covers], 0.10)
    water = of_cells([c.water for c in covers], 0.15)
    plateau = of_cells([c.plateau for c in covers], 0.05)
    leaf_area = of_cells([c.leaf_area for c in covers], 0.20)
    height = of_cells([c.height for c in covers], 0.15)
    depth = sum(
        amount[..., None] * strength * np.exp(-0.5 * ((nm - peak) / width) ** 2)
        for amount, lines in (
            (chlorophyll, ((1.8, 430, 40), (1.9, 672, 26), (0.9, 610, 45))),
            (carotenoid, ((1.5, 470, 35),)),
            (water, ((0.25, 970, 25),)),
        )
        for strength, peak, width in lines
    )
    leaf = plateau[..., None] * np.exp(-depth)
    soil = (0.08 + 0.22 * (nm - _FIRST_NM) / (_LAST_NM - _FIRST_NM)) * generator.lognormal(0, 0.15)
    cover = (1 - np.exp(-_EXTINCTION * leaf_area))[..., None]
    light = generator.lognormal(0, 0.08) * generator.lognormal(0, 0.05, (side, side, 1))
    mixed = light * (cover * leaf + (1 - cover) * soil) + generator.normal(0, _NOISE, (side, side, len(nm)))
    return np.clip(mixed, 0, None), height + generator.normal(0, 0.05, (side, side)), np.where(border, 0, label + 1)
