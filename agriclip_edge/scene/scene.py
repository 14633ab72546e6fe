"""What a scene is: one or more modalities on one grid of pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Unit = Literal["reflectance", "radiance", "dn", "metres", "intensity"]


@dataclass(frozen=True)
class Modality:
    """The channels of one sensor: values float32 (H, W, C), and which pixels carry data, bool (H, W).

    Args:
        name: ``hyperspectral``, ``lidar``, ``multispectral`` or ``sar``: what the model knows it by.
        values: float32 (H, W, C) in ``unit``; whatever lies where ``valid`` is False is never looked at.
        valid: bool (H, W): False where the file says nodata, or where a value is not finite.
        unit: reflectance (0 to about 1), radiance, digital numbers, metres (heights) or intensity.
        wavelengths: nm, float64 (C,), rising or not; None when the bands have none (heights) or the file keeps none.
    """

    name: str
    values: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    unit: Unit
    wavelengths: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Scene:
    """Modalities on one grid, and where it lies on the ground.

    Args:
        modalities: in the order of the model; all of one height and width.
        tile: int32 (H, W): pixels of one tile share a number, -1 belongs to none; no window crosses a tile's border.
        ground_sampling: metres a pixel, or None when the file does not say.
        crs: the coordinate reference system as WKT, or "".
        transform: the six numbers of the affine map from (column, row) to coordinates, rasterio's order; or None.
    """

    name: str
    modalities: tuple[Modality, ...]
    tile: npt.NDArray[np.int32]
    ground_sampling: float | None = None
    crs: str = ""
    transform: tuple[float, float, float, float, float, float] | None = None
    source: dict[str, Any] = field(default_factory=dict)
