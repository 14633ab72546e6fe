"""Scenes as they are published or stored, read into one shape."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality, Scene, Unit

from .colours import stretched
from .labelled import STORED, LabelledScene
from .published import read_published
from .splits import cells
from .synthetic import synthetic_scene

_REFLECTANCE = 1e-4  # of one step in the integer files of NEON and AVIRIS
_CELL = 20  # pixels: places of a scene that names none, wider than a window
_SEASONS_CELL = 5  # pixels of 232 m

Arrays = dict[str, npt.NDArray[Any]]


def read_scene(source: Path | str) -> LabelledScene:
    """Read a labelled scene.

    Args:
        source: ``synthetic``, a folder with the files of one of `RECIPES` or of Houston 2013, Trento or MUUFL as they
            are published, or the name of a folder in ``$AGRICLIP_DATA/scenes``.

    Raises:
        UsageError: there is none, or its files are not those of a recipe.
    """
    folder = Path(source)
    if str(source) == "synthetic":
        return synthetic_scene()
    root = os.environ.get("AGRICLIP_DATA")
    if not folder.is_dir() and root and len(folder.parts) == 1:
        folder = Path(root) / "scenes" / folder
    if not folder.is_dir():
        raise UsageError(f"no folder of a scene at {folder}; accepted: synthetic, or a folder of {_names()}")
    for files, read in RECIPES.values():
        if all((folder / file).is_file() for file in files):
            return read(folder)
    published = read_published(folder)
    if published is not None:
        return published
    raise UsageError(f"{folder} holds the files of no known scene; known are {_names()}")


def _names() -> str:
    return ", ".join([*RECIPES, "houston2013", "trento", "muufl"])


def _stored(folder: Path, names: tuple[str, ...]) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and description of a folder of ``NAME.npz`` and ``meta.json``."""
    path = next(folder.glob("*.npz"))
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
        meta = json.loads((folder / "meta.json").read_bytes())
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{folder} cannot be read: {error}") from None
    return arrays, meta


def _modality(name: str, values: npt.NDArray[Any], unit: Unit, scale: float = 1.0) -> Modality:
    plain = np.asarray(values, np.float32)
    plain = plain * np.float32(scale) if scale != 1.0 else plain
    return Modality(name, plain, np.logical_and.reduce(np.isfinite(plain), axis=-1), unit)


def _idtrees(folder: Path) -> LabelledScene:
    """IDTReeS 2020: 85 plots of 20 m, NEON's imaging spectrometer, canopy height and camera; 11 tree species."""
    arrays, meta = _stored(folder, ("hsi", "lidar", "rgb", "gt", "tile", "train", "test"))
    spectra = _modality("hyperspectral", arrays["hsi"], "reflectance", _REFLECTANCE)
    valid = spectra.valid & (arrays["hsi"] != 0).any(axis=-1)
    spectra = replace(spectra, valid=valid)
    tile = arrays["tile"].astype(np.int32)
    return LabelledScene(
        scene=Scene("idtrees", (spectra, _modality("lidar", arrays["lidar"], "metres")), tile, float(meta["gsd_m"])),
        labels=arrays["gt"].astype(np.int16),
        classes=tuple(entry["common"] for entry in meta["classes"]),
        splits={STORED: (arrays["train"] > 0, arrays["test"] > 0)},
        groups=np.array(meta["tile_group"], np.int32)[tile],
        rgb=arrays["rgb"],
    )


def _matogrosso(folder: Path) -> LabelledScene:
    """Cropland by MODIS: 16-day series of blue, red, near infrared, and of the mid infrared as a second modality."""
    arrays, meta = _stored(folder, ("hsi", "aux", "gt", "season"))
    season = arrays["season"].astype(np.int32)
    blue, red, infrared = np.split(arrays["hsi"], 3, axis=-1)  # one band's dates after the other's
    seen = np.stack([band.mean(axis=-1) for band in (infrared, red, blue)], axis=-1)  # in false colours
    height = int((season[:, 0] == season[0, 0]).sum())  # one season after the other down the rows, of one place
    return LabelledScene(
        scene=Scene(
            "matogrosso",
            (
                _modality("multispectral", arrays["hsi"], "reflectance"),
                _modality("mid-infrared", arrays["aux"], "reflectance"),
            ),
            season,
            231.7,
        ),
        labels=arrays["gt"].astype(np.int16),
        classes=tuple(meta["classes"]),
        groups=np.tile(cells(height, season.shape[1], _SEASONS_CELL), (len(season) // height, 1)),
        rgb=stretched(seen, np.ones(season.shape, bool)),
    )


# Jasper Ridge: AVIRIS' 224 bands of 380 to 2500 nm, counted from 1, less those of water vapour and of the edges.
_JASPER = np.delete(np.linspace(380, 2500, 224), [*range(3), *range(107, 112), *range(153, 166), *range(219, 224)])
_SAMSON = np.linspace(401, 889, 156)


def _unmixed(name: str, scale: float, nm: npt.NDArray[np.float64]) -> Callable[[Path], LabelledScene]:
    """A scene of one spectrometer whose labels are the largest reference abundance."""

    def read(folder: Path) -> LabelledScene:
        arrays, meta = _stored(folder, ("hsi", "gt"))
        height, width = arrays["gt"].shape
        spectra = replace(_modality("hyperspectral", arrays["hsi"], "reflectance", scale), wavelengths=nm)
        return LabelledScene(
            scene=Scene(name, (spectra,), np.zeros((height, width), np.int32)),
            labels=arrays["gt"].astype(np.int16),
            classes=tuple(meta["classes"]),
            groups=cells(height, width, _CELL),
        )

    return read


# The files by which a folder is known, and who reads it.
RECIPES: dict[str, tuple[tuple[str, ...], Callable[[Path], LabelledScene]]] = {
    "idtrees": (("idtrees.npz", "meta.json"), _idtrees),
    "matogrosso": (("matogrosso.npz", "meta.json"), _matogrosso),
    "jasper_ridge": (("jasper_ridge.npz", "meta.json"), _unmixed("jasper_ridge", _REFLECTANCE, _JASPER)),
    "samson": (("samson.npz", "meta.json"), _unmixed("samson", 1.0, _SAMSON)),
}
