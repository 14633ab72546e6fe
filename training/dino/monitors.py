"""How much labels can be read off features: nearest neighbours and a linear probe, task by task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Collection, Photos
from ..evaluate import mean_per_class_accuracy

_SHARPNESS = 1 / 0.07  # of the neighbours' votes (Wu et al. 2018, section 3.4; Caron et al. 2021)
_DECAY = 1e-2  # of the linear probe, on standardised features; not tuned
_ITERATIONS = 40  # of L-BFGS: the loss of these small problems is flat by then


@dataclass(frozen=True)
class Labelled:
    """Photos that a monitor learns from, and photos that it is judged on; their labels train nothing else."""

    collection: Collection
    support: Photos
    judged: Photos


def few_per_class(photos: Photos, shots: int, seed: int) -> Photos:
    """At most ``shots`` photos of each class of each task, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(len(photos))
    seen: dict[tuple[int, int], int] = {}
    chosen = []
    for index in order.tolist():
        key = int(photos.task[index]), int(photos.label[index])
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= shots:
            chosen.append(index)
    return photos.take(np.array(sorted(chosen), dtype=np.int64))


def monitor(features: Callable[[Photos], Tensor], labelled: Labelled, neighbours: int) -> dict[str, float]:
    """Mean over tasks of the mean per-class accuracy of both readings, 0 to 1, as ``knn`` and ``probe``.

    Args:
        features: float (N, F) of photos.
        labelled: to learn from and to judge on.
        neighbours: that vote.
    """
    support, judged = features(labelled.support).double(), features(labelled.judged).double()
    readings: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "knn": lambda x, y, asked: nearest_neighbours(x, y, asked, neighbours),
        "probe": linear_probe,
    }
    accuracies: dict[str, list[float]] = {name: [] for name in readings}
    for task in range(len(labelled.collection.tasks)):
        own, asked = labelled.support.task == task, labelled.judged.task == task
        if not own.any() or not asked.any():
            continue
        for name, read in readings.items():
            predicted = read(support[own], torch.from_numpy(labelled.support.label[own]), judged[asked])
            accuracies[name].append(mean_per_class_accuracy(predicted.numpy(), labelled.judged.label[asked]))
    return {name: float(np.mean(values)) for name, values in accuracies.items() if values}


def nearest_neighbours(support: Tensor, labels: Tensor, asked: Tensor, neighbours: int) -> Tensor:
    """Labels int64 (M,) by weighted vote of the nearest by cosine.

    Args:
        support: features (N, F).
        labels: of these, int64 (N,).
        asked: features (M, F).
        neighbours: how many vote.
    """
    cosines = nn.functional.normalize(asked, dim=1) @ nn.functional.normalize(support, dim=1).T
    nearness, nearest = cosines.topk(min(neighbours, len(support)), dim=1)
    classes, number = labels.unique(return_inverse=True)
    votes = torch.zeros(len(asked), len(classes), dtype=cosines.dtype)
    votes.scatter_add_(1, number[nearest], (nearness * _SHARPNESS).exp())
    return classes[votes.argmax(dim=1)]


def linear_probe(support: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Labels int64 (M,) by logistic regression on standardised features; arguments as `nearest_neighbours`."""
    classes, number = labels.unique(return_inverse=True)
    centre, scale = support.mean(dim=0), support.std(dim=0, unbiased=False).clamp_min(1e-6)
    known, wanted = (support - centre) / scale, (asked - centre) / scale
    weight = torch.zeros(support.shape[1], len(classes), dtype=support.dtype, requires_grad=True)
    bias = torch.zeros(len(classes), dtype=support.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(known @ weight + bias, number) + _DECAY / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    with torch.no_grad():
        return classes[(wanted @ weight + bias).argmax(dim=1)]
