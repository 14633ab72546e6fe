"""What a camera's files do not say of themselves: their bands, unit and scale, out of a JSON file."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from ..errors import UsageError

_MOST_BYTES = 1 << 20
_MOST_BANDS = 4096


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One band: centre and full width at half maximum, nm."""

    name: str
    centre: float
    width: float


class Camera(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A multispectral camera.

    Attributes:
        name: for people.
        bands: in the order of its files.
        unit: of what they hold.
        scale: what stored numbers are multiplied by to give it: 0.0001 or 1 / 32768 for whole numbers.
    """

    name: str
    bands: list[Band]
    unit: Literal["reflectance", "radiance", "dn"] = "reflectance"
    scale: float = 1.0

    @property
    def wavelengths(self) -> list[float]:
        """Centres of the bands, nm."""
        return [band.centre for band in self.bands]

    @property
    def widths(self) -> list[float]:
        """Full widths at half maximum of the bands, nm."""
        return [band.width for band in self.bands]


def read_camera(path: str | os.PathLike[str]) -> Camera:
    """Read a camera's file.

    Raises:
        UsageError: it is missing, no JSON, or holds something else.

    Example:
        >>> read_camera("examples/cameras/rededge-mx.json").wavelengths
        [475.0, 560.0, 668.0, 842.0, 717.0]
    """
    where = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        camera = msgspec.json.decode(data[:_MOST_BYTES], type=Camera)
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{where} is no camera: {error}; examples/cameras holds some") from None
    if len(data) > _MOST_BYTES or not 1 <= len(camera.bands) <= _MOST_BANDS:
        raise UsageError(f"{where} is no camera: accepted are up to 1 MiB and 1 to {_MOST_BANDS:,} bands")
    for band in camera.bands:
        if not (100 <= band.centre <= 20_000 and 0 < band.width <= 5000):
            raise UsageError(f"{where}: band {band.name!r} at {band.centre:g} nm, {band.width:g} nm wide; accepted: nm")
    return camera
