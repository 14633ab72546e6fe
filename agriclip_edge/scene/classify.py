"""A raster of any size becomes a map of classes, tile by tile in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..answer import THRESHOLD
from ..errors import LabelError, UsageError
from ..labels.pack import LabelPack
from .level import Leveller
from .tiles import pieces

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..bundle.manifest import Manifest, SceneLevel

NO_DATA = 0  # in a map: no sensor saw the pixel; classes are numbered from 1
NONE = 255  # in a map: none of these
MAX_CLASSES = 254
_SQUARE_METRES_OF_HECTARE = 1e4


class Window(Protocol):
    """Reads a part of a raster."""

    def __call__(
        self, rows: slice, columns: slice
    ) -> tuple[Mapping[str, npt.NDArray[np.float32]], Mapping[str, npt.NDArray[np.bool_]]]:
        """Values (h, w, C) and where there is data (h, w), by modality."""


class Embedder(Protocol):
    """Gives each pixel of a tile its embedding, of what lies within ``receptive_field`` pixels of it.

    Attributes:
        side: of the tiles that it takes at most, pixels.
        receptive_field: pixels, odd.
        levels: of the modalities that it wants levelled (`Leveller`), by name.
    """

    side: int
    receptive_field: int
    levels: Mapping[str, SceneLevel]

    def embed(
        self, values: Mapping[str, npt.NDArray[np.float32]], valid: Mapping[str, npt.NDArray[np.bool_]]
    ) -> npt.NDArray[np.float32]:
        """Unit vectors float32 (H, W, D) of values (H, W, C) by modality, levelled where it wants them so."""


@dataclass(frozen=True)
class Judge:
    """Turns embeddings into classes.

    Attributes:
        embeddings: unit vectors of the C classes, float32 (C, D).
        temperature: confidence is softmax(cosine / temperature).
        threshold: least confidence of a class; below it a pixel is none of these.
        unknown: least cosine of a pixel that is one of the classes; None takes every pixel for one.

    Example:
        >>> judge = Judge(np.eye(2, dtype=np.float32), temperature=0.1, threshold=0.6)
        >>> judge(np.array([[1, 0], [0.7071, 0.7071]], np.float32))[0].tolist()
        [1, 255]
    """

    embeddings: npt.NDArray[np.float32]
    temperature: float
    threshold: float = THRESHOLD
    unknown: float | None = None

    def __post_init__(self) -> None:
        """Refuse more classes than a map can number."""
        if len(self.embeddings) > MAX_CLASSES:
            raise LabelError(f"{len(self.embeddings)} labels; a map holds at most {MAX_CLASSES}")

    def __call__(self, vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Classes from 1 on or `NONE`, uint8 (N,), and confidence of the best class, float32 (N,), of (N, D)."""
        cosines = vectors @ self.embeddings.T
        best = cosines.argmax(axis=1)
        nearest = np.take_along_axis(cosines, best[:, np.newaxis], axis=1)
        confidence = (1 / np.exp((cosines - nearest) / np.float32(self.temperature)).sum(axis=1)).astype(np.float32)
        sure = confidence >= self.threshold
        if self.unknown is not None:
            sure &= nearest[:, 0] >= self.unknown
        return np.where(sure, best + 1, NONE).astype(np.uint8), confidence


def judge_of(pack: LabelPack, manifest: Manifest, threshold: float | None = None) -> Judge:
    """How a bundle's manifest and a pack judge: as with photos, a pack's own numbers go before the bundle's.

    Args:
        pack: the labels.
        manifest: of the bundle.
        threshold: in place of the pack's and the bundle's.
    """
    return Judge(
        pack.embeddings,
        pack.temperature or manifest.temperature,
        threshold if threshold is not None else pack.threshold or manifest.threshold or THRESHOLD,
        pack.unknown if pack.unknown is not None else manifest.unknown,
    )


@dataclass(frozen=True)
class Strip:
    """Some rows of a map.

    Attributes:
        rows: which.
        classes: uint8 (h, W): `NO_DATA`, classes from 1 on, `NONE`.
        confidence: float32 (h, W): of the best class, also where it is not sure enough; 0 where there is no data.
    """

    rows: slice
    classes: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]


def classify_strips(
    read: Window,
    height: int,
    width: int,
    model: Embedder,
    judge: Judge,
    step: Callable[[], None] = lambda: None,
) -> Iterator[Strip]:
    """Classify a raster in tiles that overlap by the receptive field, so that a tile's border shows nowhere.

    Memory is that of one tile and one strip of the map. For an encoder that wants levelled values the means over this
    raster are taken in a pass before.

    Args:
        read: gives parts of the raster.
        height: of the raster, pixels.
        width: of the raster, pixels.
        model: the encoder.
        judge: the classes.
        step: called after each tile; `count_tiles` says how many there are.

    Yields:
        strips from the top down.

    Raises:
        UsageError: the raster is smaller than half a receptive field.
    """
    margin = model.receptive_field // 2
    if min(height, width) <= margin:
        raise UsageError(f"a raster of {width} by {height} pixels; accepted: at least {margin + 1} either way")
    if model.levels:
        read = Leveller(read, model.levels, height, width, model.side, step)
    for rows, row in groupby(pieces(height, width, model.side, margin), key=lambda piece: piece.inner[0]):
        classes = np.zeros((rows.stop - rows.start, width), np.uint8)
        confidence = np.zeros(classes.shape, np.float32)
        for piece in row:
            values, valid = read(*piece.outer)
            seen = np.logical_or.reduce([mask[piece.within] for mask in valid.values()])
            if seen.any():
                vectors = model.embed(values, valid)[piece.within][seen]
                columns = piece.inner[1]
                classes[:, columns][seen], confidence[:, columns][seen] = judge(vectors)
            step()
        yield Strip(rows, classes, confidence)


def count_tiles(height: int, width: int, model: Embedder) -> int:
    """How many tiles `classify_strips` reads: those that it levels by, if any, and those that it classifies."""
    sides = [model.side - model.receptive_field + 1, *([model.side] if model.levels else [])]
    return sum(-(-height // side) * -(-width // side) for side in sides)


@dataclass
class Summary:
    """What a map shows, counted as its strips come.

    Attributes:
        labels: of the classes, in their order.
        pixel_area: square metres, or None when the ground sampling is not known.
        counts: pixels by their number in the map, (256,).
    """

    labels: tuple[str, ...]
    pixel_area: float | None = None
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, strip: Strip) -> None:
        """Count a strip."""
        self.counts += np.bincount(strip.classes.ravel(), minlength=256)

    @property
    def pixels(self) -> int:
        """Pixels that a sensor saw."""
        return int(self.counts.sum() - self.counts[NO_DATA])

    def to_record(self) -> dict[str, Any]:
        """The counts as JSON: pixels, share of those seen and, with a known ground sampling, hectares.

        Example:
            >>> summary = Summary(("maize", "olive tree"), pixel_area=100.0)
            >>> summary.add(Strip(slice(0, 1), np.array([[1, 1, 2, 255]], np.uint8), np.ones((1, 4), np.float32)))
            >>> summary.to_record()["classes"][0]
            {'label': 'maize', 'value': 1, 'pixels': 2, 'share': 0.5, 'hectares': 0.02}
        """
        classes = [self._entry(label, number) for number, label in enumerate(self.labels, start=1)]
        return {
            "pixels": int(self.counts.sum()),
            "no_data": int(self.counts[NO_DATA]),
            "classes": classes,
            "none_of_these": self._entry("none of these", NONE),
        }

    def _entry(self, label: str, number: int) -> dict[str, Any]:
        count = int(self.counts[number])
        entry = {"label": label, "value": number, "pixels": count, "share": round(count / max(self.pixels, 1), 6)}
        if self.pixel_area is not None:
            entry["hectares"] = round(count * self.pixel_area / _SQUARE_METRES_OF_HECTARE, 6)
        return entry
