"""Maps of scenes by the per-pixel transformer or by its convolutional student."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import find_objects

from agriclip_edge.bundle.manifest import SceneLevel, SceneModality
from agriclip_edge.errors import UsageError
from agriclip_edge.scene.classify import Embedder, Judge, Strip, Summary, classify_strips, count_tiles
from agriclip_edge.scene.sources import Sources
from agriclip_edge.scene.write import Ground, write_map

from .labelled import LabelledScene
from .spectrum import levels
from .student import STUDENT, StudentRun, Teacher, cut, load_student
from .windows import Windows

_STUDENT_SIDE = 128  # pixels of a tile
_TEACHER_SIDE = 64
_BATCH = 512  # windows

Values = Mapping[str, npt.NDArray[np.float32]]
Masks = Mapping[str, npt.NDArray[np.bool_]]


class ByStudent:
    """Tiles through the student, in one pass."""

    def __init__(self, run: StudentRun) -> None:
        self._student = run.student
        self.side = _STUDENT_SIDE
        self.receptive_field = run.student.receptive_field
        self.levels: Mapping[str, SceneLevel] = run.levels

    def embed(self, values: Values, valid: Masks) -> npt.NDArray[np.float32]:
        """Unit vectors float32 (H, W, D) of values (H, W, C) by modality; one that is not there is missing."""
        height, width = next(iter(values.values())).shape[:2]
        inputs = []
        for name, part in self._student.components.items():
            mask = valid.get(name, np.zeros((height, width), np.bool_))
            tile = values.get(name, np.zeros((height, width, part.channels), np.float32))
            cleared = np.where(mask[..., np.newaxis], tile, np.float32(0)).transpose(2, 0, 1)[np.newaxis]
            inputs += [torch.from_numpy(cleared.copy()), torch.from_numpy(mask.astype(np.float32)[None, None])]
        with torch.inference_mode():
            found: npt.NDArray[np.float32] = self._student(*inputs)[0].permute(1, 2, 0).numpy()
        return found


class ByTransformer:
    """Tiles pixel by pixel, a window each."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._dim = int(teacher.class_vectors.shape[1])
        self.side = _TEACHER_SIDE
        self.receptive_field = teacher.side
        self.levels: Mapping[str, SceneLevel] = levels(teacher.encoder.config)

    def embed(self, values: Values, valid: Masks) -> npt.NDArray[np.float32]:
        """Unit vectors float32 (H, W, D) of values (H, W, C) by modality; zeros where no modality has data."""
        seen = np.logical_or.reduce(list(valid.values()))
        tile = np.zeros(seen.shape, np.int32)
        cutters = {name: Windows(values[name], valid[name], tile, self._teacher.side) for name in values}
        pixels = np.argwhere(seen)
        found = np.zeros((*seen.shape, self._dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                some = pixels[start : start + _BATCH]
                found[some[:, 0], some[:, 1]] = self._teacher.embed(*cut(cutters, some)).numpy()
        return found


@dataclass(frozen=True)
class Mapper:
    """What makes maps: an embedder with its classes.

    Attributes:
        embedder: of tiles.
        judge: of embeddings.
        classes: K names.
        modalities: by name, as the embedder takes them.
        ground_sampling: metres a pixel that it was trained at, or None.
        view: a scene of the sensors that the embedder knows.
    """

    embedder: Embedder
    judge: Judge
    classes: tuple[str, ...]
    modalities: dict[str, SceneModality]
    ground_sampling: float | None
    view: Callable[[LabelledScene], LabelledScene]


def open_mapper(run: Path, threshold: float | None = None) -> Mapper:
    """The mapper of a run's folder: of a student where there is one, else of the transformer.

    Args:
        run: folder that ``student`` or ``bind`` wrote.
        threshold: confidence below which a pixel is none of the classes; None takes the student's own, or none.

    Raises:
        UsageError: the folder holds neither, or something broken.
    """
    if (run / STUDENT).is_file():
        student = load_student(run)
        sensors: Mapping[str, Any] = student.modalities
        least, unknown = (
            (student.figures.confidence, student.figures.cosine) if threshold is None else (threshold, None)
        )
        judge = Judge(student.class_vectors, student.temperature, least, unknown)
        modalities = {name: _modality(name, **facts) for name, facts in sensors.items()}
        return Mapper(
            ByStudent(student),
            judge,
            student.classes,
            modalities,
            student.ground_sampling,
            student.sensed,
        )
    from .run import load_run

    teacher = load_run(run)
    judge = Judge(teacher.class_vectors.detach().float().numpy(), float(teacher.temperature), threshold or 0.0)
    modalities = {
        name: _modality(name, sensor.channels, sensor.unit, sensor.wavelengths)
        for name, sensor in teacher.modalities.items()
    }
    return Mapper(ByTransformer(teacher), judge, tuple(teacher.classes), modalities, None, lambda scene: scene)


def _modality(name: str, channels: int, unit: Any, wavelengths: Any) -> SceneModality:
    return SceneModality(name, unit, int(channels), [] if wavelengths is None else [float(nm) for nm in wavelengths])


def map_rasters(
    mapper: Mapper, sources: Sources, output: Path, progress: Callable[[float, float, str], None]
) -> Summary:
    """Write the map of raster files, read window by window; see `agriclip_edge.scene.write.write_map`."""
    first = sources.first
    total = count_tiles(first.height, first.width, mapper.embedder)
    strips = classify_strips(
        sources, first.height, first.width, mapper.embedder, mapper.judge, _counted(total, progress)
    )
    ground = Ground(first.height, first.width, first.crs, first.transform, first.ground_sampling)
    return write_map(strips, ground, mapper.classes, output)


def map_scene(
    mapper: Mapper, labelled: LabelledScene, output: Path, progress: Callable[[float, float, str], None]
) -> Summary:
    """Write the map of a scene in memory, tile by tile: none looks across its border, each is levelled by itself.

    Raises:
        UsageError: the scene has none of the mapper's modalities.
    """
    scene = mapper.view(labelled).scene
    height, width = scene.tile.shape
    sensors = {m.name: m for m in scene.modalities if m.name in mapper.modalities}
    if not sensors:
        raise UsageError(f"the scene {scene.name} has none of: {', '.join(mapper.modalities)}")
    boxes = [(number, box) for number, box in enumerate(find_objects(scene.tile + 1)) if box is not None]
    shapes = [(rows.stop - rows.start, columns.stop - columns.start) for _, (rows, columns) in boxes]
    step = _counted(sum(count_tiles(tall, wide, mapper.embedder) for tall, wide in shapes), progress)

    def tiles() -> Iterator[Strip]:
        classes = np.zeros((height, width), np.uint8)
        confidence = np.zeros((height, width), np.float32)
        for (number, box), (tall, wide) in zip(boxes, shapes):
            inside = scene.tile[box] == number

            def read(rows: slice, columns: slice, box: Any = box, inside: Any = inside) -> tuple[Values, Masks]:
                values = {name: sensor.values[box][rows, columns] for name, sensor in sensors.items()}
                valid = {name: (sensor.valid[box] & inside)[rows, columns] for name, sensor in sensors.items()}
                return values, valid

            for strip in classify_strips(read, tall, wide, mapper.embedder, mapper.judge, step):
                own = inside[strip.rows]
                classes[box][strip.rows][own] = strip.classes[own]
                confidence[box][strip.rows][own] = strip.confidence[own]
        yield Strip(slice(0, height), classes, confidence)

    ground = Ground(height, width, scene.crs, scene.transform, scene.ground_sampling)
    return write_map(tiles(), ground, mapper.classes, output, scene.name)


def _counted(total: int, progress: Callable[[float, float, str], None]) -> Callable[[], None]:
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total, "tiles")

    return step
