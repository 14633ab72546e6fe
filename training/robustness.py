"""How much accuracy is left when the field has spoilt the photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .data import Collection, Photos
from .distil.corruptions import KINDS, corrupt
from .evaluate import Embed, Vectors, judge

STRENGTHS = (0.5, 1.0)
_BATCH = 32


@dataclass(frozen=True)
class Spoilt:
    """Photos under one corruption: its kind and strength, and their mean accuracy over tasks, 0 to 1."""

    kind: str
    strength: float
    accuracy: float


@dataclass(frozen=True)
class Robustness:
    """Mean accuracy over tasks, of photos as they are and spoilt.

    Attributes:
        photos: how many.
        clean: as they are, 0 to 1.
        spoilt: by kind, then by strength.
    """

    photos: int
    clean: float
    spoilt: tuple[Spoilt, ...]

    @property
    def over_clean(self) -> float:
        """Mean over kinds and strengths, over the accuracy of photos as they are."""
        return float(np.mean([one.accuracy for one in self.spoilt])) / self.clean

    def by_kind(self) -> dict[str, tuple[float, ...]]:
        """Accuracies of each kind, by rising strength."""
        return {kind: tuple(one.accuracy for one in self.spoilt if one.kind == kind) for kind in KINDS}


def judge_spoilt(
    embed: Embed,
    label_embeddings: Vectors,
    collection: Collection,
    photos: Photos,
    strengths: tuple[float, ...] = STRENGTHS,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Robustness:
    """Judge an image encoder on photos under every corruption of `training.distil.corruptions`.

    A photo is spoilt as it is stored, before it is cut and scaled for the encoder; its grain is its number.

    Args:
        embed: photos, upright RGB uint8 (H, W, 3), to unit vectors float32 (N, D).
        label_embeddings: unit vectors of ``collection.labels``, float32 (L, D).
        collection: the tasks.
        photos: of the collection.
        strengths: of each corruption, rising.
        progress: is told the passes done, all passes and the present one.
    """
    passes = [(kind, strength) for kind in KINDS for strength in strengths]

    def accuracy(kind: str, strength: float) -> float:
        parts = []
        for start in range(0, len(photos), _BATCH):
            batch = photos.rgb[start : start + _BATCH]
            if kind:
                batch = tuple(corrupt(rgb, kind, strength, start + row) for row, rgb in enumerate(batch))
            parts.append(embed(batch))
        return judge(np.concatenate(parts), label_embeddings, collection, photos).mean

    progress(0, 1 + len(passes), "photos as they are")
    clean, found = accuracy("", 0.0), []
    for number, (kind, strength) in enumerate(passes, 1):
        progress(number, 1 + len(passes), f"{kind}, strength {strength:g}")
        found.append(Spoilt(kind, strength, accuracy(kind, strength)))
    return Robustness(len(photos), clean, tuple(found))
