"""Maps on disk: GeoTIFFs strip by strip and pictures of them, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RuntimeUnavailable, UsageError
from ..files import atomic_write
from .classify import NO_DATA, NONE, Strip, Summary
from .draw import Preview, draw_classes, draw_confidence, palette

if TYPE_CHECKING:
    from PIL import Image

_NO_CONFIDENCE = np.uint8(255)  # in a confidence map, whose other values are per cent


@dataclass(frozen=True)
class Ground:
    """Where a map lies: its size in pixels, its place, and the metres a pixel.

    Attributes:
        height: pixels.
        width: pixels.
        crs: coordinate reference system as WKT, or "".
        transform: the six numbers of rasterio's affine map, or None.
        sampling: metres a pixel, or None when nobody knows.
    """

    height: int
    width: int
    crs: str = ""
    transform: tuple[float, ...] | None = None
    sampling: float | None = None


def check_output(output: Path) -> None:
    """Refuse a place for a map before any work is done.

    Raises:
        UsageError: another suffix than .tif, .tiff and .png, or no folder there.
        RuntimeUnavailable: a GeoTIFF, and rasterio is not installed.
    """
    if output.suffix.lower() not in (".tif", ".tiff", ".png"):
        raise UsageError(f"--output {output}; accepted: a name that ends in .tif or .png")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: no such folder")
    if output.suffix.lower() != ".png":
        _rasterio()


def write_map(strips: Iterable[Strip], ground: Ground, labels: Sequence[str], output: Path, title: str = "") -> Summary:
    """Write a map as its strips come.

    ``map.tif`` is written with ``map-confidence.tif`` and the pictures ``map.png`` and ``map-confidence.png``;
    ``map.png`` with its confidence alone.

    Args:
        strips: from the top down.
        ground: where it lies.
        labels: names of the classes, in the order of their numbers from 1 on.
        output: of the classes.
        title: a line above the legend.

    Returns:
        what was counted.

    Example:
        >>> import tempfile
        >>> strips = [Strip(slice(0, 1), np.array([[1, 1, 2]], np.uint8), np.ones((1, 3), np.float32))]
        >>> path = Path(tempfile.mkdtemp()) / "map.png"
        >>> write_map(strips, Ground(1, 3), ["maize", "soil"], path).to_record()["classes"][0]["pixels"]
        2
    """
    summary = Summary(tuple(labels), ground.sampling**2 if ground.sampling is not None else None)
    preview = Preview(ground.height, ground.width)
    confidence = output.with_name(f"{output.stem}-confidence{output.suffix}")
    with (
        nullcontext() if output.suffix.lower() == ".png" else _map_writer(output, confidence, ground, labels) as writer
    ):
        for strip in strips:
            summary.add(strip)
            preview.add(strip)
            if writer is not None:
                writer.add(strip)
    _save(draw_classes(preview.classes, summary, title), output.with_suffix(".png"))
    _save(draw_confidence(preview.classes, preview.confidence, title), confidence.with_suffix(".png"))
    return summary


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_write(path) as file:
        picture.save(file, "PNG", optimize=True)


class _MapWriter:
    """Writes two GeoTIFFs of one byte a pixel: classes in colours with their names, and confidence in per cent."""

    def __init__(self, classes: Any, confidence: Any) -> None:
        self._classes, self._confidence = classes, confidence

    def add(self, strip: Strip) -> None:
        """Write some rows."""
        from rasterio.windows import Window

        height, width = strip.classes.shape
        window = Window(0, strip.rows.start, width, height)
        self._classes.write(strip.classes, 1, window=window)
        per_cent = np.rint(100 * strip.confidence).astype(np.uint8)
        self._confidence.write(np.where(strip.classes == NO_DATA, _NO_CONFIDENCE, per_cent), 1, window=window)


@contextmanager
def _map_writer(path: Path, confidence: Path, ground: Ground, labels: Sequence[str]) -> Iterator[_MapWriter]:
    """Open the GeoTIFFs of a map; they take their places when the block ends without an error."""
    rasterio = _rasterio()
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": ground.height, "width": ground.width,
        "compress": "deflate", "bigtiff": "if_safer", "crs": ground.crs or None,
    }  # fmt: skip
    if ground.transform is not None:
        profile["transform"] = rasterio.Affine(*ground.transform)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        drafts = [Path(folder) / f"{number}.tif" for number in range(2)]
        with _errors_of(path, rasterio), _Datasets(rasterio, drafts, profile) as (classes, shares):
            classes.write_colormap(1, palette(len(labels)))
            names = {NO_DATA: "no data", **dict(enumerate(labels, start=1)), NONE: "none of these"}
            classes.update_tags(1, **{str(value): label for value, label in names.items()})
            yield _MapWriter(classes, shares)
        for draft, target in zip(drafts, (path, confidence)):
            os.replace(draft, target)


class _Datasets:
    """GeoTIFFs that are open together."""

    def __init__(self, rasterio: Any, paths: Sequence[Path], profile: dict[str, Any]) -> None:
        self._rasterio, self._paths, self._profile = rasterio, paths, profile

    def __enter__(self) -> list[Any]:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a raster without a place on the ground, which a scene may be
            nodata = (NO_DATA, int(_NO_CONFIDENCE))
            self._open = [
                self._rasterio.open(path, "w", nodata=value, **self._profile)
                for path, value in zip(self._paths, nodata)
            ]
        return self._open

    def __exit__(self, *error: object) -> None:
        for dataset in self._open:
            dataset.close()


@contextmanager
def _errors_of(path: Path, rasterio: Any) -> Iterator[None]:
    try:
        yield
    except rasterio.errors.RasterioError as error:
        raise OSError(5, " ".join(str(error).split())[:200], str(path)) from None


def _rasterio() -> Any:
    try:
        import rasterio
    except ImportError:
        message = 'GeoTIFF needs rasterio: pip install "agriclip-edge[scene]", or write --output map.png'
        raise RuntimeUnavailable(message) from None
    return rasterio
