"""The softmax temperature that makes confidences honest, and how honest they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .data import Collection, Indices, Photos
from .evaluate import Vectors

_LOWEST, _HIGHEST = 1e-3, 10.0  # temperatures searched; cosines of trained models ask for 0.01 to 0.1
_HALVINGS = 60
_BINS = 15  # of the expected calibration error (Guo et al. 2017, section 2)

Cosines = npt.NDArray[np.float64]  # (N, L), -inf where a label is not offered


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Attributes:
        temperature: divides cosines before the softmax.
        likelihood_loss: mean negative log-likelihood of the right label, in nats.
        calibration_error: expected calibration error, 0 to 1.
        among_all_error: the same with the labels of all tasks to choose among, at the same temperature.

    All but the temperature are cross-fitted: each half of the photos is judged with the temperature of the other half.
    """

    temperature: float
    likelihood_loss: float
    calibration_error: float
    among_all_error: float


def calibrate(vectors: Vectors, label_embeddings: Vectors, collection: Collection, photos: Photos) -> Calibration:
    """Fit one temperature for choices among each photo's own task's labels.

    Args:
        vectors: unit vectors of the photos, float32 (N, D).
        label_embeddings: unit vectors of ``collection.labels``, float32 (L, D).
        collection: the tasks.
        photos: of the collection.
    """
    cosines = own_task_cosines(vectors, label_embeddings, collection, photos)
    even = np.arange(len(photos)) % 2 == 0  # photos lie class by class: every other one is a half of each class
    among_all = (vectors @ label_embeddings.T).astype(np.float64)
    probabilities, probabilities_among_all = np.empty_like(cosines), np.empty_like(cosines)
    for half in (even, ~even):
        temperature = fit_temperature(cosines[~half], photos.label[~half])
        probabilities[half] = softmax(cosines[half], temperature)
        probabilities_among_all[half] = softmax(among_all[half], temperature)
    likelihood = np.take_along_axis(probabilities, photos.label[:, None], axis=1)
    loss = -np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean()
    return Calibration(
        temperature=fit_temperature(cosines, photos.label),
        likelihood_loss=float(loss),
        calibration_error=expected_calibration_error(probabilities, photos.label),
        among_all_error=expected_calibration_error(probabilities_among_all, photos.label),
    )


def own_task_cosines(vectors: Vectors, label_embeddings: Vectors, collection: Collection, photos: Photos) -> Cosines:
    """Cosines of photos to labels, -inf for those that the photo's task does not offer: float64 (N, L)."""
    offered = np.zeros((len(collection.tasks), len(collection.labels)), bool)
    for task, rows in enumerate(collection.rows):
        offered[task, list(rows)] = True
    cosines = (vectors @ label_embeddings.T).astype(np.float64)
    return np.where(offered[photos.task], cosines, -np.inf)


def fit_temperature(cosines: Cosines, label: Indices) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, section 4.2).

    The loss is convex in 1 / temperature, and so is a search by thirds on its logarithm safe.
    """
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    for _ in range(_HALVINGS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _loss(cosines, label, np.exp(left)) < _loss(cosines, label, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def softmax(cosines: Cosines, temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities float64 (N, L) of offered labels; those not offered have 0."""
    logits = (cosines - cosines.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(logits)
    probabilities: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return probabilities


def expected_calibration_error(probabilities: npt.NDArray[np.float64], label: Indices) -> float:
    """Mean distance of confidence and accuracy over equal bins of confidence, weighted by their photos."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == label
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in range(_BINS)]
    return float(sum(gaps) / len(label))


def _loss(cosines: Cosines, label: Indices, temperature: float) -> float:
    logits = (cosines - cosines.max(axis=1, keepdims=True)) / temperature
    own = np.take_along_axis(logits, label[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(logits).sum(axis=1)) - own).mean())
