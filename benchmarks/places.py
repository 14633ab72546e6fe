"""Photos of a place without labels, as they come or mostly of one label, and what they have taken off all photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agriclip_edge.adaptation import origin_of

Indices = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the photos' mean that is taken off
DRAWS = 5


@dataclass(frozen=True)
class Place:
    """How the photos of a place are drawn.

    Attributes:
        photos: how many.
        most: share of them that shows one label, drawn too; None draws photos as they come.
    """

    photos: int
    most: float | None = None

    def __str__(self) -> str:
        """In words."""
        if self.most is None:
            return f"{self.photos}, as they come"
        return f"{self.photos}, {'all' if self.most == 1 else f'{self.most:.0%}'} of one label"

    def draw(self, label: Indices, generator: np.random.Generator) -> Indices:
        """Numbers of the photos drawn, of those whose labels int64 (N,) are given; with ``most``, with replacement."""
        if self.most is None:
            return generator.permutation(len(label))[: self.photos]
        one = label == generator.choice(np.unique(label))
        weights = np.where(one, self.most / one.sum(), (1 - self.most) / max(int((~one).sum()), 1))
        return generator.choice(len(label), self.photos, p=weights / weights.sum())


PLACES = (Place(10), Place(30), Place(30, 0.5), Place(30, 0.8), Place(30, 1.0))


def origins(
    vectors: Vectors, label: Indices, seed: int, places: tuple[Place, ...] = PLACES
) -> Iterator[tuple[Place, float, Vectors]]:
    """What is taken off, for each way to draw photos, share and draw.

    Args:
        vectors: unit vectors of a place's photos, float32 (N, D).
        label: what they show, int64 (N,); for uneven draws alone.
        seed: of the place; the draws of each have seeds of their own.
        places: ways to draw.

    Yields:
        the way, the share, and the origin float32 (D,) of one draw.
    """
    for place in places:
        for draw in range(DRAWS):
            drawn = place.draw(label, np.random.default_rng((seed, draw)))
            for share in SHARES:
                yield place, share, origin_of(vectors[drawn], share)
