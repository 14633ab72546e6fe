"""Labels' rows from a few photos and their words, in closed form, judged on each photo that is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_TEXT_PHOTOS = (0.1, 0.3, 1.0, 3.0)  # how many photos a label's words may count as
_PENALTIES = (0.1, 0.3)  # of the linear head, in squared lengths of a photo's vector; chosen on alive-plus
_PROTOTYPES = 100.0  # a penalty at which ridge regression gives the class means
_HEAD_PHOTOS = 3  # photos of at least two labels before a linear head is tried
_GAP_PHOTOS = 2.0  # labels that the bundle's own modality gap counts as, beside those that were taught
_STEPS = np.geomspace(0.1, 10, 41)  # temperatures, around the one of equal spread
_PRIOR = 0.5  # standard deviation of the temperature's logarithm around it: fifteen right answers do not make certain
_TINY = 1e-12


@dataclass(frozen=True)
class Fit:
    """Labels' rows, fitted to photos and words.

    Attributes:
        rows: unit vectors, float32 (C, D): a photo's cosines to them are its scores.
        temperature: softmax temperature for these cosines, fitted to the photos that were left out.
        left_out: probabilities of the labels for each photo by rows that were fitted without it, float64 (M, C).
        text_photos: how many photos a label's words count as.
        penalty: of the linear head, in squared lengths of a photo's vector; None where rows are prototypes.
    """

    rows: npt.NDArray[np.float32]
    temperature: float
    left_out: npt.NDArray[np.float64]
    text_photos: float
    penalty: float | None


def fit_rows(
    texts: npt.NDArray[np.float32],
    photos: npt.NDArray[np.float32],
    label: npt.NDArray[np.int64],
    temperature: float,
    gap: npt.NDArray[np.float32] | None = None,
) -> Fit:
    """Fit labels' rows: ridge regression onto the labels, whose words count as some photos.

    Photos lie apart from words as a whole (Liang et al. 2022, the modality gap): words are moved by the mean gap, and
    the direction that all photos share is left out. A strong penalty gives prototypes (Snell et al. 2017), a weak one
    a linear head. Penalty and weight of the words are those of the best likelihood of photos that were left out, by
    the hat matrix (Allen 1974), labels counting alike.

    Args:
        texts: unit vectors of C labels' words, float32 (C, D).
        photos: unit vectors, float32 (M, D), M at least 1.
        label: number of each photo's label, int64 (M,).
        temperature: the softmax temperature of ``texts``.
        gap: mean over known labels of (mean photo - words), float32 (D,), which helps while few labels have photos.

    Example:
        >>> texts = np.eye(4, dtype=np.float32)[:2]
        >>> photos = np.eye(4, dtype=np.float32)[[2, 2, 3, 3]]
        >>> found = fit_rows(texts, photos, np.array([0, 0, 1, 1]), temperature=0.05)
        >>> (photos @ found.rows.T).argmax(axis=1).tolist()
        [0, 0, 1, 1]
    """
    features = _Features.of(texts.astype(np.float64), photos.astype(np.float64), label, gap)
    spread = _spread(photos @ texts.T)
    choices: list[tuple[float, float]] = [(_TEXT_PHOTOS[2], _PROTOTYPES)]
    if (features.counts > 1).sum() > 1:
        enough = (features.counts >= _HEAD_PHOTOS).sum() > 1
        penalties = (_PROTOTYPES, *(_PENALTIES if enough else ()))
        choices = [(words, penalty) for penalty in penalties for words in _TEXT_PHOTOS]
    best: tuple[float, Fit] | None = None
    for words, penalty in choices:
        rows, cosines = features.ridge(words, penalty)
        expected = temperature * _spread(cosines) / spread
        fitted, loss = _temperature(cosines, label, expected) if len(choices) > 1 else (expected, 0.0)
        if best is None or loss < best[0] - _TINY:
            left_out = _softmax(cosines / fitted)
            shown = None if penalty == _PROTOTYPES else penalty
            best = loss, Fit(rows.astype(np.float32), fitted, left_out, words, shown)
    assert best is not None
    return best[1]


@dataclass(frozen=True)
class _Features:
    """Photos and words in one space, without the direction that all photos share."""

    photos: npt.NDArray[np.float64]  # (M, D)
    words: npt.NDArray[np.float64]  # (C, D), as long as photos are
    label: npt.NDArray[np.int64]  # (M,)
    counts: npt.NDArray[np.int64]  # (C,)

    @classmethod
    def of(
        cls,
        texts: npt.NDArray[np.float64],
        photos: npt.NDArray[np.float64],
        label: npt.NDArray[np.int64],
        gap: npt.NDArray[np.float32] | None,
    ) -> _Features:
        counts = np.bincount(label, minlength=len(texts))
        taught = np.flatnonzero(counts)
        means = texts.copy()
        means[taught] = [photos[label == row].mean(axis=0) for row in taught]
        moved = (means[taught] - texts[taught]).sum(axis=0)
        if gap is None:
            moved /= len(taught)
        else:
            moved = (moved + _GAP_PHOTOS * gap) / (len(taught) + _GAP_PHOTOS)
        words = texts + moved
        means[counts == 0] = words[counts == 0]
        shared = _unit(means.mean(axis=0))
        photos = photos - np.outer(photos @ shared, shared)
        words = words - np.outer(words @ shared, shared)
        length = np.sqrt((photos**2).sum(axis=1).mean() / max((words**2).sum(axis=1).mean(), _TINY))
        return cls(photos, words * length, label, counts)

    def ridge(self, words: float, penalty: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Unit rows (C, D), and the cosines (M, C) of each photo to the rows that are fitted without it."""
        classes, size = len(self.words), len(self.photos)
        of_photo = 1 / (self.counts + words)
        of_words = np.where(self.counts > 0, words * of_photo, 1.0)  # a label weighs 1 altogether
        root = np.sqrt(np.concatenate([of_photo[self.label], of_words]))[:, np.newaxis]
        samples = root * np.concatenate([self.photos, self.words])
        targets = root * (np.eye(classes)[np.concatenate([self.label, np.arange(classes)])] - 1 / classes)
        kernel = samples @ samples.T
        scale = penalty * (self.photos**2).sum(axis=1).mean() + _TINY
        inverse = np.linalg.inv(kernel + scale * np.eye(len(kernel)))
        dual = inverse @ targets
        rows = dual.T @ samples  # (C, D)
        # Without sample i the dual is dual - inverse[:, i] dual[i] / inverse[i, i]: rows lose step[i] times dual[i].
        step = (inverse[:size] / np.diag(inverse)[:size, np.newaxis]) @ samples  # (M, D)
        lost = dual[:size]
        scores = self.photos @ rows.T - np.einsum("md,md->m", self.photos, step)[:, np.newaxis] * lost
        squared = (rows**2).sum(axis=1) - 2 * lost * (step @ rows.T) + lost**2 * (step**2).sum(axis=1)[:, np.newaxis]
        return _unit(rows), scores / np.sqrt(np.maximum(squared, _TINY))


def _temperature(
    cosines: npt.NDArray[np.float64], label: npt.NDArray[np.int64], expected: float
) -> tuple[float, float]:
    """The most likely temperature, and the negative log-likelihood in nats with labels counting alike."""
    counts = np.bincount(label)[label]
    # Without its only photo a label has words alone: that says nothing of how much the photos are worth.
    weight = np.where((counts > 1) | (counts.max() == 1), 1 / counts, 0)
    temperatures = expected * _STEPS
    losses = []
    for temperature in temperatures:
        logits = cosines / temperature
        peak = logits.max(axis=1)
        nats = np.log(np.exp(logits - peak[:, np.newaxis]).sum(axis=1)) + peak - logits[np.arange(len(label)), label]
        far = np.log(temperature / expected) / _PRIOR
        losses.append(float((weight * nats).sum() / weight.sum() + far**2 / 2 / len(label)))
    best = int(np.argmin(losses))
    return float(temperatures[best]), losses[best]


def _spread(cosines: npt.NDArray[np.float64] | npt.NDArray[np.float32]) -> float:
    """How far a photo's cosines to the labels lie apart, on average."""
    return max(float(np.sqrt(cosines.astype(np.float64).var(axis=1).mean())), 1e-6)


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit: npt.NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)
    return unit
