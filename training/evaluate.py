"""Accuracy by task: each photo chooses among its task's labels by cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agriclip_edge.imaging.decode import RGB

from .data import Collection, Photos
from .evaluation.metrics import mean_per_class_accuracy as mean_per_class_accuracy
from .evaluation.subjects import Vectors as Vectors

Embed = Callable[[Sequence[RGB]], Vectors]


@dataclass(frozen=True)
class TaskResult:
    """How well one task is answered.

    Attributes:
        task: its name.
        classes: number of its labels, C; chance is 1 / C.
        photos: number of photos judged.
        accuracy: mean per-class accuracy, 0 to 1, over the classes that have photos.
    """

    task: str
    classes: int
    photos: int
    accuracy: float

    @property
    def chance(self) -> float:
        """Accuracy of a blind choice."""
        return 1 / self.classes


@dataclass(frozen=True)
class Table:
    """Results of all tasks that have photos."""

    results: tuple[TaskResult, ...]

    @property
    def mean(self) -> float:
        """Plain mean over tasks."""
        return float(np.mean([result.accuracy for result in self.results]))

    @property
    def chance(self) -> float:
        """Plain mean of the tasks' chances."""
        return float(np.mean([result.chance for result in self.results]))


def embed_photos(embed: Embed, photos: Photos, batch: int = 32) -> Vectors:
    """Embed all photos, ``batch`` at a time: float32 (N, D)."""
    parts = [embed(photos.rgb[start : start + batch]) for start in range(0, len(photos), batch)]
    return np.concatenate(parts)


def evaluate(embed: Embed, label_embeddings: Vectors, collection: Collection, photos: Photos) -> Table:
    """Judge an image encoder on every task of a collection.

    Args:
        embed: photos, upright RGB uint8 (H, W, 3), to unit vectors float32 (N, D).
        label_embeddings: unit vectors of ``collection.labels``, float32 (L, D).
        collection: the tasks.
        photos: of the collection.
    """
    return judge(embed_photos(embed, photos), label_embeddings, collection, photos)


def judge(
    vectors: Vectors, label_embeddings: Vectors, collection: Collection, photos: Photos, *, among_all: bool = False
) -> Table:
    """As `evaluate`, with photos that are embedded already: float32 (N, D).

    With ``among_all`` each photo chooses among the labels of all tasks, as with all label packs at once.
    """
    everything = np.arange(len(collection.labels))
    results = []
    for number, task in enumerate(collection.tasks):
        chosen = np.flatnonzero(photos.task == number)
        if len(chosen) == 0:
            continue
        rows = everything if among_all else np.array(collection.rows[number])
        cosines = vectors[chosen] @ label_embeddings[rows].T
        accuracy = mean_per_class_accuracy(rows[cosines.argmax(axis=1)], photos.label[chosen])
        results.append(TaskResult(task.name, len(rows), len(chosen), accuracy))
    return Table(tuple(results))
