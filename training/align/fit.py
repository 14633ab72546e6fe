"""Fits a map and a mix: solved on most training photos, chosen on those held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError

from ..data import Collection, Indices, Photos, hold_out
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
        UsageError: the classes have too few photos to hold any out.
    """
    sums: RidgeSums | None = None
    held: list[tuple[Part, Indices, Tensor, Tensor]] = []
    for part in parts:
        kept, out = split(part.photos, config)
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


def split(photos: Photos, config: AlignConfig) -> tuple[Indices, Indices]:
    """Numbers of the photos to solve on and of those held out: the same that stage 1 holds out for its seed."""
    number = {id(rgb): index for index, rgb in enumerate(photos.rgb)}
    kept, out = (
        np.array([number[id(rgb)] for rgb in side.rgb], dtype=np.int64)
        for side in hold_out(photos, config.held_out, config.seed)
    )
    return kept, out


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
