"""Arrays of NumPy and MATLAB files as rasters: the named one, or the only one that could be."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import RuntimeUnavailable, UsageError
from .raster import (
    MAX_EXPANSION,
    MAX_VALUES,
    Header,
    InMemory,
    Raster,
    check_size,
    check_wavelengths,
    refusal,
    too_many,
)

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
MATLAB, MATLAB_HDF, HDF = b"MATLAB 5.0", b"MATLAB 7.3", b"\x89HDF\r\n\x1a\n"
_WAVELENGTHS = ("wavelengths", "wavelength", "wl", "lambda_nm")
_MATLAB_TYPES = {
    **{f"{sign}int{bits}": f"{sign or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "double": "f8",
    "single": "f4",
    "logical": "u1",
}


class _Entry(NamedTuple):
    """An array that a file says it holds."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def pictured(self) -> bool:
        """Whether it could be a raster: (H, W) or (H, W, C) of numbers, more than a row or column of them."""
        return len(self.shape) in (2, 3) and min(self.shape[:2]) > 1 and self.dtype.kind in "uif"


def open_npy(path: Path, name: str, variable: str | None) -> Raster:
    """A ``.npy`` file, memory-mapped: (H, W) or (H, W, C).

    Raises:
        PhotoError: it is none, or holds no raster.
        UsageError: a variable is named.
    """
    if variable is not None:
        raise UsageError(f"{path} holds one array; accepted: no name of a variable")
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, OverflowError, SyntaxError) as error:
        raise refusal(path, f"is no NumPy array that can be read: {' '.join(str(error).split())}") from None
    if not _Entry(stored.shape, stored.dtype).pictured:
        raise refusal(path, f"holds {stored.dtype} {stored.shape}; accepted: numbers (H, W) or (H, W, C)")
    return _raster(path, name, stored, None)


def open_npz(path: Path, name: str, variable: str | None) -> Raster:
    """An array of a ``.npz`` file; one called ``wavelengths``, in nm, says them if it is there.

    Raises:
        PhotoError: it is none, or holds no raster.
        UsageError: it holds no such variable, or several that could be meant.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {}
            for info in archive.infolist():
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # all that NumPy writes
                    continue
                with archive.open(info) as member:
                    entry = _npy_header(member)
                if entry is not None:
                    check_size(path, entry.bytes, info.file_size)
                    check_size(path, entry.bytes, info.compress_size + 1, MAX_EXPANSION)
                    entries[info.filename.removesuffix(".npy")] = entry
        chosen = _choose(path, entries, variable, whole=True)
        with np.load(path, allow_pickle=False) as file:
            return _raster(path, name, file[chosen], _lengths(entries, file, entries[chosen]))
    except (
        ValueError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        KeyError,
    ) as error:
        raise refusal(path, f"cannot be read: {' '.join(str(error).split())}") from None


def open_mat(path: Path, name: str, variable: str | None) -> Raster:
    """An array of a MATLAB file of version 5 to 7.

    Raises:
        PhotoError: it is none, or holds no raster.
        RuntimeUnavailable: SciPy is not installed.
        UsageError: it holds no such variable, or several that could be meant.
    """
    io = _library("scipy.io", "MATLAB files need SciPy; install it with: pip install scipy")
    there = path.stat().st_size
    try:
        listed = io.whosmat(path)
    except Exception as error:  # a broken file breaks SciPy's reader in many ways
        raise refusal(path, f"is no MATLAB file that can be read: {' '.join(str(error).split())}") from None
    entries = {
        key: _Entry(tuple(shape), np.dtype(_MATLAB_TYPES[kind])) for key, shape, kind in listed if kind in _MATLAB_TYPES
    }
    chosen = _choose(path, entries, variable, whole=True)
    wanted = [chosen, *(key for key in entries if key.lower() in _WAVELENGTHS)]
    for key in wanted:  # a whole number of MATLAB may be stored in a byte
        check_size(path, math.prod(entries[key].shape), there, MAX_EXPANSION)
    try:
        loaded = io.loadmat(path, variable_names=wanted)
        stored = np.asarray(loaded[chosen])
    except Exception as error:
        raise refusal(path, f"cannot be read: {' '.join(str(error).split())}") from None
    if stored.shape != entries[chosen].shape or stored.dtype.kind not in "uif":
        raise refusal(path, f"holds {stored.dtype} {stored.shape} where its directory says {entries[chosen].shape}")
    return _raster(path, name, stored, _lengths(entries, loaded, entries[chosen]))


def open_mat_hdf(path: Path, name: str, variable: str | None) -> Raster:
    """An array of a MATLAB 7.3 file (HDF5), read in windows; MATLAB keeps columns first, which is undone.

    Raises:
        AgriclipError: as `open_mat` does; the library is h5py.
    """
    h5py = _library("h5py", "MATLAB 7.3 files need h5py; install it with: pip install h5py")
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise refusal(path, f"is no MATLAB 7.3 file that can be read: {' '.join(str(error).split())}") from None
    try:
        # No link is followed: it may lead to another file.
        own = {k: file[k] for k in file if file.get(k, getlink=True).__class__ is h5py.HardLink}
        sets = {k: v for k, v in own.items() if isinstance(v, h5py.Dataset) and v.external is None and not v.is_virtual}
        entries = {key: _Entry(tuple(reversed(value.shape or ())), value.dtype) for key, value in sets.items()}
        chosen = _choose(path, entries, variable)
        for key in (chosen, *(key for key in entries if key.lower() in _WAVELENGTHS)):
            check_size(path, entries[key].bytes, sets[key].id.get_storage_size() + 1, MAX_EXPANSION)
        chunk = sets[chosen].chunks
        if chunk is not None and math.prod(chunk) > MAX_VALUES:
            raise refusal(path, f"is stored in chunks of {chunk} values, too large to decode")
        return _Hdf(path, name, sets[chosen], _lengths(entries, sets, entries[chosen]), file)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        file.close()
        raise refusal(path, f"cannot be read: {' '.join(str(error).split())}") from None
    except BaseException:
        file.close()
        raise


class _Hdf(Raster):
    """A dataset stored as (C, W, H) or (W, H)."""

    def __init__(self, path: Path, name: str, stored: Any, lengths: list[float] | None, file: Any) -> None:
        shape = tuple(reversed(stored.shape))
        channels = shape[2] if len(shape) == 3 else 1
        header = Header(shape[0], shape[1], channels, stored.dtype, check_wavelengths(path, lengths, channels))
        super().__init__(path, name, header)
        self._stored, self._file = stored, file

    def _cut(self, rows: slice, columns: slice) -> tuple[npt.NDArray[Any], None]:
        try:
            window = (columns, rows)
            cut = self._stored[(slice(None), *window) if self._stored.ndim == 3 else window].T
        except (OSError, RuntimeError, ValueError) as error:
            raise refusal(self.path, f"cannot be read: {' '.join(str(error).split())}") from None
        return (cut if cut.ndim == 3 else cut[..., None]), None

    def _close(self) -> None:
        self._file.close()


def _library(name: str, missing: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise RuntimeUnavailable(missing) from None


def _raster(path: Path, name: str, stored: npt.NDArray[Any], lengths: list[float] | None) -> Raster:
    cube = stored if stored.ndim == 3 else stored[..., None]
    height, width, channels = cube.shape
    header = Header(height, width, channels, cube.dtype, check_wavelengths(path, lengths, channels))
    return InMemory(path, name, header, cube)


def _choose(path: Path, entries: Mapping[str, _Entry], variable: str | None, whole: bool = False) -> str:
    """The name of the array that is meant; ``whole``: it can only be read at once."""
    chosen = _meant(path, entries, variable)
    if whole and math.prod(entries[chosen].shape) > MAX_VALUES:
        raise refusal(path, f"{too_many(entries[chosen].shape)}; GeoTIFF, ENVI, .npy or MATLAB 7.3 is read in windows")
    return chosen


def _meant(path: Path, entries: Mapping[str, _Entry], variable: str | None) -> str:
    pictured = [key for key, entry in entries.items() if entry.pictured]
    said = ", ".join(f"{key} {entries[key].shape}" for key in pictured[:20]) or "none"
    if variable is not None:
        if variable not in pictured:
            raise UsageError(f"{path} has no raster {variable!r}; it has {said}")
        return variable
    if len(pictured) > 1:
        cubes = [key for key in pictured if len(entries[key].shape) == 3]
        if len(cubes) == 1:
            return cubes[0]
        raise UsageError(f"{path} has {len(pictured)} rasters; name one of {said}")
    if not pictured:
        raise refusal(path, "holds no array of numbers (H, W) or (H, W, C)")
    return pictured[0]


def _lengths(entries: Mapping[str, _Entry], file: Any, chosen: _Entry) -> list[float] | None:
    """Wavelengths in nm of a file that names them and has one for each channel."""
    channels = chosen.shape[2] if len(chosen.shape) == 3 else 1
    for key, entry in entries.items():
        if key.lower() in _WAVELENGTHS and math.prod(entry.shape) == channels:
            return [float(length) for length in np.asarray(file[key]).ravel()]
    return None


def _npy_header(member: Any) -> _Entry | None:
    """Shape and type of an array in a zip; None for what is none, or holds objects."""
    try:
        version = np.lib.format.read_magic(member)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if reader is None:
            return None
        shape, _, dtype = reader(member)
    except (ValueError, EOFError):
        return None
    return None if dtype.hasobject else _Entry(shape, dtype)
