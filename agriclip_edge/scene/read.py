"""Scenes from files: ENVI, GeoTIFF, MATLAB and NumPy, told apart by their first bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UsageError
from . import arrays, envi, geotiff
from .raster import Raster, check_grid, check_unit, check_wavelengths, refusal
from .scene import Modality, Scene

_FIRST = 4096  # bytes that tell a format
_HDF_AFTER = 512  # bytes of MATLAB's own words before HDF5 begins


def open_raster(
    path: str | os.PathLike[str],
    name: str,
    *,
    unit: str | None = None,
    wavelengths: Sequence[float] | None = None,
    nodata: float | None = None,
    scale: float = 1.0,
    variable: str | None = None,
) -> Raster:
    """Open one modality's file; what is said here goes before what the file says.

    Args:
        path: a GeoTIFF, an ENVI header or its data file, a MATLAB or a NumPy file.
        name: of the modality: ``hyperspectral``, ``lidar``, ``multispectral`` or ``sar``.
        unit: reflectance, radiance, dn, metres or intensity.
        wavelengths: nm, one for each channel.
        nodata: stored number that means no data, in any channel.
        scale: what values are multiplied by, as 0.0001 for reflectance stored as whole numbers.
        variable: which array of a ``.mat`` or ``.npz`` file; needed where several could be meant.

    Returns:
        An open raster, to be closed or used with ``with``.

    Raises:
        PhotoError: there is no such file, or it cannot be used.
        RuntimeUnavailable: its reader is not installed.
        UsageError: an argument does not fit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scene.npy"
        >>> np.save(path, np.ones((4, 6, 5), np.uint16))
        >>> with open_raster(path, "multispectral", unit="reflectance", scale=1e-4) as raster:
        ...     values, valid = raster.read(slice(0, 2), slice(1, 3))
        >>> raster.height, raster.width, values.shape, round(float(values[0, 0, 0]), 4), bool(valid.all())
        (4, 6, (2, 2, 5), 0.0001, True)
    """
    if not (math.isfinite(scale) and scale != 0):
        raise UsageError(f"a scale of {scale}; accepted: a number other than 0")
    known = check_unit(unit)
    raster = _open(Path(path), name, variable)
    try:
        header = raster.header
        if known is None and header.unit is None and name == "lidar":
            known = "metres"
        raster.header = replace(
            header,
            unit=known or header.unit,
            wavelengths=header.wavelengths
            if wavelengths is None
            else check_wavelengths(raster.path, wavelengths, header.channels),
            nodata=header.nodata if nodata is None else (nodata,) * header.channels,
        )
    except BaseException:
        raster.close()
        raise
    raster.scale = scale
    return raster


def read_modality(raster: Raster) -> Modality:
    """All of an open raster at once; it is closed.

    Raises:
        PhotoError: it cannot be read, or is too large for one read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "heights.npy"
        >>> np.save(path, np.array([[1.5, np.nan], [2.0, 3.0]]))
        >>> heights = read_modality(open_raster(path, "lidar"))
        >>> heights.unit, heights.values.shape, int(heights.valid.sum())
        ('metres', (2, 2, 1), 3)
    """
    with raster:
        return raster.modality()


def read_scene(rasters: Sequence[Raster], name: str = "scene") -> Scene:
    """All of several modalities that lie on one grid, as one tile; place and resolution are the first one's.

    Raises:
        PhotoError: they lie on different grids, or cannot be read.
        UsageError: there is none, or two of one name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scene.npy"
        >>> np.save(path, np.ones((4, 6, 5), np.float32))
        >>> with open_raster(path, "multispectral") as raster:
        ...     scene = read_scene([raster], "field")
        >>> scene.name, scene.tile.shape, scene.modalities[0].unit
        ('field', (4, 6), 'dn')
    """
    check_grid(rasters)
    first = rasters[0]
    return Scene(
        name=name,
        modalities=tuple(raster.modality() for raster in rasters),
        tile=np.zeros((first.height, first.width), np.int32),
        ground_sampling=first.ground_sampling,
        crs=first.crs,
        transform=first.transform,
    )


def _open(path: Path, name: str, variable: str | None) -> Raster:
    if not path.is_file():
        raise refusal(path, "is a folder; accepted: a raster file" if path.is_dir() else "no such file")
    with path.open("rb") as file:
        first = file.read(_FIRST)
    if first.startswith(arrays.NPY):
        return arrays.open_npy(path, name, variable)
    if first.startswith(arrays.ZIP):
        return arrays.open_npz(path, name, variable)
    if first.startswith(arrays.HDF) or first[_HDF_AFTER:].startswith(arrays.HDF):
        return arrays.open_mat_hdf(path, name, variable)
    if first.startswith(arrays.MATLAB):
        return arrays.open_mat(path, name, variable)
    if variable is not None:
        raise UsageError(f"{path} has no named variables; accepted for .mat and .npz alone")
    if first.startswith(geotiff.MAGICS):
        return geotiff.GeoTiff(path, name)
    if first.startswith(envi.MAGIC) and path.suffix.lower() == ".hdr":
        return envi.open_envi(path, name)
    header = envi.header_of(path)
    if header is not None:
        return envi.open_envi(header, name, path)
    raise refusal(path, "is no raster of an accepted format (GeoTIFF, ENVI with its .hdr, MATLAB, NumPy)")
