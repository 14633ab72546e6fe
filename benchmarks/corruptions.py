"""How much accuracy the shipped bundle keeps when the field has spoilt the photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data import read_collection, read_photos
from training.robustness import STRENGTHS, judge_spoilt

from .environment import describe, versions
from .labels import label_vectors, open_classifier
from .record import Cell, Detail, Measurement
from .rounds import Step


@dataclass(frozen=True)
class CorruptionsConfig:
    """Which photos, and how badly they are spoilt."""

    collection: str = "alive-mini"
    split: str = "val"
    strengths: tuple[float, ...] = STRENGTHS
    every: int = 1  # of so many photos of each task one is judged

    @classmethod
    def tiny(cls) -> CorruptionsConfig:
        """A few photos, once spoilt."""
        return cls(strengths=(1.0,), every=16)


def measure(
    data: Path, bundle: Path | None, step: Step, config: CorruptionsConfig = CorruptionsConfig()
) -> Measurement:
    """Judge a bundle on photos under every corruption.

    Args:
        data: root of the data.
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: which photos.

    Raises:
        DataError: photos are missing or not as described.
        BundleError: the bundle cannot be used.
    """
    classifier = open_classifier(bundle)
    collection = read_collection(data / config.collection)
    photos = read_photos(collection, config.split)
    photos = photos.take(np.arange(0, len(photos), config.every))
    labels = label_vectors(classifier, collection)
    found = judge_spoilt(lambda rgb: classifier.embed(list(rgb)), labels, collection, photos, config.strengths, step)
    strengths = ((f"strength {strength:g}", ".1%") for strength in config.strengths)
    columns = (("corruption", ""), *strengths, ("mean", ".1%"))
    rows: list[tuple[Cell, ...]] = [("none", *([found.clean] * len(config.strengths)), found.clean)]
    rows += [(kind, *values, float(np.mean(values))) for kind, values in found.by_kind().items()]
    samples = {"clean": (found.clean,), "over_clean": (found.over_clean,)}
    samples |= {
        f"{kind.replace(' ', '_')}_over_clean": (float(np.mean(values)) / found.clean,)
        for kind, values in found.by_kind().items()
    }
    return Measurement(
        method=f"{len(photos):,} {config.split} photos of {config.collection} are spoilt as they are stored by each "
        "corruption of `training/distil/corruptions.py` at fixed strengths, 1 being as bad as photos that people still "
        f"send, and embedded by the SDK ({classifier.variant}). Mean per-class accuracy among the task's labels, plain "
        "mean over tasks; over clean: the mean over corruptions and strengths, over that of the same photos unspoilt. "
        "The encoder learnt with these kinds of corruption where its recipe says so, with other photos.",
        samples=samples,
        seeds={"grain of the first photo": 0},
        subject=describe(classifier.bundle),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=(Detail(f"{config.collection}, {config.split}, under corruptions", columns, tuple(rows)),),
    )
