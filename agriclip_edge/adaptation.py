"""Labels set against a place: a share of the mean of its photos, which need no labels, is taken off every photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import LabelError, UsageError
from .labels.pack import LabelPack, Origin

if TYPE_CHECKING:
    import numpy.typing as npt

SHARE = 0.5  # of the mean: gains where photos come as they come, and where all show one label (decisions/0009)
LEAST = 4  # photos: of fewer, the mean is of what they show
MOST = 100  # photos that are looked at: by ten the gain is there
Item = TypeVar("Item")


def origin_of(vectors: npt.NDArray[np.float32], share: float = SHARE) -> npt.NDArray[np.float32]:
    """What is taken off photos before labels are compared: score = label . (photo - origin).

    A label's mean cosine over a place says where the place lies beside the label's words, and not what a photo shows.
    With the whole mean taken off, all labels score alike on average: distribution normalisation (Zhou et al. 2023,
    Test-Time Distribution Normalization for Contrastively Learned Vision-language Models); their mean of texts is the
    same for all labels and moves no answer. A share leaves room for photos that show some labels more than others.

    Args:
        vectors: unit vectors of N photos of a place, float32 (N, D).
        share: of their mean.

    Returns:
        float32 (D,).

    Example:
        >>> origin_of(np.eye(2, dtype=np.float32)).tolist()
        [0.25, 0.25]
    """
    origin: npt.NDArray[np.float32] = (share * vectors.mean(axis=0, dtype=np.float64)).astype(np.float32)
    return origin


def adapted(pack: LabelPack, vectors: npt.NDArray[np.float32], image_encoder: str) -> LabelPack:
    """A pack set against a place; what it was adapted to before is gone.

    Args:
        pack: any labels that were not taught.
        vectors: unit vectors of N photos of the place, float32 (N, D), whatever they show.
        image_encoder: sha256 of what embedded them (`Bundle.image_encoder_id`).

    Raises:
        UsageError: under 4 photos.
        LabelError: the pack was taught by photos with labels.
    """
    if len(vectors) < LEAST:
        raise UsageError(f"{len(vectors)} photos of the place could be used; accepted: at least {LEAST}")
    if pack.image_encoder:
        message = f"pack {pack.name} was taught by photos with labels, which say more of a place than photos without"
        raise LabelError(f"{message}; accepted: a pack that was not")
    vector = origin_of(vectors).astype(np.float16).astype(np.float32)  # as a stored pack
    return replace(pack, origin=Origin(vector, len(vectors), image_encoder))


def spread(items: Sequence[Item], most: int = MOST) -> list[Item]:
    """At most so many of the items, from the first to the last at even steps.

    Example:
        >>> spread("abcdefgh", most=4)
        ['a', 'c', 'f', 'h']
    """
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
