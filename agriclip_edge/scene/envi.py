"""ENVI rasters: a text header beside flat numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .raster import MAX_CHANNELS, MAX_SIDE, Header, InMemory, Raster, Transform, check_size, check_wavelengths, refusal
from .scene import Unit

MAGIC = b"ENVI"
_MAX_HEADER = 1 << 22  # bytes: wavelengths and names of 4,096 bands fit
_DATA_SUFFIXES = ("", ".dat", ".img", ".raw", ".bsq", ".bil", ".bip", ".bin")
_TYPES = {  # "data type" of the header; complex numbers, 6 and 9, are no scene
    1: "u1",
    2: "i2",
    3: "i4",
    4: "f4",
    5: "f8",
    12: "u2",
    13: "u4",
    14: "i8",
    15: "u8",
}
_ORDER = {"bsq": (1, 2, 0), "bil": (0, 2, 1), "bip": (0, 1, 2)}  # how (lines, samples, bands) lies in the file
_NM = {"nanometers": 1.0, "nm": 1.0, "micrometers": 1e3, "um": 1e3, "µm": 1e3, "microns": 1e3, "angstroms": 0.1}
_MICROMETRES_BELOW = 100.0  # no optical sensor sees 100 nm, none measured here sees 100 µm
_FIELD = re.compile(r"^[ \t]*([^={}\n]+?)[ \t]*=[ \t]*(\{[^}]*\}|[^\n]*)", re.MULTILINE)


class _MapInfo(NamedTuple):
    transform: Transform | None
    ground_sampling: float | None


def header_of(path: Path) -> Path | None:
    """The header beside a data file, or None."""
    for beside in (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr")):
        if beside != path and beside.is_file():
            return beside
    return None


def open_envi(header_path: Path, name: str, data_path: Path | None = None) -> Raster:
    """Open a raster by its header; the numbers stay on disk until a window is read.

    Bands that the header's ``bbl`` calls bad are left out; ``reflectance scale factor``, ``data gain values`` and
    ``data offset values`` are applied.

    Raises:
        PhotoError: the header or the data file is missing, broken or too short.
    """
    fields = _fields(header_path)
    data = data_path or _data_of(header_path)
    lines, samples = (_whole(header_path, fields, key, 1, MAX_SIDE) for key in ("lines", "samples"))
    bands = _whole(header_path, fields, "bands", 1, MAX_CHANNELS)
    dtype = _dtype(header_path, fields)
    interleave = fields.get("interleave", "bsq").lower()
    if interleave not in _ORDER:
        raise refusal(header_path, f"interleave is {interleave!r}; accepted: bsq, bil, bip")
    if fields.get("file compression", "0") != "0":
        raise refusal(header_path, "is of a compressed file; accepted: an uncompressed one")
    start = _whole(header_path, fields, "header offset", 0, 1 << 40, 0)
    there = data.stat().st_size
    check_size(data, start + lines * samples * bands * dtype.itemsize, there)
    order = _ORDER[interleave]
    shape = {"bsq": (bands, lines, samples), "bil": (lines, bands, samples), "bip": (lines, samples, bands)}[interleave]
    stored = np.memmap(data, dtype, "r", start, shape).transpose(order)
    kept = _kept(header_path, fields, bands)
    info = _map_info(fields)
    gain, offset = _scaling(header_path, fields, bands)
    nodata = _number(header_path, fields, "data ignore value")
    header = Header(
        height=lines,
        width=samples,
        channels=int(kept.sum()),
        dtype=dtype,
        wavelengths=_pick(check_wavelengths(header_path, _wavelengths(header_path, fields), bands), kept),
        unit=_unit(fields),
        nodata=(nodata,) * int(kept.sum()),
        gain=_pick(gain, kept),
        offset=_pick(offset, kept),
        ground_sampling=info.ground_sampling,
        crs=fields.get("coordinate system string", "").strip("{} \n\t"),
        transform=info.transform,
    )
    return InMemory(data, name, header, stored if kept.all() else _Bands(stored, np.flatnonzero(kept)))


class _Bands:
    """Some bands of a memory-mapped array, taken after the window so that only the window is read."""

    def __init__(self, stored: npt.NDArray[Any], kept: npt.NDArray[np.intp]) -> None:
        self._stored, self._kept = stored, kept

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[Any]:
        return self._stored[window][..., self._kept]


def _fields(path: Path) -> dict[str, str]:
    if path.stat().st_size > _MAX_HEADER:
        raise refusal(path, f"is no header: it has more than {_MAX_HEADER:,} bytes")
    raw = path.read_bytes()
    if not raw.startswith(MAGIC):
        raise refusal(path, "is no ENVI header: its first line is not ENVI")
    text = raw.decode("utf-8", "replace")
    return {key.strip().lower(): value.strip() for key, value in _FIELD.findall(text)}


def _data_of(header: Path) -> Path:
    stem = header.with_suffix("")
    for suffix in _DATA_SUFFIXES:
        found = stem.with_name(stem.name + suffix)
        if found != header and found.is_file():
            return found
    raise refusal(header, f"no data file {stem.name} beside it, with no suffix or {', '.join(_DATA_SUFFIXES[1:])}")


def _whole(path: Path, fields: dict[str, str], key: str, low: int, high: int, default: int | None = None) -> int:
    text = fields.get(key, "" if default is None else str(default))
    if not re.fullmatch(r"[0-9]{1,15}", text) or not low <= int(text) <= high:
        raise refusal(path, f"{key} is {text!r}; accepted: {low:,} to {high:,}")
    return int(text)


def _number(path: Path, fields: dict[str, str], key: str) -> float | None:
    if key not in fields:
        return None
    try:
        return float(fields[key].strip("{} "))
    except ValueError:
        raise refusal(path, f"{key} is {fields[key]!r}; accepted: a number") from None


def _numbers(path: Path, fields: dict[str, str], key: str) -> list[float] | None:
    if key not in fields:
        return None
    words = fields[key].strip("{} \n\t").replace("\n", " ").split(",")
    try:
        return [float(word) for word in words if word.strip()]
    except ValueError:
        raise refusal(path, f"{key} holds something that is not a number") from None


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[Any]:
    number = _whole(path, fields, "data type", 1, 99)
    if number not in _TYPES:
        raise refusal(path, f"data type is {number}; accepted: {', '.join(map(str, _TYPES))}")
    order = _whole(path, fields, "byte order", 0, 1, 0)
    return np.dtype((">" if order else "<") + _TYPES[number])


def _kept(path: Path, fields: dict[str, str], bands: int) -> npt.NDArray[np.bool_]:
    good = _numbers(path, fields, "bbl")
    if good is None:
        return np.ones(bands, bool)
    kept: npt.NDArray[np.bool_] = np.not_equal(good, 0)
    if len(kept) != bands or not kept.any():
        raise refusal(path, f"has {bands} bands and a bbl of {len(kept)} entries, {int(kept.sum())} of them good")
    return kept


def _pick(values: npt.NDArray[np.float64] | None, kept: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64] | None:
    return None if values is None else values[kept]


def _wavelengths(path: Path, fields: dict[str, str]) -> list[float] | None:
    lengths = _numbers(path, fields, "wavelength")
    if not lengths:
        return None
    unit = fields.get("wavelength units", "unknown").lower()
    if unit in ("unknown", ""):
        factor = 1e3 if max(lengths) < _MICROMETRES_BELOW else 1.0
    elif unit in _NM:
        factor = _NM[unit]
    else:
        return None  # an index or a wavenumber: no wavelengths that could be used
    return [length * factor for length in lengths]


def _unit(fields: dict[str, str]) -> Unit | None:
    said = " ".join(fields.get(key, "") for key in ("data units", "z plot titles", "description")).lower()
    if "reflectance scale factor" in fields or "reflectance" in said:
        return "reflectance"
    return "radiance" if "radiance" in said else None


def _scaling(
    path: Path, fields: dict[str, str], bands: int
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    factor = _number(path, fields, "reflectance scale factor")
    gain, offset = (_numbers(path, fields, f"data {what} values") for what in ("gain", "offset"))
    for values in (gain, offset):
        if values is not None and len(values) != bands:
            raise refusal(path, f"has {bands} bands and {len(values)} gains or offsets")
    if factor is not None:
        if not factor > 0:
            raise refusal(path, f"reflectance scale factor is {factor}; accepted: above 0")
        return np.full(bands, 1 / factor), None
    return (
        None if gain is None else np.array(gain, np.float64),
        None if offset is None else np.array(offset, np.float64),
    )


def _map_info(fields: dict[str, str]) -> _MapInfo:
    """``map info = {projection, pixel x, pixel y, easting, northing, size x, size y, ...}``; pixels count from 1."""
    words = [word.strip() for word in fields.get("map info", "").strip("{} ").split(",")]
    try:
        column, row, east, north, across, down = map(float, words[1:7])
    except ValueError:
        return _MapInfo(None, None)
    if any(word.lower().startswith("rotation") and word.split("=")[-1].strip(" 0.") for word in words):
        return _MapInfo(None, None)
    metres = any(word.lower().replace(" ", "") in ("units=meters", "units=metres") for word in words)
    transform = (across, 0.0, east - (column - 1) * across, 0.0, -down, north + (row - 1) * down)
    return _MapInfo(transform, across if metres or words[0].upper() == "UTM" else None)
