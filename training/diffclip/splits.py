"""Which labelled pixels train and which test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError

from .labelled import Mask
from .windows import Pixels

HALVINGS = 300  # random halvings of the places, of which the most even is taken


def few_shot(
    labels: npt.NDArray[np.int16], train: Mask, test: Mask, k: int, seed: int
) -> tuple[Pixels, Pixels, Pixels]:
    """Draw k pixels a class to train on; fewer where a class has fewer.

    The shots of one seed nest: those of a smaller k are among those of a larger.

    Args:
        labels: int16 (H, W), 0 unlabelled.
        train: bool (H, W): pixels that shots are drawn from.
        test: bool (H, W): pixels to judge; shots among them are taken out.
        k: shots a class, from 1 on.
        seed: of the draw.

    Returns:
        Shots, rows and columns, int64 (n, 2); their labels, int64 (n,); test pixels, int64 (m, 2), row by row.

    Raises:
        UsageError: k is below 1, or nothing is left to train or to test.
    """
    if k < 1:
        raise UsageError(f"{k} shots a class; accepted: at least 1")
    drawn = []
    for label in range(1, int(labels.max()) + 1):
        own = np.argwhere(train & (labels == label))
        drawn.append(np.random.default_rng((seed, label)).permutation(own)[:k])
    shots = np.concatenate(drawn) if drawn else np.empty((0, 2), np.int64)
    rest = test & (labels > 0)
    rest[tuple(shots.T)] = False
    if not len(shots) or not rest.any():
        raise UsageError("no labelled pixel is left to train on, or none to test")
    return shots, labels[tuple(shots.T)].astype(np.int64), np.argwhere(rest)


def limited(test: Pixels, most: int | None) -> Pixels:
    """The same random ``most`` of the test pixels for everybody, in order; all of them for None."""
    if most is None or len(test) <= most:
        return test
    return test[np.sort(np.random.default_rng(0).permutation(len(test))[:most])]


def blocked(labels: npt.NDArray[np.int16], groups: npt.NDArray[np.int32], seed: int) -> tuple[Mask, Mask]:
    """Half of the places to train on and the other half to test: the most even of 300 random halvings.

    Even is: each class has half of its pixels on either side.

    Args:
        labels: int16 (H, W), 0 unlabelled.
        groups: int32 (H, W): number of each pixel's place, -1 for none; pixels of no place are in neither half.
        seed: of the halvings: a new one for each draw of shots.

    Returns:
        Masks bool (H, W) of labelled pixels to train on and to test on.

    Raises:
        UsageError: fewer than two places hold labels.
    """
    inside = (labels > 0) & (groups >= 0)
    places, place = np.unique(groups[inside], return_inverse=True)
    if len(places) < 2:
        raise UsageError(f"labels lie in {len(places)} place; a blocked split needs at least 2")
    counts = np.zeros((len(places), int(labels.max()) + 1))
    np.add.at(counts, (place, labels[inside]), 1)
    counts = counts[:, counts.sum(axis=0) > 0]
    generator = np.random.default_rng((seed, HALVINGS))
    halves = np.zeros((HALVINGS, len(places)), bool)
    for half in halves:
        half[generator.permutation(len(places))[: (len(places) + 1) // 2]] = True
    shares = (halves @ counts) / counts.sum(axis=0)
    uneven = np.abs(shares - 0.5).sum(axis=1) + ((shares == 0) | (shares == 1)).sum(axis=1)  # a class on both sides
    best = halves[int(uneven.argmin())]
    train = np.zeros(labels.shape, bool)
    train[inside] = best[place]
    return train, inside & ~train


def apart(shots: Pixels, test: Pixels, tile: npt.NDArray[np.int32], pixels: int) -> Pixels:
    """Those test pixels that lie at least ``pixels`` rows or columns from every shot of their tile.

    With half a window plus one no window round a test pixel holds a shot; with a whole window no two overlap.
    """
    near = np.zeros(tile.shape, bool)
    for row, column in shots:
        box = (
            slice(max(row - pixels + 1, 0), row + pixels),
            slice(max(column - pixels + 1, 0), column + pixels),
        )
        near[box] |= tile[box] == tile[row, column]
    return test[~near[tuple(test.T)]]


def cells(height: int, width: int, side: int) -> npt.NDArray[np.int32]:
    """Squares of ``side`` pixels as places, numbered row by row: int32 (H, W)."""
    across = -(-width // side)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    return (rows[:, None] * across + columns).astype(np.int32)


def patches(inside: Mask, reach: int) -> npt.NDArray[np.int32]:
    """Connected parts of a mask after it was widened by ``reach`` pixels, as places: int32 (H, W), -1 outside."""
    from scipy import ndimage

    wide = ndimage.binary_dilation(inside, np.ones((3, 3), bool), iterations=reach)
    numbers, _ = ndimage.label(wide, np.ones((3, 3), int))
    return np.where(inside, numbers - 1, -1).astype(np.int32)
