"""Robust scaling of bands, from pixels whose labels nobody has looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality

CLIP = 10.0  # spreads from the centre: farther out is a dead pixel or a glint
_IQR_OF_SIGMA = 1.349  # interquartile range of a normal distribution with standard deviation 1
_MOST_PIXELS = 50_000  # quartiles of more change in no digit that matters


@dataclass(frozen=True)
class Scaling:
    """What a channel is centred on and divided by: float32 (C,) each, in the modality's unit."""

    centre: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]


def scaling(modality: Modality, pixels: npt.NDArray[np.bool_]) -> Scaling:
    """Median and interquartile range / 1.349 of every channel.

    A channel whose quartiles fall together takes its standard deviation, a constant one 1.

    Args:
        modality: C channels.
        pixels: bool (H, W): those to look at: training pixels, or all pixels as nothing of their labels is used.

    Raises:
        UsageError: none of them carries data.
    """
    chosen = np.flatnonzero(pixels & modality.valid)
    if not len(chosen):
        raise UsageError(f"{modality.name}: no pixel to take statistics from carries data")
    chosen = chosen[:: -(-len(chosen) // _MOST_PIXELS)]
    values = modality.values.reshape(-1, modality.values.shape[-1])[chosen]
    low, centre, high = np.percentile(values, (25, 50, 75), axis=0)
    spread = (high - low) / _IQR_OF_SIGMA
    spread = np.where(spread > 0, spread, values.std(axis=0, dtype=np.float64))
    return Scaling(centre.astype(np.float32), np.where(spread > 0, spread, 1).astype(np.float32))


def apply(modality: Modality, scaling: Scaling) -> npt.NDArray[np.float32]:
    """Scaled values float32 (H, W, C), within ±10, and 0 where there are no data."""
    scaled = np.subtract(modality.values, scaling.centre, where=modality.valid[..., None], out=_zeros(modality))
    scaled /= scaling.spread
    np.clip(scaled, -CLIP, CLIP, out=scaled)
    return scaled


def _zeros(modality: Modality) -> npt.NDArray[np.float32]:
    return np.zeros(modality.values.shape, np.float32)
