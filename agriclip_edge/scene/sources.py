"""Raster files held against what a bundle's encoder takes, and read as it wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from .bands import response
from .raster import Raster, check_grid

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..bundle.manifest import SceneModality

_SAME_BAND = 1.0  # nm: bands that differ by less are one and the same
_OTHER_SCALE = 2.0  # a raster's pixels this much larger or smaller than those of training look different


class Sources:
    """Open rasters, one a modality, on one grid: reads windows at the encoder's wavelengths.

    Attributes:
        notes: what was taken for granted, a line each.
    """

    def __init__(
        self,
        rasters: Sequence[Raster],
        modalities: Mapping[str, SceneModality],
        ground_sampling: float | None = None,
    ) -> None:
        """Hold the rasters against the encoder's modalities.

        Args:
            rasters: open; named as the modalities are.
            modalities: of the encoder, by name.
            ground_sampling: metres a pixel that the encoder was trained at.

        Raises:
            PhotoError: the rasters lie on different grids.
            UsageError: a modality that the encoder does not know, another unit, or channels that cannot be brought
                to its own.
        """
        check_grid(rasters)
        self._rasters = list(rasters)
        self.notes: list[str] = []
        self._weights: dict[str, npt.NDArray[np.float32]] = {}
        for raster in rasters:
            if raster.name not in modalities:
                raise UsageError(f"{raster.path}: the bundle knows no {raster.name}; it knows: {', '.join(modalities)}")
            self._check_unit(raster, modalities[raster.name])
            self._match(raster, modalities[raster.name])
        missing = [name for name in modalities if name not in {raster.name for raster in rasters}]
        if missing:
            given = " and ".join(raster.name for raster in rasters)
            self.notes.append(f"no {' and no '.join(missing)}: classified by {given} alone")
        own = rasters[0].ground_sampling
        if own and ground_sampling and not 1 / _OTHER_SCALE <= own / ground_sampling <= _OTHER_SCALE:
            self.notes.append(
                f"pixels of {own:g} m; the encoder was trained on pixels of {ground_sampling:g} m: expect less of it"
            )

    @property
    def first(self) -> Raster:
        """The raster whose grid is the map's."""
        return self._rasters[0]

    @property
    def names(self) -> list[str]:
        """Of the modalities that are there."""
        return [raster.name for raster in self._rasters]

    def __call__(
        self, rows: slice, columns: slice
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, npt.NDArray[np.bool_]]]:
        """Values (h, w, C) at the encoder's wavelengths and where there is data (h, w), by modality."""
        values, valid = {}, {}
        for raster in self._rasters:
            found, valid[raster.name] = raster.read(rows, columns)
            weights = self._weights.get(raster.name)
            if weights is not None:
                found = np.where(valid[raster.name][..., np.newaxis], found, np.float32(0)) @ weights.T
            values[raster.name] = found
        return values, valid

    def _check_unit(self, raster: Raster, modality: SceneModality) -> None:
        if raster.unit is None and raster.header.dtype.kind == "f":
            self.notes.append(f"{raster.path.name} does not say its unit: taken as {modality.unit}")
        elif raster.unit != modality.unit and not (raster.unit is None and modality.unit == "dn"):
            said = raster.unit or f"{raster.header.dtype} without a unit"
            message = f"{raster.path} holds {said}; the bundle wants {modality.unit} of {raster.name}"
            raise UsageError(f"{message}: --unit and --scale, or --camera, say what the numbers are")

    def _match(self, raster: Raster, modality: SceneModality) -> None:
        """How the raster's channels become the encoder's."""
        there, wanted = raster.wavelengths, modality.wavelengths
        if there is None or not wanted:
            if raster.channels != modality.channels:
                message = f"{raster.path} has {raster.channels} channels; the bundle wants {modality.channels}"
                advice = ": --camera or --wavelengths says which bands they are" if wanted else ""
                raise UsageError(f"{message} of {raster.name}{advice}")
            if wanted:
                self.notes.append(f"{raster.path.name} does not say its wavelengths: taken as the bundle's, in order")
            return
        if len(there) == len(wanted) and np.abs(there - np.asarray(wanted)).max() < _SAME_BAND:
            return
        self._weights[raster.name] = response(there, wanted)
        self.notes.append(f"{raster.channels} bands of {raster.path.name} resampled to the bundle's {len(wanted)}")
