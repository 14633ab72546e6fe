"""Answers from a few photos: adapted without labels; nearest neighbours, class means, with text, taught, probe."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agriclip_edge.adaptation import origin_of
from agriclip_edge.fewshot import fit_rows

from .metrics import Indices, mean_per_class_accuracy
from .subjects import Vectors

PLACE = 30  # photos without labels that say where a task's photos lie
_VOTE = 0.07  # temperature of a neighbour's vote (Caron et al. 2021, DINO, section 4.1)
_TEMPERATURE = 0.05  # of texts, about that of every bundle: what is fitted moves from there
_STRENGTHS = tuple(10.0**power for power in range(-1, 4))  # inverse penalties of the probe: features have length 1
_FOLDS = 4
_STEPS = 500  # of the probe's solver

Predictions = npt.NDArray[np.int64]  # (draws, N)


@dataclass(frozen=True)
class Support:
    """Labelled photos of one task.

    Attributes:
        vectors: unit vectors, float32 (M, D).
        label: number of each one's label in the task, int64 (M,).
        classes: number of the task's labels, C.
    """

    vectors: Vectors
    label: Indices
    classes: int

    @property
    def counts(self) -> Indices:
        """Photos of each label, int64 (C,)."""
        return np.bincount(self.label, minlength=self.classes)

    @property
    def present(self) -> Indices:
        """Numbers of the labels that have photos."""
        return np.flatnonzero(self.counts)


def adapted(vectors: Vectors, support: Support, texts: Vectors, draws: int, seed: tuple[int, ...]) -> Predictions:
    """As ``agriclip-edge classify --adapt`` answers after 30 photos, drawn without their labels: int64 (draws, N)."""
    predicted = []
    for draw in range(draws):
        drawn = np.random.default_rng((*seed, draw)).permutation(len(support.vectors))[:PLACE]
        offsets = texts @ origin_of(support.vectors[drawn])
        predicted.append((vectors @ texts.T - offsets).argmax(axis=1))
    return np.stack(predicted)


def neighbours(vectors: Vectors, support: Support, k: int) -> Predictions:
    """The label with the most votes among each photo's ``k`` nearest by cosine: int64 (1, N).

    A vote weighs exp(cosine / 0.07), as in DINO; with fewer than ``k`` photos all of them vote.
    """
    cosines = vectors @ support.vectors.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
    votes = np.zeros((len(vectors), support.classes))
    rows = np.repeat(np.arange(len(vectors)), nearest.shape[1])
    np.add.at(votes, (rows, support.label[nearest].ravel()), np.exp((near - 1) / _VOTE).ravel())
    return votes.argmax(axis=1)[np.newaxis]


def nearest_mean(vectors: Vectors, support: Support, shots: int, draws: int, seed: tuple[int, ...]) -> Predictions:
    """The class mean nearest by cosine (Snell et al. 2017, with cosines), over several draws: int64 (draws, N).

    The draws of more shots hold those of fewer. A label with fewer photos gives all that it has; one with none is
    never answered.
    """
    predicted = []
    for draw in range(draws):
        means = _means(support, shots, (*seed, draw))
        predicted.append(support.present[(vectors @ means[support.present].T).argmax(axis=1)])
    return np.stack(predicted)


def mean_with_text(
    vectors: Vectors, support: Support, texts: Vectors, shots: int, draws: int, seed: tuple[int, ...]
) -> Predictions:
    """As `nearest_mean`, with the sum of a label's text vector and its class mean: int64 (draws, N).

    Text and photos count alike: nothing is tuned. Photos lie apart from texts as a whole (Liang et al. 2022, the
    modality gap), so a label without photos takes its text moved by the mean gap of the others.
    """
    predicted = []
    for draw in range(draws):
        means = _means(support, shots, (*seed, draw))
        gap = (means[support.present] - texts[support.present]).mean(axis=0)
        absent = np.setdiff1d(np.arange(support.classes), support.present)
        means[absent] = _unit(texts[absent] + gap)
        predicted.append((vectors @ (means + texts).T).argmax(axis=1))
    return np.stack(predicted)


def taught(
    vectors: Vectors, support: Support, texts: Vectors, shots: int, draws: int, seed: tuple[int, ...]
) -> Predictions:
    """As ``agriclip-edge teach`` answers (`agriclip_edge.fewshot.fit_rows`) after the same draws: int64 (draws, N)."""
    predicted = []
    for draw in range(draws):
        drawn = _draw(support, shots, (*seed, draw))
        rows = fit_rows(texts, support.vectors[drawn], support.label[drawn], _TEMPERATURE).rows
        predicted.append((vectors @ rows.T).argmax(axis=1))
    return np.stack(predicted)


def linear_probe(vectors: Vectors, support: Support, seed: tuple[int, ...]) -> tuple[Predictions, float]:
    """Logistic regression on all support photos, classes weighted alike: int64 (1, N) and its inverse penalty.

    The penalty is the one of best mean per-class accuracy over folds of the support photos alone; a label's only
    photo is never held out. Equally good ones: the strongest penalty.
    """
    fold = _folds(support, seed)
    best, score = _STRENGTHS[0], -1.0
    for strength in _STRENGTHS if (fold >= 0).any() else ():
        held = [number for number in range(_FOLDS) if (fold == number).any()]
        found = [
            mean_per_class_accuracy(
                _fit(support.vectors[fold != number], support.label[fold != number], strength).predict(
                    support.vectors[fold == number]
                ),
                support.label[fold == number],
            )
            for number in held
        ]
        if np.mean(found) > score + 1e-9:
            best, score = strength, float(np.mean(found))
    predicted: Indices = _fit(support.vectors, support.label, best).predict(vectors)
    return predicted[np.newaxis], best


def seed_of(task: str, seed: int) -> tuple[int, ...]:
    """Seeds of a task's draws: they do not depend on which other tasks are judged."""
    return seed, int.from_bytes(hashlib.sha256(task.encode()).digest()[:4], "little")


def _draw(support: Support, shots: int, seed: tuple[int, ...]) -> Indices:
    """Numbers of ``shots`` photos of each label, all of them where there are fewer."""
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(np.flatnonzero(support.label == label))[:shots] for label in support.present]
    return np.concatenate(drawn)


def _means(support: Support, shots: int, seed: tuple[int, ...]) -> Vectors:
    """Unit class means float32 (C, D) of ``shots`` photos each; zeros for a label without photos."""
    drawn = _draw(support, shots, seed)
    means = np.zeros((support.classes, support.vectors.shape[1]), np.float32)
    for label in support.present:
        means[label] = support.vectors[drawn[support.label[drawn] == label]].mean(axis=0)
    means[support.present] = _unit(means[support.present])
    return means


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return unit


def _folds(support: Support, seed: tuple[int, ...]) -> Indices:
    """Which fold holds each photo out, class by class; -1 for a label's only photo, which none does: int64 (M,)."""
    generator = np.random.default_rng(seed)
    fold = np.full(len(support.label), -1, np.int64)
    for label in support.present:
        members = generator.permutation(np.flatnonzero(support.label == label))
        if len(members) > 1:
            fold[members] = np.arange(len(members)) % _FOLDS
    return fold


def _fit(vectors: Vectors, label: Indices, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with warnings.catch_warnings(), threadpool_limits(1):  # some hundred photos: threads cost more than they save
        warnings.simplefilter("ignore", ConvergenceWarning)  # weak penalties need more steps than they are worth
        return LogisticRegression(C=strength, class_weight="balanced", max_iter=_STEPS).fit(vectors, label)
