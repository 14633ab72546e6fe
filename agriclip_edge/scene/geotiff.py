"""GeoTIFF rasters, read by rasterio."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RuntimeUnavailable
from .raster import Header, Raster, check_wavelengths, refusal

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_BLOCK = 1 << 30  # bytes that GDAL takes to decode one block
_LENGTH = re.compile(r"(\d{1,5}(?:\.\d{1,6})?)\s*(nm|nanomet\w*|um|µm|micromet\w*|microns?)\b", re.IGNORECASE)


class GeoTiff(Raster):
    """A GeoTIFF; a band of opacity (alpha) is the mask and no channel."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the file.

        Raises:
            PhotoError: it is no GeoTIFF, or one that cannot be read.
            RuntimeUnavailable: rasterio is not installed.
        """
        try:
            import rasterio
            from rasterio.enums import ColorInterp, MaskFlags
        except ImportError:
            message = "GeoTIFF needs rasterio; install it with: pip install 'agriclip-edge[scene]'"
            raise RuntimeUnavailable(message) from None
        self._failed: tuple[type[Exception], ...] = (rasterio.errors.RasterioError, OSError, ValueError)
        self._Window = rasterio.windows.Window
        try:  # its own reader alone: others follow links to other files and to the network
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # `transform` is None then
                self._file: Any = rasterio.open(path.absolute(), driver="GTiff")
        except self._failed as error:
            raise refusal(path, f"is no GeoTIFF that can be read: {_line(error)}") from None
        file = self._file
        try:
            alpha = [band for band, what in zip(file.indexes, file.colorinterp) if what == ColorInterp.alpha]
            self._alpha = alpha[-1] if alpha and file.count > 1 else None
            self._bands = [band for band in file.indexes if band != self._alpha]
            self._masked = any(MaskFlags.per_dataset in file.mask_flag_enums[band - 1] for band in self._bands)
            super().__init__(path, name, self._header())
            self._check_blocks()
        except self._failed as error:
            self._file.close()
            raise refusal(path, f"cannot be read: {_line(error)}") from None
        except BaseException:
            self._file.close()
            raise

    def _header(self) -> Header:
        file, bands = self._file, self._bands
        dtypes = {file.dtypes[band - 1] for band in bands}
        gain = np.array([file.scales[band - 1] for band in bands], np.float64)
        offset = np.array([file.offsets[band - 1] for band in bands], np.float64)
        kind = np.dtype("complex64" if any(d.startswith("complex") for d in dtypes) else np.result_type(*dtypes))
        crs, transform = file.crs, tuple(file.transform)[:6]
        placed = bool(crs) or transform != (1, 0, 0, 0, 1, 0)
        metres = crs.linear_units_factor[1] if crs and crs.is_projected else None
        return Header(
            height=file.height,
            width=file.width,
            channels=len(bands),
            dtype=kind,
            wavelengths=check_wavelengths(self._path_of(), self._wavelengths(), len(bands)),
            nodata=tuple(file.nodatavals[band - 1] for band in bands),
            gain=None if (gain == 1).all() else gain,
            offset=None if (offset == 0).all() else offset,
            ground_sampling=None if metres is None else float(np.hypot(transform[0], transform[3]) * metres),
            crs=crs.to_wkt() if crs else "",
            transform=transform if placed else None,
        )

    def _path_of(self) -> Path:
        return Path(self._file.name)

    def _wavelengths(self) -> list[float] | None:
        found = []
        for band in self._bands:
            length = self._wavelength(band)
            if length is None:
                return None
            found.append(length)
        return found

    def _wavelength(self, band: int) -> float | None:
        """In nm, as GDAL keeps it (``CENTRAL_WAVELENGTH_UM``, ``wavelength``), or as a band's name gives it."""
        try:
            central = self._file.tags(band, ns="IMAGERY").get("CENTRAL_WAVELENGTH_UM")
            if central is not None:
                return float(central) * 1e3
            tags = {key.lower(): value for key, value in self._file.tags(band).items()}
            if "wavelength" in tags:
                factor = 1e3 if tags.get("wavelength_units", "").lower() in ("micrometers", "um", "µm") else 1.0
                return float(tags["wavelength"]) * factor
        except ValueError:
            return None
        named = _LENGTH.search(self._file.descriptions[band - 1] or "")
        return None if named is None else float(named[1]) * (1.0 if named[2].lower().startswith("n") else 1e3)

    def _check_blocks(self) -> None:
        file = self._file
        together = file.count if file.interleaving is not None and file.interleaving.name == "pixel" else 1
        for (rows, columns), kind in zip(file.block_shapes, file.dtypes):
            if rows * columns * np.dtype(kind).itemsize * together > _MAX_BLOCK:
                raise refusal(
                    self.path, f"is stored in blocks of {rows} × {columns} pixels, too large to decode: tile it first"
                )

    def _cut(self, rows: slice, columns: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        window = self._Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        try:
            stored = self._file.read(self._bands, window=window, out_dtype=self.header.dtype)
            mask = None
            if self._alpha is not None:
                mask = self._file.read(self._alpha, window=window) > 0
            elif self._masked:
                mask = self._file.dataset_mask(window=window) > 0
        except self._failed as error:
            raise refusal(self.path, f"cannot be read at rows {rows.start} to {rows.stop}: {_line(error)}") from None
        return np.moveaxis(stored, 0, -1), mask

    def _close(self) -> None:
        self._file.close()


def _line(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())
