"""Houston 2013, Trento and MUUFL Gulfport, read from the files that they are published in."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.scene.raster import check_wavelengths
from agriclip_edge.scene.read import open_raster, read_modality
from agriclip_edge.scene.scene import Modality, Scene, Unit

from .labelled import STORED, LabelledScene
from .splits import cells, patches

_CELL = 20  # pixels: places of a scene that is labelled throughout
_PATCH = 3  # pixels: labels nearer than twice that are of one place
_MAX_TEXT = 1 << 24  # bytes of a list of pixels; Houston's have 2 MB

Labels = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Published:
    """What is known of a scene before its files are opened.

    Attributes:
        name: of the scene.
        classes: pixels to train on and to test on of each class, as its publishers count them.
        wavelengths: first and last of the bands, nm; they lie evenly between.
        bands: of the spectrometer.
        unit: of its values.
        ground_sampling: metres a pixel.
    """

    name: str
    classes: Mapping[str, tuple[int, int]]
    wavelengths: tuple[float, float]
    bands: int
    unit: Unit
    ground_sampling: float


# Debes et al. 2014 (IEEE JSTARS 7(6)), table I; CASI, 380 to 1050 nm.
HOUSTON = Published(
    "houston2013",
    {
        "healthy grass": (198, 1053),
        "stressed grass": (190, 1064),
        "synthetic grass": (192, 505),
        "trees": (188, 1056),
        "soil": (186, 1056),
        "water": (182, 143),
        "residential": (196, 1072),
        "commercial": (191, 1053),
        "road": (193, 1059),
        "highway": (191, 1036),
        "railway": (181, 1054),
        "parking lot 1": (192, 1041),
        "parking lot 2": (184, 285),
        "tennis court": (181, 247),
        "running track": (187, 473),
    },
    (380.0, 1050.0),
    144,
    "radiance",
    2.5,
)
# Rasti et al. 2017 (IEEE TGRS 55(7)); AISA Eagle, 402.89 to 989.09 nm.
TRENTO = Published(
    "trento",
    {
        "apple trees": (129, 3905),
        "buildings": (125, 2778),
        "ground": (105, 374),
        "woods": (154, 8969),
        "vineyard": (184, 10317),
        "roads": (122, 3052),
    },
    (402.89, 989.09),
    63,
    "dn",
    1.0,
)
# Du and Zare 2017 (University of Florida, technical report 20170417); CASI, 72 bands of 367.7 to 1043.4 nm less eight.
MUUFL = Published(
    "muufl",
    {
        "trees": (0, 23246),
        "mostly grass": (0, 4270),
        "mixed ground surface": (0, 6882),
        "dirt and sand": (0, 1826),
        "road": (0, 6687),
        "water": (0, 466),
        "shadow of buildings": (0, 2233),
        "buildings": (0, 6240),
        "sidewalk": (0, 1385),
        "yellow curb": (0, 183),
        "cloth panels": (0, 269),
    },
    (405.8, 1005.3),
    64,
    "reflectance",
    1.0,
)

_CONTEST = "2013_IEEE_GRSS_DF_Contest_"
_MUUFL_FILE = "muufl_gulfport_campus_1_hsi_220_label.mat"


def read_published(folder: Path) -> LabelledScene | None:
    """The scene whose files lie in a folder, or None.

    Raises:
        UsageError: the files are there but their counts of labelled pixels are not those that were published.
    """
    files = {path.name.lower(): path for path in folder.iterdir() if path.is_file()}
    for names, read in _LAYOUTS:
        found = [files.get(name.lower()) for name in names]
        if all(found):
            try:
                return read(*found)
            except PhotoError as error:
                raise UsageError(str(error)) from None
    return None


def _from_maps(spectra: Path, lidar: Path, train: Path, test: Path) -> LabelledScene:
    """Four MATLAB files, as Houston and Trento go round: the counts of the labels tell which it is."""
    halves = _labels_of(train), _labels_of(test)
    for known in (HOUSTON, TRENTO):
        if tuple(int((half > 0).sum()) for half in halves) == _totals(known):
            return _assemble(known, _spectra(known, spectra), _heights(lidar), halves, train)
    raise UsageError(f"{train} and {test.name}: {_counted(halves)}; known are {_known(HOUSTON)} and {_known(TRENTO)}")


def _houston_contest(spectra: Path, lidar: Path, train: Path, test: Path) -> LabelledScene:
    """The contest's own files: two GeoTIFFs and two lists of pixels."""
    modality = _spectra(HOUSTON, spectra)
    halves = _listed(train, modality.valid.shape), _listed(test, modality.valid.shape)
    return _assemble(HOUSTON, modality, _heights(lidar), halves, train)


def _trento_whole(spectra: Path, lidar: Path, labels: Path) -> LabelledScene:
    """Trento with one map of all labels: no split comes with it."""
    whole = replace(TRENTO, classes={name: (0, train + test) for name, (train, test) in TRENTO.classes.items()})
    halves = np.zeros_like(_labels_of(labels)), _labels_of(labels)
    return _assemble(whole, _spectra(whole, spectra), _heights(lidar), halves, labels)


def _muufl(path: Path) -> LabelledScene:
    """The one structure of the scene labels' file."""
    from scipy import io

    try:
        hsi = io.loadmat(path, squeeze_me=True, struct_as_record=False)["hsi"]
        flights = np.atleast_1d(hsi.Lidar)
        cube, labels = np.asarray(hsi.Data, np.float32), np.asarray(hsi.sceneLabels.labels)
        heights = np.concatenate([np.atleast_3d(np.asarray(flight.z, np.float32)) for flight in flights], axis=-1)
        lengths = np.asarray(hsi.info.wavelength, np.float64).ravel()
        rgb = np.asarray(hsi.RGB)
    except Exception as error:  # a broken file breaks SciPy's reader in many ways
        raise UsageError(f"{path} is not the published structure: {' '.join(str(error).split())}") from None
    if cube.ndim != 3:
        raise UsageError(f"{path}: Data has the shape {cube.shape}; accepted: (H, W, {MUUFL.bands})")
    extra = len(lengths) - cube.shape[-1]  # where the file lists the noisy bands too, as many at either end
    lengths = lengths[extra // 2 : len(lengths) - (extra - extra // 2)] if extra > 0 else lengths
    modality = _modality("hyperspectral", cube, MUUFL.unit, check_wavelengths(path, list(lengths), cube.shape[-1]))
    halves = np.zeros(labels.shape, np.int16), np.clip(labels, 0, None).astype(np.int16)
    scene = _assemble(MUUFL, modality, _modality("lidar", heights, "metres"), halves, path)
    camera = rgb if rgb.dtype == np.uint8 else (np.clip(rgb.astype(np.float32), 0, 1) * 255).round().astype(np.uint8)
    return replace(scene, rgb=camera) if camera.shape == (*labels.shape, 3) else scene


_LAYOUTS: tuple[tuple[tuple[str, ...], Callable[..., LabelledScene]], ...] = (
    (("HSI.mat", "LiDAR.mat", "TRLabel.mat", "TSLabel.mat"), _from_maps),
    (
        tuple(f"{_CONTEST}{part}" for part in ("CASI.tif", "LiDAR.tif", "Samples_TR.txt", "Samples_VA.txt")),
        _houston_contest,
    ),
    (
        tuple(f"{_CONTEST}{part}" for part in ("CASI.tif", "LiDAR.tif", "Samples_TR.txt", "Samples_VA.zip")),
        _houston_contest,
    ),
    (("Italy_hsi.mat", "Italy_lidar.mat", "allgrd.mat"), _trento_whole),
    ((_MUUFL_FILE,), _muufl),
)


def _assemble(
    known: Published, spectra: Modality, heights: Modality, halves: tuple[Labels, Labels], path: Path
) -> LabelledScene:
    """Put the parts together, after a look at their shapes and counts.

    A class is known by its counts, as copies of a scene number the classes in different orders.
    """
    train, test = halves
    grid = spectra.valid.shape
    shapes = [heights.valid.shape, train.shape, test.shape]
    if any(shape != grid for shape in shapes) or spectra.values.shape[-1] != known.bands:
        found = f"{spectra.values.shape[-1]} bands of {grid} pixels beside {', '.join(map(str, shapes))}"
        raise UsageError(f"{path.parent}: {found}; {known.name} has {known.bands} bands on one grid")
    if ((train > 0) & (test > 0)).any():
        raise UsageError(f"{path}: a pixel is both to train on and to test on")
    by_counts = {counts: name for name, counts in known.classes.items()}
    names = []
    for label in range(1, max(int(train.max()), int(test.max())) + 1):
        counts = int((train == label).sum()), int((test == label).sum())
        if counts not in by_counts:
            raise UsageError(f"{path}: {_counted(halves)}, {counts} of label {label}; known is {_known(known)}")
        names.append(by_counts.pop(counts))
    if by_counts:
        raise UsageError(
            f"{path}: {_counted(halves)}, none of {', '.join(by_counts.values())}; known is {_known(known)}"
        )
    labels = np.where(train > 0, train, test).astype(np.int16)
    split = {STORED: (train > 0, test > 0)} if train.any() else {}
    dense = not split or known is TRENTO
    return LabelledScene(
        scene=Scene(known.name, (spectra, heights), np.zeros(grid, np.int32), known.ground_sampling),
        labels=labels,
        classes=tuple(names),
        splits=split,
        groups=cells(grid[0], grid[1], _CELL) if dense else patches(labels > 0, _PATCH),
    )


def _spectra(known: Published, path: Path) -> Modality:
    modality = read_modality(open_raster(path, "hyperspectral", unit=known.unit))
    if modality.wavelengths is not None or modality.values.shape[-1] != known.bands:
        return modality
    return replace(modality, wavelengths=np.linspace(*known.wavelengths, known.bands))


def _heights(path: Path) -> Modality:
    return read_modality(open_raster(path, "lidar", unit="metres"))


def _modality(
    name: str, values: npt.NDArray[np.float32], unit: Unit, lengths: npt.NDArray[np.float64] | None = None
) -> Modality:
    return Modality(name, values, np.logical_and.reduce(np.isfinite(values), axis=-1), unit, lengths)


def _labels_of(path: Path) -> Labels:
    values = read_modality(open_raster(path, "labels")).values[..., 0]
    if (values != np.rint(values)).any() or values.min() < 0 or values.max() > np.iinfo(np.int16).max:
        raise UsageError(f"{path} is no map of labels: whole numbers from 0 on are accepted")
    return values.astype(np.int16)


def _listed(path: Path, grid: tuple[int, ...]) -> Labels:
    """ENVI's list of regions' pixels: names and counts after semicolons, then rows of number, column and row from 1."""
    counts: list[int] = []
    pixels: list[tuple[int, int]] = []
    for line in _text(path):
        said = re.match(r";\s*ROI npts:\s*(\d+)", line)
        if said:
            counts.append(int(said[1]))
        elif line.strip() and not line.startswith(";"):
            words = line.split()
            try:
                pixels.append((int(words[2]) - 1, int(words[1]) - 1))
            except (IndexError, ValueError):
                raise UsageError(f"{path}: {line.strip()[:60]!r} is no pixel of a list of regions") from None
    if sum(counts) != len(pixels) or not pixels:
        raise UsageError(f"{path} speaks of {sum(counts)} pixels in {len(counts)} regions and lists {len(pixels)}")
    rows, columns = np.array(pixels).T
    if min(rows.min(), columns.min()) < 0 or rows.max() >= grid[0] or columns.max() >= grid[1]:
        raise UsageError(f"{path} lists a pixel outside {grid[1]} × {grid[0]}")
    labels = np.zeros(grid, np.int16)
    labels[rows, columns] = np.repeat(np.arange(1, len(counts) + 1), counts)
    return labels


def _text(path: Path) -> Iterator[str]:
    if path.suffix.lower() != ".zip":
        if path.stat().st_size > _MAX_TEXT:
            raise UsageError(f"{path} is no list of pixels: it has more than {_MAX_TEXT:,} bytes")
        return iter(path.read_text("utf-8", "replace").splitlines())
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [info for info in archive.infolist() if info.filename.lower().endswith("samples_va.txt")]
            if len(inside) != 1 or inside[0].file_size > _MAX_TEXT:
                raise UsageError(f"{path} holds no list of pixels; accepted: with {_CONTEST}Samples_VA.txt inside")
            with archive.open(inside[0]) as file:
                return iter(file.read(_MAX_TEXT).decode("utf-8", "replace").splitlines())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _totals(known: Published) -> tuple[int, int]:
    return sum(train for train, _ in known.classes.values()), sum(test for _, test in known.classes.values())


def _counted(halves: tuple[Any, Any]) -> str:
    train, test = (int((half > 0).sum()) for half in halves)
    return f"{train:,} and {test:,} labelled pixels"


def _known(known: Published) -> str:
    train, test = _totals(known)
    return f"{known.name} with {train:,} and {test:,}"
