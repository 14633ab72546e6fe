"""What facts, looks and photos of the place buy where nobody trained on a label: each task left out, in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from agriclip_edge.adaptation import SHARE
from training.align.encoders import Backbone
from training.align.features import FeatureStore
from training.align.ridge import RidgeSums
from training.data import join_photos, read_collection, read_photos
from training.directions import Directions
from training.evaluate import Vectors, judge
from training.evaluation.metrics import interval
from training.general import imagenet_texts
from training.image_tower import LOOKS_SHARE
from training.looks import fit_words
from training.sampling import photo_weights
from training.symptoms import with_symptoms

from .environment import versions
from .places import DRAWS, PLACES, Place, origins
from .record import Cell, Detail, Measurement
from .rounds import Step

_COLUMNS = (("trained on", ""), ("judged by labels as", ""), ("accuracy, %", ".1f"), ("gain over names", ""))
_PLACES = (
    ("photos of the place", ""),
    ("share of their mean taken off", ".2f"),
    ("accuracy, %", ".1f"),
    ("gain over none", ""),
)
_DRAWS = 10_000
_COMMON = PLACES[1]  # as many as the documents ask for


@dataclass(frozen=True)
class FactsConfig:
    """What is compared.

    Attributes:
        collections: whose tasks are left out in turn.
        share: of the symptoms in a label's vector.
        strength: penalty of the ridge maps, as a multiple of the features' mean variance.
        looks: numbers that say how a photo looks (`training.looks`).
    """

    collections: tuple[str, ...] = ("alive-mini", "alive-plus")
    share: float = 2 / 3
    strength: float = 0.3
    looks: int = 256

    @classmethod
    def tiny(cls) -> FactsConfig:
        """One collection."""
        return cls(collections=("alive-mini",), looks=8)


def measure(
    data: Path,
    backbone: Backbone,
    text: Any,
    store: FeatureStore,
    step: Step,
    config: FactsConfig = FactsConfig(),
    classifier: torch.Tensor | None = None,
) -> Measurement:
    """Map frozen features to labels' vectors without a task, and judge the task.

    Args:
        data: root of the data.
        backbone: gives features; it must not have seen the photos.
        text: embeds prompts.
        store: keeps features.
        step: tells how far it is.
        config: what is compared.
        classifier: rows of ImageNet's classes over these features, (1000, F); None leaves these classes out.

    Raises:
        DataError: the data are incomplete.
    """
    parts = [read_collection(data / name) for name in config.collections]
    given = {split: [read_photos(part, split) for part in parts] for split in ("train", "val")}
    # By collection, as the ablation keeps them: features are made once.
    features, asked = (torch.cat([store.features(backbone, own) for own in given[split]]) for split in given)
    collection, train = join_photos(parts, given["train"], data)
    _, val = join_photos(parts, given["val"], data)
    labels = collection.labels
    names = _names(labels, text)
    spaces = {"names": names, "names and facts": with_symptoms(names, labels, text, config.share)}
    weights = torch.from_numpy(photo_weights(train, collection, 0.5, 0.0))
    targets = torch.from_numpy(np.concatenate(list(spaces.values()), axis=1))[torch.from_numpy(train.label)]
    every = RidgeSums(features.shape[1], targets.shape[1]).add(features, targets, weights)
    directions = Directions.of(features, config.looks)
    looks, asked_looks = directions.of_photos(features), directions.of_photos(asked)
    things = imagenet_texts(text) if classifier is not None else torch.zeros(0, names.shape[1])
    shown_things = directions.of_classes(classifier) if classifier is not None else torch.zeros(0, config.looks)
    mixed = torch.from_numpy(spaces["names and facts"])
    found: dict[tuple[str, str], list[float]] = {}
    placed: dict[tuple[Place, float], list[list[float]]] = {}  # by task, the accuracies of the draws
    for number, task in enumerate(collection.tasks):
        step(number, len(collection.tasks), task.name)
        own = (train.task == number) | np.isin(train.label, collection.rows[number])
        out = torch.from_numpy(np.flatnonzero(own))
        rest = RidgeSums.of(every.tensors()).add(features[out], targets[out], -weights[out])
        (fitted,) = rest.solve([config.strength])
        chosen = np.flatnonzero(val.task == number)
        judged = val.take(chosen)
        vectors = fitted(asked[torch.from_numpy(chosen)]).split(names.shape[1], dim=1)
        for taught, own_vectors in zip(spaces, vectors):
            units = nn.functional.normalize(own_vectors, dim=1).float().numpy()
            for shown, texts in spaces.items():
                (result,) = judge(units, texts, collection, judged).results
                found.setdefault((taught, shown), []).append(100 * result.accuracy)
        kept = torch.from_numpy(np.flatnonzero(~own))
        words = fit_words(mixed, torch.from_numpy(train.label)[kept], looks[kept], things, shown_things)
        offered = list(collection.rows[number])
        texts = np.zeros((len(labels), words.width), np.float32)
        asked_words = [labels[row] for row in offered]
        texts[offered] = with_symptoms(words.of(names[offered]), asked_words, text, config.share, words)
        whole = _with_looks(vectors[-1], asked_looks[torch.from_numpy(chosen)])
        (result,) = judge(whole, texts, collection, judged).results
        found.setdefault(("names and facts", "names, facts and looks"), []).append(100 * result.accuracy)
        near = torch.from_numpy(np.flatnonzero(train.task == number))
        place = _with_looks(fitted(features[near]).split(names.shape[1], dim=1)[-1], looks[near])
        for drawn, share, origin in origins(place, train.label[near.numpy()], number):
            (result,) = judge(whole - origin, texts, collection, judged).results
            by_task = placed.setdefault((drawn, share), [])
            if len(by_task) <= number:
                by_task.append([])
            by_task[number].append(100 * result.accuracy)
    step(len(collection.tasks), len(collection.tasks), "done")
    base = np.array(found["names", "names"])
    rows: list[tuple[Cell, ...]] = []
    for (taught, shown), accuracies in found.items():
        rows.append((taught, shown, float(np.mean(accuracies)), _gain(np.array(accuracies) - base)))
    unadapted = np.array(found["names and facts", "names, facts and looks"])
    adapted = {key: np.mean(accuracies, axis=1) for key, accuracies in placed.items()}
    gains = {key: accuracies - unadapted for key, accuracies in adapted.items()}
    places: list[tuple[Cell, ...]] = [("none", 0.0, float(np.mean(unadapted)), "–")]
    places += [(str(p), share, float(np.mean(adapted[p, share])), _gain(gains[p, share])) for p, share in adapted]
    known = sum(1 for label, name, mixed in zip(labels, *spaces.values()) if not np.array_equal(name, mixed))
    chance = 100 * float(np.mean([1 / len(own) for own in collection.rows]))
    return Measurement(
        method=f"Each of {len(collection.tasks)} tasks of {', '.join(config.collections)} is left out in turn, with "
        f"all photos of its labels; a ridge map from frozen features to the labels' vectors is solved on the others' "
        f"train photos and judged on its val photos (mean per-class accuracy, mean over tasks; chance {chance:.1f} %). "
        f"{known} of {len(labels)} labels have facts. Looks are {config.looks} directions of the same features, and "
        f"what words say of them, from the other tasks and ImageNet's classes. Photos of the place are train photos "
        f"of the task, without their labels, mean over {DRAWS} draws; their mean is taken off every photo. Gains are "
        "paired by task, with 95 % bootstrap intervals.",
        samples={
            "facts_gain_points": [float(np.mean(np.array(found["names and facts", "names and facts"]) - base))],
            "unseen_names_pct": [float(np.mean(base))],
            "unseen_facts_pct": [float(np.mean(found["names and facts", "names and facts"]))],
            "unseen_looks_pct": [float(np.mean(found["names and facts", "names, facts and looks"]))],
            "unseen_adapted_pct": [float(np.mean(adapted[_COMMON, SHARE]))],
            "adapted_gain_points": [float(np.mean(gains[_COMMON, SHARE]))],
            "adapted_one_label_gain_points": [float(np.mean(gains[PLACES[-1], SHARE]))],
        },
        seeds={"bootstrap": 0, "places": 0},
        subject={"features": backbone.space.weights, "photos": train.sha256},
        packages=versions("torch", "timm"),
        details=(
            Detail("Labels that nobody trained on", _COLUMNS, tuple(rows)),
            Detail("The last of these, adapted by photos of the place without labels", _PLACES, tuple(places)),
        ),
    )


def _with_looks(words: torch.Tensor, looks: torch.Tensor) -> Vectors:
    """Photos as they are embedded: unit vectors of what words say (N, D) and of looks (N, L) as ones (N, D + L)."""
    units = nn.functional.normalize(words, dim=1).float()
    both: Vectors = torch.cat([math.sqrt(1 - LOOKS_SHARE) * units, math.sqrt(LOOKS_SHARE) * looks], dim=1).numpy()
    return both


def _names(labels: Sequence[str], text: Any) -> Vectors:
    from agriclip_edge.labels.pack import Label
    from agriclip_edge.labels.prompts import embed_labels
    from training.config import EncoderConfig

    return embed_labels([Label(label) for label in labels], EncoderConfig().templates, text)


def _gain(differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    if not differences.any():
        return "–"
    generator = np.random.default_rng(0)
    drawn = generator.choice(differences, (_DRAWS, len(differences))).mean(axis=1)
    low, high = interval(drawn)
    return f"{differences.mean():+.1f} ({low:+.1f} to {high:+.1f})"
