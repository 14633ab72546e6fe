"""Statistics of known photos' embeddings, for `agriclip_edge.drift`: centres of training photos, chance of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agriclip_edge.drift import LEVELS, MAX_BYTES, SIZES, Reference, squared_distances
from training.data import Collection, read_collection, read_photos
from training.evaluate import Embed, embed_photos

_DIRECTIONS = 32  # the widest within labels: with 64 the two sets of photos are told apart no better
_DRAWS = 2000  # samples of a size
_LEAST_VARIANCE = 1e-6  # within labels, in any direction: embeddings differ by more than 0.001
_SMALL = 60_000  # bytes of all but the centres

Vectors = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


def read_reference(
    data: Path, collection_name: str, labels: Callable[[Collection], Vectors], embed: Embed
) -> Reference:
    """Reference statistics of a collection's ``train`` and ``val`` photos.

    Args:
        data: root of the data.
        collection_name: folder under it.
        labels: gives the unit vectors of a collection's labels, float32 (L, D).
        embed: the image encoder.

    Raises:
        DataError: the data are incomplete.
    """
    collection = read_collection(data / collection_name)
    train, val = read_photos(collection, "train"), read_photos(collection, "val")
    return make_reference(
        embed_photos(embed, train), train.label, train.task, embed_photos(embed, val), val.task, labels(collection)
    )


def make_reference(
    train: Vectors, label: Indices, task: Indices, held_out: Vectors, held_out_task: Indices, words: Vectors
) -> Reference:
    """Make a bundle's reference statistics.

    Centres and covariance are of training photos. An encoder draws these nearer together than photos it has never
    seen, so how much farther those lie, and how far chance moves samples of one task, comes of photos held out.

    Args:
        train: unit vectors of training photos, float32 (M, D).
        label: their labels' numbers, int64 (M,).
        task: their tasks' numbers, int64 (M,).
        held_out: unit vectors of other photos of the same tasks, float32 (N, D).
        held_out_task: their tasks' numbers, int64 (N,).
        words: unit vectors of all labels' words, float32 (L, D).
    """
    most = max((MAX_BYTES - _SMALL) // (2 * train.shape[1]), 1)
    numbers, counts = np.unique(label, return_counts=True)
    numbers = np.sort(numbers[np.argsort(-counts, kind="stable")[:most]])
    centres = np.stack([train[label == number].mean(axis=0) for number in numbers])
    kept = np.isin(label, numbers)
    residuals = train[kept] - centres[np.searchsorted(numbers, label[kept])]
    values, vectors = np.linalg.eigh(residuals.T.astype(np.float64) @ residuals / len(residuals))
    values = np.maximum(values, _LEAST_VARIANCE)  # of few photos some are 0, or just below by rounding
    width = min(_DIRECTIONS, len(values) - 1)
    rest = float(values[:-width].mean())
    basis = (vectors[:, -width:] / np.sqrt(values[-width:] + rest)).T.astype(np.float32)
    of_centre = np.array([task[label == number][0] for number in numbers])
    near = np.sqrt(squared_distances(train, centres, basis, rest**0.5)[0])
    far = np.sqrt(squared_distances(held_out, centres, basis, rest**0.5)[0])
    common = np.intersect1d(task[kept], held_out_task)
    groups = [held_out_task == number for number in common]
    # How much farther unseen photos lie is taken over all tasks: one task's few photos would be its own yardstick.
    # Where each label has one photo, it is its own centre, and says nothing of how far photos lie.
    measured = [n for n in np.unique(of_centre) if len(np.unique(label[task == n])) < (task == n).sum()]
    grown = [far[held_out_task == n].mean() / near[task == n].mean() for n in common if n in measured]
    factor = float(np.mean(grown)) if grown else 1.0
    typical = np.array(
        [factor * near[task == n].mean() if n in measured else far.mean() for n in of_centre], np.float32
    )
    draft = Reference(
        centres=centres.astype(np.float32),
        typical=typical,
        basis=basis,
        rest=np.array([rest**0.5], np.float32),
        gap=(centres - words[numbers]).mean(axis=0).astype(np.float32),
        chance=np.ones((len(SIZES), len(LEVELS)), np.float32),
        singles=np.ones(101, np.float32),
    )
    ratios = draft.ratios(held_out)
    generator = np.random.default_rng(0)
    chance = []
    for size in SIZES:
        means = [generator.choice(ratios[groups[draw % len(groups)]], size).mean() for draw in range(_DRAWS)]
        chance.append(np.quantile(means, LEVELS))
    singles = np.quantile(ratios, np.linspace(0, 1, 101)).astype(np.float32)
    return Reference(draft.centres, typical, basis, draft.rest, draft.gap, np.array(chance, np.float32), singles)
