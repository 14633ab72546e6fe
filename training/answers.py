"""How far the answers of label packs can be trusted: calibrated, selective, and able to say none of these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
# Share of other photos that are told apart from those of typed labels, at most. Labels that nobody trained on lie
# farther from their photos: an encoder of alive-mini, asked with labels of alive-plus, lost 42, 22, 13, 10 and 7 % of
# its right answers for .9, .8, .7, .6 and .5, and told 70, 52, 42, 34 and 27 % of other photos apart.
APART = 0.7
RIGHT = 0.95  # share of the answers at or above a threshold that are to be right
_HIGHEST_THRESHOLD = 0.9
_BINS, _BIN_PHOTOS = 15, 8  # at most so many bins of equal mass, each of at least so many photos
_DRAWS = 200
_SETS, _SET_TASKS = 150, 3  # typed label sets drawn, each with labels of at most so many tasks
# Standard deviation of a pack's log temperature around the bundle's: of 0.02, 0.1, 0.2 and 0.4 the last gave the least
# cross-fitted likelihood loss, .192 nats of .200, on the val photos of alive-mini. Without a prior a pack of 24 photos,
# all answered rightly, would be certain.
# Of other ways, judged likewise over five divisions of these photos (.045 mean calibration error, chance .046), one
# temperature for all had .060, one a pack without a prior .045 at a higher loss, temperatures by the number of labels
# .054, a bias beside the temperature, isotonic curves and bins a pack .040 to .042: none better by more than noise.
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
        squared_error: squared calibration error over the same bins, less what chance adds to it; may be below 0.
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
    squared_error: float
    auroc: float
    accuracy: float
    selective: float
    answered: float
    answered_right: float
    rejected: float


@dataclass(frozen=True)
class TypedFigures:
    """Label sets that there is no pack of, as they are typed on a device: some labels of one to three tasks, at random.

    Attributes:
        unknown: least cosine of a photo that shows one of the labels, fitted on sets of all tasks: what ships.
        sets: that were judged.
        error: expected calibration error at the temperature of all labels.
        auroc: of the largest cosine, photos of the set's labels against other tasks' photos; mean over sets.
        lost: share of the photos whose best label is right that fall under the least cosine.
        rejected: share of the other tasks' photos that do.

    All but the first are cross-fitted: what was fitted on the labels and photos of every other task is judged on
    those of the rest.
    """

    unknown: float
    sets: int
    error: float
    auroc: float
    lost: float
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
        typed: how typed label sets fare; None where fewer than four tasks have photos.
    """

    packs: tuple[PackFigures, ...]
    fits: dict[str, PackFit]
    temperature: float
    threshold: float
    confidence: Floats
    right: Flags
    typed: TypedFigures | None = None

    def mean(self, figure: str) -> float:
        """Plain mean over packs of one of the figures of `PackFigures`."""
        return float(np.mean([getattr(pack, figure) for pack in self.packs]))

    @property
    def unbiased_error(self) -> float:
        """Root mean square calibration error over packs, which chance does not raise; 0 where chance explains it all.

        Chance can make a pack's squared error too small as well as too large, so that means of many packs tell more.
        """
        return float(np.sqrt(max(0.0, self.mean("squared_error"))))


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
                squared_error=squared_calibration_error(confidence[inside], right[inside]),
                auroc=auroc(nearest[inside], nearest[outside]) if outside.any() else 1.0,
                accuracy=float(right[inside].mean()),
                selective=selective_accuracy(confidence[inside], right[inside]),
                answered=float(answered[inside].mean()),
                answered_right=float(right[answered].mean()) if answered.any() else 1.0,
                rejected=float((~known[outside]).mean()) if outside.any() else 1.0,
            )
        )
    threshold = fit_threshold(confidence, right)
    typed = judge_typed(cosines, task, label, rows)
    return Trust(tuple(figures), fits, whole, threshold, confidence, right, typed)


def judge_typed(cosines: Cosines, task: Indices, label: Indices, rows: Sequence[Sequence[int]]) -> TypedFigures | None:
    """Fit the least cosine of typed labels, and judge it on label sets of tasks that did not fit it.

    The largest cosine is the score, as of packs. The share of the probability that words of the facts library take
    away (NegLabel, Jiang et al. 2024), by the vectors that a bundle carries of them, gave .001 more AUROC on label
    sets of alive-mini, .9890, and .010 more on those of alive-plus: too little to read a library for.

    Args:
        cosines: of N photos to all L labels, float64 (N, L).
        task: number of each photo's task, int64 (N,).
        label: number of each photo's label, int64 (N,).
        rows: numbers of each task's labels.
    """
    present = np.unique(task)
    if len(present) < 4:
        return None
    halves = present[::2], present[1::2]
    own = own_cosines(cosines, task, rows)
    confidence, right, known, aurocs, rejected = [], [], [], [], []
    for fitting, judged in (halves, halves[::-1]):
        unknown = _least_cosine(cosines, _label_sets(task, label, rows, fitting))
        temperature = fit_temperature(own[np.isin(task, fitting)], label[np.isin(task, fitting)])
        for offered, inside, outside in _label_sets(task, label, rows, judged):
            nearest = cosines[:, offered].max(axis=1)
            shares = softmax(cosines[np.ix_(inside, offered)], temperature)
            confidence.append(shares.max(axis=1))
            right.append(offered[shares.argmax(axis=1)] == label[inside])
            known.append(nearest[inside] >= unknown)
            aurocs.append(auroc(nearest[inside], nearest[outside]))
            rejected.append(nearest[outside] < unknown)
    if not aurocs:
        return None
    answered = np.concatenate(right)
    return TypedFigures(
        unknown=_least_cosine(cosines, _label_sets(task, label, rows, present)),
        sets=len(aurocs),
        error=calibration_error(np.concatenate(confidence), answered),
        auroc=float(np.mean(aurocs)),
        lost=float((~np.concatenate(known)[answered]).mean()) if answered.any() else 0.0,
        rejected=float(np.concatenate(rejected).mean()),
    )


def _label_sets(
    task: Indices, label: Indices, rows: Sequence[Sequence[int]], among: Indices
) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Labels offered, photos that show one of them, and photos of the tasks that none of them is of."""
    generator = np.random.default_rng(0)
    pool = np.isin(task, among)
    for _ in range(_SETS):
        chosen = generator.choice(among, int(generator.integers(1, min(_SET_TASKS, len(among) - 1) + 1)), replace=False)
        parts = []
        for number in chosen:
            most = len(rows[number])
            parts.append(generator.choice(rows[number], int(generator.integers(min(2, most), most + 1)), replace=False))
        offered = np.unique(np.concatenate(parts))
        touched = [number for number in among if np.isin(rows[number], offered).any()]
        shown = np.isin(label, offered)
        inside, outside = np.flatnonzero(pool & shown), np.flatnonzero(pool & ~shown & ~np.isin(task, touched))
        if len(inside) and len(outside):
            yield offered, inside, outside


def _least_cosine(cosines: Cosines, sets: Iterator[tuple[Indices, Indices, Indices]]) -> float:
    """The cosine that `KEPT` of the sets' photos reach, or the lower one that `APART` of the others do not.

    Labels that nobody trained on lie farther from their photos than those that fit it: the lower one loses fewer.
    """
    own, others = [], []
    for offered, inside, outside in sets:
        nearest = cosines[:, offered].max(axis=1)
        own.append(nearest[inside])
        others.append(nearest[outside])
    if not own:
        return -1.0
    return float(min(np.quantile(np.concatenate(own), 1 - KEPT), np.quantile(np.concatenate(others), APART)))


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
    return float(sum(abs(confidence[b].sum() - right[b].sum()) for b in _bins(confidence)) / len(confidence))


def squared_calibration_error(confidence: Floats, right: Flags) -> float:
    """Squared calibration error over the same bins, less what chance adds to it (Kumar et al. 2019, section 4).

    A bin's mean gap has a variance of its own, which its square is larger by on average. Its estimate is taken off, so
    that confidences that are exactly right have 0 on average, with however few photos: one pack may be below 0.
    """
    total = 0.0
    for b in _bins(confidence):
        gaps = confidence[b] - right[b]
        if len(b) > 1:
            total += len(b) * float(gaps.mean() ** 2 - gaps.var(ddof=1) / len(b))
    return total / len(confidence)


def _bins(confidence: Floats) -> list[Indices]:
    """The photos of each bin, by rising confidence; bins have as many photos each as may be."""
    order = np.argsort(confidence, kind="stable")
    return np.array_split(order, min(_BINS, max(1, len(order) // _BIN_PHOTOS)))


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
