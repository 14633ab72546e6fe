"""What `agriclip-edge drift` says of photos that the bundle knows, of other tasks' photos and of spoilt ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agriclip_edge.classifier import Classifier
from agriclip_edge.drift import SIZES, Reference, compare
from training.data import Photos, read_collection, read_photos
from training.distil.corruptions import KINDS, corrupt

from .environment import describe, versions
from .labels import open_classifier
from .record import BenchmarkError, Cell, Detail, Measurement
from .rounds import Step

_STATES = ("known", "edge", "left")


@dataclass(frozen=True)
class DriftConfig:
    """Which photos: the first collection made the reference statistics, the others did not."""

    known: tuple[str, str] = ("alive-mini", "val")
    others: tuple[tuple[str, str], ...] = (("alive-plus", "val"), ("downstream", "query"))
    sample: int = 16  # photos that are held against what is known at once
    samples: int = 8  # of a task, at most
    spoilt: int = 2  # of so many known photos one is spoilt
    strength: float = 1.0

    @classmethod
    def tiny(cls) -> DriftConfig:
        """The known photos alone, a few of them spoilt."""
        return cls(others=(), sample=8, samples=1)


@dataclass(frozen=True)
class _Group:
    """Photos of one kind: unit vectors (N, D), and the task of each, int64 (N,)."""

    title: str
    vectors: npt.NDArray[np.float32]
    task: npt.NDArray[np.int64]


def measure(data: Path, bundle: Path | None, step: Step, config: DriftConfig = DriftConfig()) -> Measurement:
    """Ask for drift in samples of one task each.

    Args:
        data: root of the data.
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: which photos.

    Raises:
        DataError: photos are missing or not as described.
        BenchmarkError: the bundle has no reference statistics.
    """
    classifier = open_classifier(bundle)
    reference, name = classifier.bundle.reference, classifier.bundle.manifest.name
    if reference is None:
        raise BenchmarkError(f"{name} has no reference statistics; accepted: a bundle with them")
    rows: list[tuple[Cell, ...]] = []
    shares: dict[str, list[float]] = {}
    for number, group in enumerate(_groups(classifier, data, step, config)):
        kind = "known" if number == 0 else "spoilt" if group.title in KINDS else "other"
        states, ratio = _states(reference, group, config)
        if not states:
            raise BenchmarkError(f"{group.title}: too few photos of any task; accepted: at least {SIZES[0]} of one")
        found = [states.count(state) / len(states) for state in _STATES]
        rows.append((group.title, len(group.vectors), len(states), ratio, *found))
        shares.setdefault(kind, []).append(found[0] if kind == "known" else found[2])
    samples = {"known_as_known": tuple(shares["known"])}
    samples |= {f"{kind}_left": tuple(shares[kind]) for kind in ("other", "spoilt") if kind in shares}
    columns = (("photos", ""), ("number", "d"), ("samples", "d"), ("ratio", ".2f"), *((s, ".0%") for s in _STATES))
    return Measurement(
        method=f"Samples of up to {config.sample} photos of one task, {config.samples} of a task at most, are held "
        "against the bundle's reference statistics as `agriclip-edge drift` does; ratio: mean distance from what is "
        "known, 1 being usual. The reference knows the labels of the first row's tasks; its limits of chance come of "
        f"these very photos. Spoilt are photos of the first row, at strength {config.strength:g}.",
        samples=samples,
        seeds={"samples": 0},
        subject=describe(classifier.bundle),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=(Detail("What drift says", columns, tuple(rows)),),
    )


def _groups(classifier: Classifier, data: Path, step: Step, config: DriftConfig) -> Iterable[_Group]:
    """The known photos, those of other tasks, and known ones spoilt by each corruption."""
    total, done = 1 + len(config.others) + len(KINDS), 0
    known: Photos | None = None
    for name, split in (config.known, *config.others):
        step(done, total, f"{name}, {split}")
        photos = read_photos(read_collection(data / name), split)
        known, done = known or photos, done + 1
        yield _Group(f"{name}, {split}", classifier.embed(list(photos.rgb)), photos.task)
    assert known is not None
    some = known.take(np.arange(0, len(known), config.spoilt))
    for kind in KINDS:
        step(done, total, kind)
        done += 1
        rgb = [corrupt(photo, kind, config.strength, number) for number, photo in enumerate(some.rgb)]
        yield _Group(kind, classifier.embed(list(rgb)), some.task)


def _states(reference: Reference, group: _Group, config: DriftConfig) -> tuple[list[str], float]:
    """What is said of each sample, and the mean ratio over all photos."""
    generator = np.random.default_rng(0)
    states = []
    for number in np.unique(group.task):
        members = generator.permutation(np.flatnonzero(group.task == number))
        parts = [members[at : at + config.sample] for at in range(0, len(members), config.sample)][: config.samples]
        for part in parts:
            if len(part) >= max(SIZES[0], config.sample // 2):  # the last few would say little
                states.append(compare(reference, group.vectors[part], [""] * len(part)).state)
    return states, float(reference.ratios(group.vectors).mean())
