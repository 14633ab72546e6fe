"""Fits a map and a mix: solved on most training photos, chosen on those held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError

from ..data import Collection, Indices, Photos, draw_held_out, join_photos
from ..evaluate import TaskResult, Vectors, judge
from ..sampling import photo_weights
from .artefact import Alignment, mix
from .config import AlignConfig
from .encoders import Backbone, TextAligned
from .features import FeatureStore
from .ridge import AffineMap, RidgeSums, explained


@dataclass(frozen=True)
class Part:
    """The photos of one collection, and the vectors of its labels.

    Attributes:
        collection: has L labels.
        photos: of one of its splits.
        labels: from the share of symptoms that an encoder wants to unit vectors float32 (L, D).
    """

    collection: Collection
    photos: Photos
    labels: Callable[[float], Vectors]


@dataclass(frozen=True)
class Fitted:
    """A map with the mix that goes with it.

    Attributes:
        alignment: the map.
        share: of the aligned encoder in the ensemble.
        mixes: mean accuracy over tasks on held-out photos by share.
    """

    alignment: Alignment
    share: float
    mixes: tuple[tuple[float, float], ...]


def fit(
    parts: Sequence[Part], backbone: Backbone, encoder: TextAligned, config: AlignConfig, store: FeatureStore
) -> Fitted:
    """Fit a map from a backbone's features to an encoder's vectors, and the mix of both.

    Args:
        parts: training photos; labels weigh photos and choose the mix, and do nothing else.
        backbone: the source.
        encoder: the target.
        config: the recipe.
        store: of features.

    Raises:
        DataError: two parts have a task of one name.
        UsageError: there is no part, or the classes have too few photos to hold any out.
    """
    if not parts:
        raise UsageError("no collection; accepted: at least one")
    sums: RidgeSums | None = None
    held: list[tuple[Part, Indices, Tensor, Tensor]] = []
    for part, (kept, out) in zip(parts, split(parts, config)):
        features = store.features(backbone, part.photos)
        targets = encoder.project(store.features(encoder.backbone, part.photos))
        weights = torch.from_numpy(photo_weights(part.photos, part.collection, config.by_class, config.by_task))
        shard = RidgeSums(features.shape[1], targets.shape[1]).add(features[kept], targets[kept], weights[kept])
        sums = shard if sums is None else sums.merge(shard)
        held.append((part, out, features[out], targets[out]))
    if sums is None or not any(len(out) for _, out, _, _ in held):
        raise UsageError(
            f"no photo is held out at a share of {config.held_out}; accepted: more photos or a larger share"
        )
    asked, wanted = torch.cat([entry[2] for entry in held]), torch.cat([entry[3] for entry in held])
    maps = list(sums.solve(config.strengths))
    cosines = [_cosine(candidate, asked, wanted) for candidate in maps]
    best = int(np.argmax(cosines))
    alignment = Alignment(
        maps[best],
        backbone.space,
        encoder.space,
        config.strengths[best],
        cosines[best],
        explained(maps[best](asked), wanted),
        tuple(zip(config.strengths, cosines)),
    )

    def accuracy(share: float) -> float:
        results: list[TaskResult] = []
        for part, out, features, targets in held:
            if len(out) == 0:
                continue
            vectors = mix(alignment.vectors(features), targets, share).numpy()
            results += judge(vectors, part.labels(encoder.symptoms), part.collection, part.photos.take(out)).results
        return float(np.mean([result.accuracy for result in results]))

    share, mixes = best_share(accuracy, config.mixes)
    return Fitted(alignment, share, mixes)


def joined(parts: Sequence[Part]) -> tuple[Collection, Photos]:
    """The parts as one collection, as stage 1 is trained on them."""
    return join_photos(
        [part.collection for part in parts], [part.photos for part in parts], parts[0].collection.root.parent
    )


def split(parts: Sequence[Part], config: AlignConfig) -> list[tuple[Indices, Indices]]:
    """Numbers of each part's photos to solve on, and of those held out.

    They are those that stage 1 holds out of the same collections for its seed.
    """
    out = draw_held_out(joined(parts)[1], config.held_out, config.seed)
    sides = np.split(out, np.cumsum([len(part.photos) for part in parts])[:-1])
    return [(np.flatnonzero(~side), np.flatnonzero(side)) for side in sides]


def best_share(accuracy: Callable[[float], float], mixes: int) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The share of highest accuracy among evenly spaced ones, and all that were tried.

    Accuracy on few photos has plateaus: among shares that are equally good the middle one is the safest.
    """
    tried = tuple((share, accuracy(share)) for share in np.linspace(0, 1, mixes).tolist())
    top = max(value for _, value in tried)
    best = [share for share, value in tried if value == top]
    return best[len(best) // 2], tried


def _cosine(candidate: AffineMap, features: Tensor, targets: Tensor) -> float:
    return float(nn.functional.cosine_similarity(candidate(features), targets.double(), dim=1).mean())
