"""Accuracy of the shipped bundle: each photo, from its JPEG bytes, chooses among its task's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agriclip_edge.classifier import Classifier
from agriclip_edge.labels.pack import Label, LabelPack
from training.data import Task, read_collection
from training.evaluate import mean_per_class_accuracy

from .environment import describe, versions
from .labels import open_classifier
from .record import Cell, Detail, Measurement
from .rounds import Step
from .tasks import photo_files

_LEVEL = 0.95
_COLUMNS = (
    ("task", ""),
    ("photos", "d"),
    ("classes", "d"),
    ("chance", ".1%"),
    ("accuracy", ".1%"),
    ("low", ".1%"),
    ("high", ".1%"),
    ("labels", ""),
)


@dataclass(frozen=True)
class AccuracyConfig:
    """Which photos are judged: the first collection gives the figure, the others are for information."""

    collections: tuple[tuple[str, str], ...] = (("alive-mini", "val"), ("alive-plus", "val"), ("downstream", "query"))
    draws: int = 4000
    seed: int = 0

    @classmethod
    def tiny(cls) -> AccuracyConfig:
        """The first collection alone."""
        return cls(collections=(("alive-mini", "val"),), draws=200)


@dataclass(frozen=True)
class TaskAnswers:
    """How the photos of one task were answered.

    Attributes:
        task: the task.
        actual: number of each photo's class, int64 (N,).
        predicted: number of the class that was chosen, int64 (N,).
        labels: ``pack`` when the bundle's own pack named the classes, ``typed`` when they were embedded on the spot.
    """

    task: Task
    actual: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    labels: str

    @property
    def accuracy(self) -> float:
        """Mean per-class accuracy."""
        return mean_per_class_accuracy(self.predicted, self.actual)


def measure(data: Path, bundle: Path | None, step: Step, config: AccuracyConfig = AccuracyConfig()) -> Measurement:
    """Judge a bundle on every task of the collections.

    Args:
        data: root of the data.
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: what is judged.

    Raises:
        DataError: photos are missing or not as described.
        BundleError: the bundle cannot be used.
    """
    classifier = open_classifier(bundle)
    samples: dict[str, tuple[float]] = {}
    intervals: dict[str, tuple[float, float]] = {}
    details: list[Detail] = []
    for name, split in config.collections:
        collection = read_collection(data / name)
        tasks = collection.tasks
        answers = []
        for number, task in enumerate(tasks):
            step(number, len(tasks), f"{name} {split}: {task.name}")
            answers.append(answer_task(classifier, data / name, task, split))
        draws = np.stack(
            [
                resample(answer.predicted, answer.actual, config.draws, config.seed + row)
                for row, answer in enumerate(answers)
            ]
        )
        samples[name] = (float(np.mean([answer.accuracy for answer in answers])),)
        intervals[name] = _interval(draws.mean(axis=0))
        details.append(_table(f"{name}, {split}", answers, draws, samples[name][0], intervals[name]))
    samples |= rounding(classifier)
    return Measurement(
        method="Each photo is embedded from its JPEG bytes by the SDK and takes the nearest of its task's labels by "
        "cosine; mean per-class accuracy a task, then the plain mean over tasks. Low and high: 95 % bootstrap interval "
        f"over the photos of each task, {config.draws:,} draws. Labels: from the bundle's pack of the task, or typed, "
        "embedded by the bundle's text encoder. The train photos of alive-mini and alive-plus were trained on; "
        "downstream selects nothing. What INT8 loses is what the export's gate measured on the validation photos and "
        "views of them, in points below float32; below 0 INT8 is the better one.",
        samples=samples,
        intervals=intervals,
        seeds={"bootstrap": config.seed},
        subject=describe(classifier.bundle),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=tuple(details),
    )


def rounding(classifier: Classifier) -> dict[str, tuple[float]]:
    """What INT8 loses by the figures of the export's gate; empty where the bundle has no such variant."""
    for variant in classifier.bundle.manifest.image:
        if (variant.runtime, variant.precision) == ("onnxruntime", "int8") and "drop_mean" in variant.figures:
            names = {"int8_drop_points": "drop_mean", "int8_worst_drop_points": "drop_task"}
            return {name: (variant.figures[figure],) for name, figure in names.items()}
    return {}


def answer_task(classifier: Classifier, root: Path, task: Task, split: str) -> TaskAnswers:
    """Let the photos of one task choose among its classes."""
    files = photo_files(root, task, split)
    names = [entry.label for entry in task.classes]
    pack, labels = _task_pack(classifier, task.name, names)
    row_of = {label.text: row for row, label in enumerate(pack.labels)}
    embeddings = pack.embeddings[[row_of[name] for name in names]]
    vectors = classifier.embed([data for _, data in files])
    actual = np.array([names.index(label) for label, _ in files], np.int64)
    return TaskAnswers(task, actual, (vectors @ embeddings.T).argmax(axis=1), labels)


def resample(
    predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64], draws: int, seed: int
) -> npt.NDArray[np.float64]:
    """Bootstrap mean per-class accuracy: the photos of a task are drawn with replacement.

    Args:
        predicted: class of each photo as chosen, int64 (N,).
        actual: class of each photo as it is, int64 (N,).
        draws: how many times.
        seed: of the draws.

    Returns:
        float64 (draws,); a class of which a draw has no photo does not count in it.
    """
    photos = len(actual)
    times = np.random.default_rng(seed).multinomial(photos, np.full(photos, 1 / photos), draws).astype(np.float64)
    member = (actual[:, np.newaxis] == np.unique(actual)).astype(np.float64)  # (N, C)
    drawn = times @ member
    right = times @ (member * (predicted == actual)[:, np.newaxis])
    shares = np.divide(right, drawn, out=np.full_like(right, np.nan), where=drawn > 0)
    return np.asarray(np.nanmean(shares, axis=1))


def _task_pack(classifier: Classifier, task: str, names: list[str]) -> tuple[LabelPack, str]:
    """The bundle's pack of a task, when it holds all the task's labels; else the labels embedded on the spot."""
    bundle = classifier.bundle
    if task in {entry.name for entry in bundle.manifest.packs}:
        pack = bundle.pack(task)
        if set(names) <= {label.text for label in pack.labels}:
            return pack, "pack"
    return classifier.build_pack([Label(name) for name in names]), "typed"


def _interval(draws: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _table(
    title: str,
    answers: Sequence[TaskAnswers],
    draws: npt.NDArray[np.float64],
    mean: float,
    interval: tuple[float, float],
) -> Detail:
    rows: list[tuple[Cell, ...]] = []
    for answer, drawn in zip(answers, draws):
        classes = len(answer.task.classes)
        low, high = _interval(drawn)
        row = (answer.task.name, len(answer.actual), classes, 1 / classes, answer.accuracy, low, high, answer.labels)
        rows.append(row)
    chance = float(np.mean([1 / len(answer.task.classes) for answer in answers]))
    photos, classes = sum(len(answer.actual) for answer in answers), sum(len(answer.task.classes) for answer in answers)
    rows.append(("mean over tasks", photos, classes, chance, mean, *interval, ""))
    return Detail(title, _COLUMNS, tuple(rows))
