"""Channels turned into few whitened components, by statistics of pixels without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agriclip_edge.bundle.manifest import SceneLevel
from agriclip_edge.scene.level import unit_length
from agriclip_edge.scene.scene import Modality, Scene

from .config import DiffclipConfig
from .statistics import CLIP, apply, scaling

if TYPE_CHECKING:
    from .labelled import Mask

_TINY = 1e-6  # of a spectrum's length: an all-dark pixel stays at 0; as in `agriclip_edge.scene.level`
_KEPT = 1e-7  # of the largest variance: directions with less are rounding
_LEAST_PAIRS = 50  # neighbours a channel, below which noise is not told from signal


class Components(nn.Module):
    """Raw channels (N, C, H, W) in, components (N, R, H, W) out: a fixed 1×1 convolution.

    Components are ordered by signal to noise (minimum noise fraction, Green et al. 1988): noise is what differs
    between neighbouring pixels. Their spread is the square root of that ratio of amplitudes: with all alike, noise
    would weigh as much as signal; with the ratio itself, the few smoothest directions would be all that counts. Their
    mean variance is 1.
    """

    centre: Tensor
    spread: Tensor
    offset: Tensor
    projection: Tensor

    def __init__(self, channels: int, components: int, *, normalise: bool) -> None:
        """Begin with components that are the first channels.

        Args:
            channels: C of the modality.
            components: R.
            normalise: divide each spectrum by its length first, so that light and shade make no difference.
        """
        super().__init__()
        self.normalise = normalise
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))
        self.register_buffer("offset", torch.zeros(components))
        self.register_buffer("projection", torch.eye(channels)[:components])

    @property
    def channels(self) -> int:
        """C."""
        return int(self.projection.shape[1])

    @property
    def count(self) -> int:
        """R."""
        return int(self.projection.shape[0])

    def forward(self, values: Tensor) -> Tensor:
        """Components float32 (N, R, H, W) of raw values float32 (N, C, H, W), finite and in the modality's unit."""
        if self.normalise:
            values = values / values.square().sum(dim=1, keepdim=True).sqrt().clamp(min=_TINY)
        values = (values - self.centre[:, None, None]) / self.spread[:, None, None]
        return nn.functional.conv2d(values.clamp(-CLIP, CLIP), self.projection[:, :, None, None], -self.offset)


def levels(config: DiffclipConfig) -> dict[str, SceneLevel]:
    """How the recipe levels a scene's modalities, by name; none unless it says so.

    What a whole tile has in common is as much its flight's light and season as its plants. Where the recipe wants
    spectra of length 1, they are brought to it before their tile's mean is taken.
    """
    if not config.level_share:
        return {}
    return {name: SceneLevel(config.level_share, name in config.normalised) for name in config.levelled}


def prepared(config: DiffclipConfig, scene: Scene) -> Scene:
    """A scene as the recipe's encoder sees it: each tile levelled where the recipe says so, else as it is."""
    return levelled(levels(config), scene)


def levelled(levels: Mapping[str, SceneLevel], scene: Scene) -> Scene:
    """A scene with some modalities levelled tile by tile, as a device levels a raster; the same scene without any."""
    if not levels:
        return scene
    modalities = tuple(_level(levels[m.name], m, scene.tile) if m.name in levels else m for m in scene.modalities)
    return replace(scene, modalities=modalities)


def _level(level: SceneLevel, modality: Modality, tile: npt.NDArray[np.int32]) -> Modality:
    values = unit_length(modality.values) if level.unit_length else modality.values.copy()
    seen = modality.valid & (tile >= 0)
    numbers, owner = np.unique(tile[seen], return_inverse=True)
    order = np.argsort(owner, kind="stable")
    sums = np.add.reduceat(values[seen][order].astype(np.float64), np.searchsorted(owner[order], range(len(numbers))))
    means = sums / np.bincount(owner)[:, None]
    values[seen] -= (level.share * means)[owner].astype(np.float32)
    return replace(modality, values=values)


def empty_components(config: DiffclipConfig, name: str, channels: int, components: int) -> Components:
    """Components of a modality as the recipe wants them, to be filled from a checkpoint or by `fit_components`."""
    # What is levelled has the length that the recipe wants before.
    return Components(channels, components, normalise=name in config.normalised and name not in levels(config))


def fit_components(
    modality: Modality, pixels: Mask, tile: npt.NDArray[np.int32], components: int, *, normalise: bool
) -> Components:
    """Components of a modality from pixels whose labels nobody has looked at.

    Args:
        modality: C channels.
        pixels: bool (H, W): those to take statistics from.
        tile: int32 (H, W): neighbours of one tile tell the noise.
        components: R at most; fewer where the channels hold fewer.
        normalise: see `Components`.

    Raises:
        UsageError: no pixel carries data.
    """
    if normalise:
        modality = replace(modality, values=unit_length(modality.values))
    scale = scaling(modality, pixels)
    chosen = pixels & modality.valid
    scaled = apply(modality, scale)
    seen = scaled[chosen].astype(np.float64)
    mean = seen.mean(axis=0)
    variance, axes = np.linalg.eigh(np.atleast_2d(np.cov(seen - mean, rowvar=False, bias=True)))
    kept = variance > _KEPT * variance[-1]
    whitening = axes[:, kept] / np.sqrt(variance[kept])  # (C, kept)
    noise = _neighbour_differences(scaled, chosen, tile)
    if len(noise) >= _LEAST_PAIRS * seen.shape[1]:
        ratio, turn = np.linalg.eigh(whitening.T @ (noise.T @ noise / (2 * len(noise))) @ whitening)
        weights = np.maximum(ratio, _KEPT) ** -0.25  # spread: the square root of signal to noise, in amplitudes
    else:  # too few neighbours: plain principal components, largest first
        turn = np.eye(whitening.shape[1])[:, ::-1]
        weights = variance[kept][::-1] ** 0.25
    weights, turn = weights[:components], turn[:, :components]
    projection = whitening @ turn * (weights / np.sqrt(np.mean(weights**2)))
    result = Components(seen.shape[1], projection.shape[1], normalise=normalise)
    for buffer, array in (
        ("centre", scale.centre),
        ("spread", scale.spread),
        ("projection", projection.T),
        ("offset", mean @ projection),
    ):
        getattr(result, buffer).copy_(torch.from_numpy(np.ascontiguousarray(array, np.float32)))
    return result


def _neighbour_differences(
    values: npt.NDArray[np.float32], chosen: Mask, tile: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Differences (n, C) of pixels that touch along rows or columns, both chosen and of one tile."""
    parts = []
    for near, far in (
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ):
        both = chosen[near] & chosen[far] & (tile[near] == tile[far])
        parts.append(values[near][both] - values[far][both])
    return np.concatenate(parts).astype(np.float64)
