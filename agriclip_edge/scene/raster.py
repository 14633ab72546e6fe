"""A raster file opened for reading, of whatever format: a window at a time, checked before memory is taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from ..errors import PhotoError, UsageError
from .scene import Modality, Unit

MAX_VALUES = 1 << 29  # of one read: 2 GiB as float32
MAX_CHANNELS = 4096  # imaging spectrometers have up to a few hundred
MAX_SIDE = 1 << 24
MAX_EXPANSION = 1100  # deflate makes at most 1,032 bytes of one; a file that says more lies
_SAME_PLACE = 0.01  # of a pixel: rasters on one grid agree better than that

Transform = tuple[float, float, float, float, float, float]
_EVERYTHING = slice(None)


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Args:
        height: pixels.
        width: pixels.
        channels: number of bands that are given out.
        dtype: of the stored numbers.
        wavelengths: nm, float64 (C,), or None.
        unit: of the values after scaling, or None when the file does not say.
        nodata: stored numbers, one for each channel, that mean no data; None for a channel without.
        gain: what each stored number is multiplied by, float64 (C,); None for 1.
        offset: what is added after that, float64 (C,); None for 0.
        ground_sampling: metres a pixel, or None.
        crs: coordinate reference system as WKT, or "".
        transform: affine map from (column, row) to coordinates, rasterio's order, or None.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    wavelengths: npt.NDArray[np.float64] | None = None
    unit: Unit | None = None
    nodata: tuple[float | None, ...] = ()
    gain: npt.NDArray[np.float64] | None = None
    offset: npt.NDArray[np.float64] | None = None
    ground_sampling: float | None = None
    crs: str = ""
    transform: Transform | None = None


@dataclass
class Raster(ABC):
    """One modality in a file; a context manager that closes it.

    Args:
        path: of the file, as messages name it.
        name: of the modality.
        header: what the file says, with what the caller knows better.
        scale: what every value is multiplied by besides.
    """

    path: Path
    name: str
    header: Header
    scale: float = 1.0
    closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        h = self.header
        if not (0 < h.height <= MAX_SIDE and 0 < h.width <= MAX_SIDE and 0 < h.channels <= MAX_CHANNELS):
            raise refusal(self.path, f"says it has {h.height} × {h.width} pixels of {h.channels} channels; {_ACCEPTED}")
        if h.dtype.kind not in "uif":
            raise refusal(self.path, f"holds {h.dtype}; accepted: whole numbers and floating point")

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.header.height

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.header.width

    @property
    def channels(self) -> int:
        """Number of bands."""
        return self.header.channels

    @property
    def unit(self) -> Unit | None:
        """Of the values; None when neither file nor caller said."""
        return self.header.unit

    @property
    def wavelengths(self) -> npt.NDArray[np.float64] | None:
        """In nm, float64 (C,), or None."""
        return self.header.wavelengths

    @property
    def ground_sampling(self) -> float | None:
        """Metres a pixel, or None."""
        return self.header.ground_sampling

    @property
    def crs(self) -> str:
        """Coordinate reference system as WKT, or ""."""
        return self.header.crs

    @property
    def transform(self) -> Transform | None:
        """Affine map from (column, row) to coordinates, or None."""
        return self.header.transform

    def read(
        self, rows: slice = _EVERYTHING, columns: slice = _EVERYTHING
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Read a window.

        Args:
            rows: of pixels, step 1; all of them if nothing is said.
            columns: the same.

        Returns:
            Values float32 (h, w, C), and which pixels carry data in every channel, bool (h, w).

        Raises:
            PhotoError: the window is too large for one read, or the file cannot be read there.
        """
        top, bottom, _ = rows.indices(self.height)
        left, right, _ = columns.indices(self.width)
        shape = max(bottom - top, 0), max(right - left, 0), self.channels
        if shape[0] * shape[1] * shape[2] > MAX_VALUES:
            raise refusal(self.path, f"{too_many(shape)}: read it in windows")
        raw, seen = self._cut(slice(top, top + shape[0]), slice(left, left + shape[1]))
        valid = np.ones(shape[:2], bool) if seen is None else seen
        for channel, nodata in enumerate(self.header.nodata):
            stored = _as_stored(nodata, raw.dtype)
            if stored is not None:
                valid &= raw[..., channel] != stored
        values = np.array(raw, np.float32, order="C")  # a copy: the caller may change it
        valid &= np.isfinite(values).all(axis=-1)
        if self.header.gain is not None:
            values *= self.header.gain.astype(np.float32)
        if self.header.offset is not None:
            values += self.header.offset.astype(np.float32)
        if self.scale != 1.0:
            values *= np.float32(self.scale)
        return values, valid

    def modality(self) -> Modality:
        """All of it, as a modality; a unit that nobody said is digital numbers.

        Raises:
            PhotoError: it is too large for one read, or cannot be read.
        """
        values, valid = self.read()
        return Modality(self.name, values, valid, self.unit or "dn", self.wavelengths)

    @abstractmethod
    def _cut(self, rows: slice, columns: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Stored numbers (h, w, C), and the mask that the file keeps beside them, bool (h, w), or None."""

    def close(self) -> None:
        """Let go of the file; a second time does nothing."""
        if not self.closed:
            self.closed = True
            self._close()

    def _close(self) -> None:  # noqa: B027 # most formats hold no handle
        pass

    def __enter__(self) -> Raster:  # noqa: PYI034 # typing.Self is of Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_ACCEPTED = f"accepted: 1 to {MAX_SIDE:,} a side and 1 to {MAX_CHANNELS:,} channels"


class InMemory(Raster):
    """A raster whose stored numbers are at hand: an array, or a memory-mapped or HDF5 one."""

    def __init__(self, path: Path, name: str, header: Header, stored: Any, scale: float = 1.0) -> None:
        """Keep ``stored``, which gives ``stored[rows, columns]`` of shape (h, w, C)."""
        super().__init__(path, name, header, scale)
        self._stored = stored

    def _cut(self, rows: slice, columns: slice) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        return np.asarray(self._stored[rows, columns]), None

    def _close(self) -> None:
        self._stored = None


def refusal(path: Path, what: str) -> PhotoError:
    """The error of a raster that cannot be used: its path and what is wrong, in one line."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"{path}: {what}")
    return PhotoError(line if len(line) <= _LONGEST else line[:_LONGEST] + "…")


_LONGEST = 600  # characters of a message: what a hostile file says of itself may be long


def check_size(path: Path, wanted: int, there: int, ratio: int = 1) -> None:
    """Refuse a file whose header asks for more bytes than it can hold.

    Args:
        path: of the file.
        wanted: bytes that the header speaks of.
        there: bytes that the file has for them.
        ratio: how many bytes one of them can become.

    Raises:
        PhotoError: it holds less.
    """
    if wanted > there * ratio:
        raise refusal(path, f"is cut off or lies: its header speaks of {wanted:,} bytes, the file has {there:,}")


def too_many(shape: Sequence[int]) -> str:
    """What to say of an array that is too large to be read at once."""
    return f"{' × '.join(map(str, shape))} values are too many for one read (at most {MAX_VALUES:,})"


def check_wavelengths(path: Path, wavelengths: Sequence[float] | None, channels: int) -> npt.NDArray[np.float64] | None:
    """Wavelengths as an array, after a look at their number and range.

    Raises:
        PhotoError: they are not one for each channel, or no lengths of waves.
    """
    if wavelengths is None:
        return None
    array = np.asarray(wavelengths, np.float64).ravel()
    if len(array) != channels:
        raise refusal(path, f"has {channels} channels and {len(array)} wavelengths")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise refusal(path, "has a wavelength that is not a positive number")
    return array


def check_unit(unit: str | None) -> Unit | None:
    """A unit's name, checked.

    Raises:
        UsageError: there is no such unit.
    """
    known: tuple[Unit, ...] = get_args(Unit)
    if unit is None:
        return None
    for name in known:
        if unit == name:
            return name
    raise UsageError(f"no unit {unit!r}; accepted: {', '.join(known)}")


def check_grid(rasters: Sequence[Raster]) -> None:
    """See that rasters lie on one grid of pixels; a raster that does not say where it lies is taken at its size.

    Raises:
        PhotoError: they do not, naming what differs.
        UsageError: there is none, or two modalities have one name.
    """
    if not rasters:
        raise UsageError("a scene needs at least one raster")
    names = [raster.name for raster in rasters]
    if len(set(names)) < len(names):
        raise UsageError(f"two modalities of one name among {', '.join(names)}")
    first = rasters[0]
    for other in rasters[1:]:
        if (other.height, other.width) != (first.height, first.width):
            sizes = f"{other.height} × {other.width} pixels and {first.path.name} {first.height} × {first.width}"
            raise refusal(other.path, f"has {sizes}: bring both onto one grid first (docs/scenes.md)")
        if first.transform and other.transform:
            size = max(abs(first.transform[0]), abs(first.transform[1]))
            apart = [abs(a - b) for a, b in zip(first.transform, other.transform)]
            turned = max(apart[i] for i in (0, 1, 3, 4)) * max(first.height, first.width)
            if max(apart[2], apart[5], turned) > _SAME_PLACE * size:
                raise refusal(
                    other.path,
                    f"lies elsewhere than {first.path.name}: bring both onto one grid first (docs/scenes.md)",
                )


def _as_stored(nodata: float | None, dtype: np.dtype[Any]) -> Any:
    """The number that a file stores for no data, or None where its type cannot hold it or it is NaN anyway."""
    if nodata is None or nodata != nodata:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(nodata)
    limits = np.iinfo(dtype)
    return dtype.type(int(nodata)) if nodata == int(nodata) and limits.min <= nodata <= limits.max else None
