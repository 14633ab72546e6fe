"""How far answers can be trusted: calibration, none of these, and what is called a bad photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.classifier import Classifier
from agriclip_edge.imaging.prepared import prepare
from agriclip_edge.imaging.quality import complaint
from training.answers import (
    Trust,
    auroc,
    calibration_error,
    chance_error,
    coverage_risk,
    judge_answers,
    reliability,
    selective_accuracy,
)
from training.calibration import softmax
from training.data import Collection, read_collection

from .environment import describe, versions
from .labels import label_vectors, open_classifier
from .record import Cell, Detail, Measurement
from .rounds import Step
from .tasks import photo_files

Pixels = npt.NDArray[np.uint8]
RELIABILITY, RISK = "Reliability, all packs", "Risk by coverage, all packs"
_KINDS = ("too-dark", "too-bright", "blurred")
_PACK_COLUMNS = (
    ("pack", ""),
    ("photos", "d"),
    ("calibration error", ".3f"),
    ("by chance", ".3f"),
    ("AUROC", ".4f"),
    ("right", ".1%"),
    ("right of the surest 80 %", ".1%"),
    ("answered", ".1%"),
    ("right of these", ".1%"),
    ("others told apart", ".1%"),
)


@dataclass(frozen=True)
class AnswersConfig:
    """Which photos: the first collection fits and is judged; labels of the others are typed, and nothing is fitted.

    The last of these was never trained on.
    """

    trained: str = "alive-mini"
    typed: tuple[tuple[str, str], ...] = (("alive-plus", "val"), ("downstream", "query"))
    every: int = 8  # of so many training photos one is looked at, spoilt or not


@dataclass(frozen=True)
class _Embedded:
    """Photos of a collection: unit vectors (N, D), task and label, int64 (N,)."""

    vectors: npt.NDArray[np.float32]
    task: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]


def measure(data: Path, bundle: Path | None, step: Step, config: AnswersConfig = AnswersConfig()) -> Measurement:
    """Judge the answers of a bundle's packs.

    Args:
        data: root of the data.
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: which photos.

    Raises:
        DataError: photos are missing or not as described.
        BundleError: the bundle cannot be used.
    """
    images = Bundle.open(bundle).manifest.image
    classifier = open_classifier(bundle, next(variant.name for variant in images if variant.runtime == "onnxruntime"))
    opened = classifier.bundle
    exact = [variant.name for variant in images if variant.precision in ("fp32", "fp16-weights")]
    collection = read_collection(data / config.trained)
    details = []
    trust = _judge(classifier, collection, step)
    samples = {f"{name}_{what}": (value,) for name, value, what in _figures(trust, "int8")}
    details.append(_packs(f"{config.trained}, {classifier.variant}", trust))
    if exact and exact[0] != classifier.variant:
        other = open_classifier(bundle, exact[0])
        full = _judge(other, collection, step)
        samples |= {f"{name}_{what}": (value,) for name, value, what in _figures(full, "float")}
        details.append(_packs(f"{config.trained}, {other.variant}", full))
    bins, curve = reliability(trust.confidence, trust.right), coverage_risk(trust.confidence, trust.right)
    details.append(Detail(RELIABILITY, (("confidence", ".3f"), ("right", ".3f"), ("photos", "d")), tuple(bins)))
    details.append(Detail(RISK, (("coverage", ".2f"), ("risk", ".4f")), tuple(curve)))
    if trust.typed is not None:
        names = ("error", "auroc", "lost", "rejected")
        samples |= {f"label_sets_{name}": (float(getattr(trust.typed, name)),) for name in names}
    for name, split in config.typed:
        if (data / name / "tasks.json").exists():
            typed, more = _typed(classifier, read_collection(data / name), split, step)
            details.append(typed)
            samples |= more
    details.append(_quality(opened.manifest.preprocessing.size, collection, step, config.every))
    return Measurement(
        method="Each val photo chooses among its task's labels. Temperature, threshold and least cosine of a pack are "
        "fitted on four fifths of its photos and judged on the fifth, as they ship fitted on all. Calibration error: "
        "bins of equal mass; by chance: the same for probabilities that are exactly right; unbiased: the root of the "
        "squared error's mean over packs, less what chance adds to it (Kumar et al. 2019); pooled: all packs in one. "
        "AUROC: the nearest label's "
        "cosine, the pack's photos against those of the collection's other tasks. Typed labels take the bundle's "
        "temperature and least cosine; nothing is fitted on them: of alive-plus, which was trained on where the bundle "
        "says so, and of downstream, which never was. Label sets are some labels of one to three tasks of alive-mini, "
        "judged by numbers that other tasks' labels and photos fitted: lost is the share of photos answered rightly "
        "that are called none of these, rejected that of other tasks' photos.",
        samples=samples,
        subject=describe(opened),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=tuple(details),
    )


def _figures(trust: Trust, what: str) -> list[tuple[str, float, str]]:
    named = {"calibration_error": "error", "chance_error": "chance_error", "auroc": "auroc", "selective": "selective"}
    means = [(name, trust.mean(figure), what) for name, figure in named.items()]
    pooled = calibration_error(trust.confidence, trust.right)
    return [
        *means,
        ("unbiased_calibration_error", trust.unbiased_error, what),
        ("pooled_calibration_error", pooled, what),
    ]


def _embed(classifier: Classifier, collection: Collection, split: str, step: Step) -> _Embedded:
    vectors, task, label = [], [], []
    for number, entry in enumerate(collection.tasks):
        step(number, len(collection.tasks), f"{collection.name} by {classifier.variant}: {entry.name}")
        files = photo_files(collection.root, entry, split)
        vectors.append(classifier.embed([data for _, data in files]))
        task += [number] * len(files)
        label += [collection.labels.index(word) for word, _ in files]
    return _Embedded(np.concatenate(vectors), np.array(task, np.int64), np.array(label, np.int64))


def _judge(classifier: Classifier, collection: Collection, step: Step) -> Trust:
    photos = _embed(classifier, collection, "val", step)
    names = [task.name for task in collection.tasks]
    cosines = (photos.vectors @ label_vectors(classifier, collection).T).astype(np.float64)
    return judge_answers(cosines, photos.task, photos.label, names, collection.rows)


def _packs(title: str, trust: Trust) -> Detail:
    figures = ("error", "chance_error", "auroc", "accuracy", "selective", "answered", "answered_right", "rejected")
    rows: list[tuple[Cell, ...]] = [
        (one.pack, one.photos, *(getattr(one, name) for name in figures)) for one in trust.packs
    ]
    rows.append(("mean over packs", len(trust.right), *(trust.mean(name) for name in figures)))
    return Detail(title, _PACK_COLUMNS, tuple(rows))


def _typed(
    classifier: Classifier, collection: Collection, split: str, step: Step
) -> tuple[Detail, dict[str, tuple[float]]]:
    """Typed labels under the bundle's temperature and least cosine."""
    photos = _embed(classifier, collection, split, step)
    unknown = classifier.bundle.manifest.unknown
    least = -1.0 if unknown is None else unknown
    words = classifier.build_pack(list(collection.labels)).embeddings
    cosines = (photos.vectors @ words.T).astype(np.float64)
    rows: list[tuple[Cell, ...]] = []
    for number, task in enumerate(collection.tasks):
        inside, offered = photos.task == number, np.array(collection.rows[number])
        shares = softmax(cosines[np.ix_(inside, offered)], classifier.bundle.manifest.temperature)
        confidence, right = shares.max(axis=1), offered[shares.argmax(axis=1)] == photos.label[inside]
        outside = ~inside & ~np.isin(photos.label, offered)
        nearest = cosines[:, offered].max(axis=1)
        apart = auroc(nearest[inside], nearest[outside]) if outside.any() else 1.0
        error, chance = calibration_error(confidence, right), chance_error(confidence)
        kept = selective_accuracy(confidence, right)
        lost = float((nearest[inside][right] < least).mean()) if right.any() else 0.0
        rejected = float((nearest[outside] < least).mean()) if outside.any() else 1.0
        rows.append((task.name, int(inside.sum()), error, chance, apart, float(right.mean()), kept, lost, rejected))
    means = [float(np.mean([float(row[column]) for row in rows])) for column in range(2, 9)]
    rows.append(("mean over tasks", len(photos.task), *means))
    title = f"{collection.name}, {split}, typed labels, the bundle's temperature and least cosine"
    columns = (*_PACK_COLUMNS[:7], ("right, called none", ".1%"), ("others told apart", ".1%"))
    kind = "typed" if collection.name == "alive-plus" else "unseen"
    figures = ("calibration_error", "chance_error", "auroc", "accuracy", "selective", "lost", "rejected")
    return Detail(title, columns, tuple(rows)), {f"{name}_{kind}": (value,) for name, value in zip(figures, means)}


def _quality(size: int, collection: Collection, step: Step, every: int) -> Detail:
    """What training photos are called as they are, and spoilt."""

    def blur(radius: float) -> Callable[[Pixels], Pixels]:
        return lambda square: np.asarray(Image.fromarray(square).filter(ImageFilter.GaussianBlur(radius)))

    spoilt: dict[str, Callable[[Pixels], Pixels]] = {
        "as they are": lambda square: square,
        "an eighth of the light": lambda square: square // 8,
        "three times the light": lambda square: np.minimum(square.astype(np.uint16) * 3, 255).astype(np.uint8),
        "Gaussian blur, 2 pixels": blur(2),
        "Gaussian blur, 4 pixels": blur(4),
    }
    called: dict[str, list[str | None]] = {name: [] for name in spoilt}
    for number, task in enumerate(collection.tasks):
        step(number, len(collection.tasks), f"{collection.name}, photos dark, bright and blurred: {task.name}")
        for _, data in photo_files(collection.root, task, "train")[::every]:
            square = prepare(data, size).square
            for name, spoil in spoilt.items():
                called[name].append(complaint(spoil(square)))
    rows: tuple[tuple[Cell, ...], ...] = tuple((name, len(found), *_shares(found)) for name, found in called.items())
    columns: tuple[tuple[str, str], ...] = (
        ("training photos", ""),
        ("photos", "d"),
        *((kind, ".1%") for kind in _KINDS),
    )
    return Detail("Photos called bad, had their answers been unsure", columns, rows)


def _shares(found: Sequence[str | None]) -> list[float]:
    return [found.count(kind) / max(1, len(found)) for kind in _KINDS]
