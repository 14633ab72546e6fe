"""How far the answers of label packs can be trusted: calibrated, selective, and able to say none of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agriclip_edge.answer import THRESHOLD

from .calibration import Cosines, fit_temperature, softmax
from .data import Indices

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FOLDS = 5
COVERAGE = 0.8  # share of photos that selective accuracy is of
KEPT = 0.95  # share of a pack's own photos that stay when others are told apart
RIGHT = 0.95  # share of the answers at or above a threshold that are to be right
_HIGHEST_THRESHOLD = 0.9
_BINS, _BIN_PHOTOS = 15, 8  # at most so many bins of equal mass, each of at least so many photos
_DRAWS = 200
# Standard deviation of a pack's log temperature around the bundle's: of 0.02, 0.1, 0.2 and 0.4 the last gave the least
# cross-fitted likelihood loss, .192 nats of .200, on the val photos of alive-mini. Without a prior a pack of 24 photos,
# all answered rightly, would be certain.
_PRIOR = 0.4
_STEPS = np.exp(np.linspace(-1, 1, 41))


@dataclass(frozen=True)
class PackFit:
    """What is fitted for one pack: softmax temperature, least confidence of an answer, least cosine of its photos."""

    temperature: float
    threshold: float
    unknown: float


@dataclass(frozen=True)
class PackFigures:
    """How one pack answers. All that depends on a fit is cross-fitted: fitted on four folds, judged on the fifth.

    Attributes:
        pack: its name.
        photos: of the pack, N.
        error: expected calibration error by bins of equal mass, 0 to 1.
        chance_error: what it is on average for probabilities that are exactly right, with as many photos.
        auroc: of the largest cosine, the pack's photos against those of other tasks without a label of the pack.
        accuracy: share of photos whose best label is right.
        selective: the same of the `COVERAGE` that are most confident.
        answered: share that is answered by a label.
        answered_right: share of these that is right; 1 without any.
        rejected: share of the other tasks' photos that is out of distribution.
    """

    pack: str
    photos: int
    error: float
    chance_error: float
    auroc: float
    accuracy: float
    selective: float
    answered: float
    answered_right: float
    rejected: float


@dataclass(frozen=True)
class Trust:
    """All packs of a collection.

    Attributes:
        packs: figures of each.
        fits: of each, on all of its photos: what ships.
        temperature: of all photos together.
        threshold: of all photos together.
        confidence: of each photo's best label, cross-fitted, float64 (N,).
        right: whether it is right, bool (N,).
    """

    packs: tuple[PackFigures, ...]
    fits: dict[str, PackFit]
    temperature: float
    threshold: float
    confidence: Floats
    right: Flags

    def mean(self, figure: str) -> float:
        """Plain mean over packs of one of the figures of `PackFigures`."""
        return float(np.mean([getattr(pack, figure) for pack in self.packs]))


def judge_answers(
    cosines: Cosines, task: Indices, label: Indices, names: Sequence[str], rows: Sequence[Sequence[int]]
) -> Trust:
    """Fit every pack and judge it on photos that did not fit it.

    Args:
        cosines: of N photos to all L labels, float64 (N, L).
        task: number of each photo's task, int64 (N,).
        label: number of each photo's label, int64 (N,).
        names: of the T tasks.
        rows: numbers of each task's labels.
    """
    fold = folds(task, label)
    own = own_cosines(cosines, task, rows)
    confidence, right = np.zeros(len(task)), np.zeros(len(task), bool)
    fits: dict[str, PackFit] = {}
    cross: dict[tuple[int, int], PackFit] = {}
    around = {one: fit_temperature(own[fold != one], label[fold != one]) for one in range(FOLDS)}
    whole = fit_temperature(own, label)
    for number, name in enumerate(names):
        chosen = np.flatnonzero(task == number)
        if len(chosen) == 0:
            continue
        offered = np.array(rows[number])  # the pack's columns
        mine, place = cosines[np.ix_(chosen, offered)], _places(offered, label[chosen])
        fits[name] = fit_pack(mine, place, whole)
        for one in range(FOLDS):
            seen, held = fold[chosen] != one, fold[chosen] == one
            cross[number, one] = fit = fit_pack(mine[seen], place[seen], around[one])
            shares = softmax(mine[held], fit.temperature)
            confidence[chosen[held]] = shares.max(axis=1)
            right[chosen[held]] = shares.argmax(axis=1) == place[held]
    figures = []
    for number, name in enumerate(names):
        if name not in fits:
            continue
        inside = task == number
        outside = ~inside & ~np.isin(label, rows[number])
        nearest = cosines[:, list(rows[number])].max(axis=1)
        limits = [cross[number, int(one)] for one in fold]
        known = nearest >= np.array([fit.unknown for fit in limits])
        answered = inside & known & (confidence >= np.array([fit.threshold for fit in limits]))
        figures.append(
            PackFigures(
                pack=name,
                photos=int(inside.sum()),
                error=calibration_error(confidence[inside], right[inside]),
                chance_error=chance_error(confidence[inside]),
                auroc=auroc(nearest[inside], nearest[outside]) if outside.any() else 1.0,
                accuracy=float(right[inside].mean()),
                selective=selective_accuracy(confidence[inside], right[inside]),
                answered=float(answered[inside].mean()),
                answered_right=float(right[answered].mean()) if answered.any() else 1.0,
                rejected=float((~known[outside]).mean()) if outside.any() else 1.0,
            )
        )
    threshold = fit_threshold(confidence, right)
    return Trust(tuple(figures), fits, whole, threshold, confidence, right)


def _places(offered: Indices, label: Indices) -> Indices:
    """Where each label stands among those offered."""
    return np.array([int(np.flatnonzero(offered == number)[0]) for number in label], np.int64)


def own_cosines(cosines: Cosines, task: Indices, rows: Sequence[Sequence[int]]) -> Cosines:
    """Cosines (N, L), -inf for labels that the photo's own task does not offer."""
    offered = np.zeros((len(rows), cosines.shape[1]), bool)
    for number, numbers in enumerate(rows):
        offered[number, list(numbers)] = True
    return np.where(offered[task], cosines, -np.inf)


def folds(task: Indices, label: Indices) -> Indices:
    """A fold of each photo, 0 to `FOLDS` - 1, with as many photos of each class as may be: int64 (N,)."""
    fold = np.zeros(len(task), np.int64)
    start = 0
    for pair in sorted(set(zip(task.tolist(), label.tolist()))):
        members = np.flatnonzero((task == pair[0]) & (label == pair[1]))
        fold[members] = (start + np.arange(len(members))) % FOLDS
        start += len(members)
    return fold


def fit_pack(own: Cosines, label: Indices, around: float) -> PackFit:
    """Temperature, threshold and least cosine of a pack.

    The temperature is the most likely one with a normal prior on its logarithm around the bundle's (maximum a
    posteriori): a pack of 24 photos, nearly all answered rightly, would else be as sure as it can.

    Args:
        own: cosines of the pack's photos to its labels, float64 (n, C).
        label: number of each photo's label among them, int64 (n,).
        around: the bundle's temperature.
    """
    losses = [_loss(own, label, around * step) + np.log(step) ** 2 / (2 * _PRIOR**2) for step in _STEPS]
    temperature = around * float(_STEPS[int(np.argmin(losses))])
    shares = softmax(own, temperature)
    threshold = fit_threshold(shares.max(axis=1), shares.argmax(axis=1) == label)
    unknown = float(np.quantile(own.max(axis=1), 1 - KEPT))
    return PackFit(temperature, threshold, unknown)


def fit_threshold(confidence: Floats, right: Flags) -> float:
    """The least confidence, `THRESHOLD` to 0.9, such that of the photos that reach it 95 % are answered rightly."""
    order = np.argsort(-confidence, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= RIGHT)
    least = float(confidence[order[good[-1]]]) if len(good) else 1.0
    return float(np.clip(least, THRESHOLD, _HIGHEST_THRESHOLD))


def calibration_error(confidence: Floats, right: Flags) -> float:
    """Expected calibration error by bins of equal mass (Nguyen and O'Connor 2015; Nixon et al. 2019)."""
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(_BINS, max(1, len(order) // _BIN_PHOTOS)))
    return float(sum(abs(confidence[b].sum() - right[b].sum()) for b in bins) / len(order))


def chance_error(confidence: Floats, seed: int = 0) -> float:
    """What `calibration_error` is on average when every confidence is exactly the chance to be right."""
    generator = np.random.default_rng(seed)
    draws = [calibration_error(confidence, generator.random(len(confidence)) < confidence) for _ in range(_DRAWS)]
    return float(np.mean(draws))


def auroc(inside: Floats, outside: Floats) -> float:
    """Chance that a photo of the pack scores over another one; ties count half (Mann and Whitney 1947).

    Example:
        >>> auroc(np.array([0.9, 0.4]), np.array([0.5, 0.4]))
        0.625
    """
    ordered = np.sort(outside)
    below, to = np.searchsorted(ordered, inside, "left"), np.searchsorted(ordered, inside, "right")
    return float((below + to).sum() / (2 * len(inside) * len(outside)))


def selective_accuracy(confidence: Floats, right: Flags, coverage: float = COVERAGE) -> float:
    """Share of right answers among the most confident ``coverage`` of them, at least one."""
    kept = np.argsort(-confidence, kind="stable")[: max(1, round(coverage * len(confidence)))]
    return float(right[kept].mean())


def reliability(confidence: Floats, right: Flags, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean confidence, share of right answers and photos of each of some bins of equal mass."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    return [(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts]


def coverage_risk(confidence: Floats, right: Flags, steps: int = 20) -> list[tuple[float, float]]:
    """Coverage and risk, the share of wrong answers among the most confident that it covers (El-Yaniv, Wiener 2010)."""
    wrong = ~right[np.argsort(-confidence, kind="stable")]
    counts = [max(1, round(len(wrong) * step / steps)) for step in range(1, steps + 1)]
    return [(count / len(wrong), float(wrong[:count].mean())) for count in counts]


def _loss(own: Cosines, label: Indices, temperature: float) -> float:
    """Negative log-likelihood of the right labels, summed over photos, in nats."""
    logits = (own - own.max(axis=1, keepdims=True)) / temperature
    right = np.take_along_axis(logits, label[:, np.newaxis], axis=1)[:, 0]
    return float((np.log(np.exp(logits).sum(axis=1)) - right).sum())
