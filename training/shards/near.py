"""A search for near duplicates whose time is bounded: hashes in buckets, thumbnails for those that are close."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .fingerprint import THUMBNAIL, TURNS, Grey, turn_grey

_HASH_BITS = 64
_CHECKED_AT_ONCE = 512  # thumbnails


class Near(NamedTuple):
    """A photo of the index that is near: its number, bits and mean grey levels apart, and how the query lay to it."""

    number: int
    bits: int
    grey: float
    turn: int


class NearIndex:
    """Photos that can be asked for a near duplicate.

    Two 64-bit hashes at most ``bits`` apart agree wholly in at least one of ``bits`` + 1 parts (the pigeonhole
    principle; Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012), so
    that only the photos of ``bits`` + 1 buckets are compared, and none is missed.
    """

    def __init__(self, bits: int, grey: float, turned: bool = True) -> None:
        """Build an empty index.

        Args:
            bits: at most so many of the 64 differ.
            grey: at most so many grey levels lie between the thumbnails, on average over their pixels.
            turned: whether the seven turned and mirrored positions of a photo are asked for too. Seven more chances
                find seven times as many strangers, while turning changes a copy hardly at all (measured: 0 or 1 bit,
                less than one grey level); so half of both thresholds holds there.
        """
        self._bits, self._grey = bits, grey
        self._turns = range(len(TURNS) if turned else 1)
        edges = np.linspace(0, _HASH_BITS, bits + 2).astype(int)
        self._parts = [(int(low), (1 << int(high - low)) - 1) for low, high in pairwise(edges)]
        self._buckets: list[dict[int, _Rows]] = [{} for _ in self._parts]
        self._thumbnails = _Rows(np.uint8, THUMBNAIL * THUMBNAIL)
        self._means = _Rows(np.float32)
        self._numbers: list[int] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, upright: int, thumbnail: Grey) -> None:
        """Put a photo in, by its upright hash and its thumbnail uint8 (256,)."""
        row = len(self._numbers)
        self._numbers.append(number)
        self._thumbnails.append(thumbnail)
        self._means.append(thumbnail.mean(dtype=np.float32))
        entry = np.array([upright, row], np.uint64)
        for (shift, mask), buckets in zip(self._parts, self._buckets):
            buckets.setdefault(upright >> shift & mask, _Rows(np.uint64, 2)).append(entry)

    def find(self, hashes: npt.NDArray[np.uint64], thumbnail: Grey) -> Near | None:
        """A near duplicate among the photos put in, the one of the fewest bits, or None.

        Args:
            hashes: of the photo in the positions of `TURNS`, uint64 (8,).
            thumbnail: uint8 (256,).
        """
        best: Near | None = None
        for turn in self._turns:
            near = self._find_turned(int(hashes[turn]), thumbnail, turn)
            if near is not None and (best is None or near.bits < best.bits):
                best = near
        return best

    def _find_turned(self, wanted: int, thumbnail: Grey, turn: int) -> Near | None:
        found = []
        for (shift, mask), buckets in zip(self._parts, self._buckets):
            bucket = buckets.get(wanted >> shift & mask)
            if bucket is not None:
                found.append(bucket.rows)
        if not found:
            return None
        entries = np.concatenate(found)
        distances = np.bitwise_count(entries[:, 0] ^ np.uint64(wanted))
        close = np.flatnonzero(distances <= (self._bits // 2 if turn else self._bits))
        if not len(close):
            return None
        rows, first = np.unique(entries[close, 1].astype(np.int64), return_index=True)
        return self._check(rows, distances[close][first], thumbnail, turn)

    def _check(self, rows: npt.NDArray[np.int64], bits: npt.NDArray[Any], thumbnail: Grey, turn: int) -> Near | None:
        """The row whose thumbnail agrees too, of the fewest bits.

        Thumbnails differ by no less than their means do, which spares most comparisons among plain photos.
        """
        side, limit = (THUMBNAIL, THUMBNAIL), self._grey / 2 if turn else self._grey
        turned = turn_grey(thumbnail.reshape(side), turn).reshape(-1).astype(np.int16)
        likely = np.abs(self._means.rows[rows] - turned.mean(dtype=np.float32)) <= limit
        rows, bits = rows[likely], bits[likely]
        order = np.argsort(bits, kind="stable")
        for start in range(0, len(order), _CHECKED_AT_ONCE):
            some = order[start : start + _CHECKED_AT_ONCE]
            grey = np.abs(self._thumbnails.rows[rows[some]] - turned).mean(axis=1)
            agreeing = np.flatnonzero(grey <= limit)
            if len(agreeing):
                chosen = agreeing[0]
                row = int(rows[some[chosen]])
                return Near(self._numbers[row], int(bits[some[chosen]]), float(grey[chosen]), turn)
        return None


class _Rows:
    """An array that rows are added to: its room doubles when it is full."""

    def __init__(self, dtype: npt.DTypeLike, width: int = 0) -> None:
        self._array = np.empty((2, width) if width else 2, dtype)
        self._count = 0

    @property
    def rows(self) -> npt.NDArray[Any]:
        """The rows so far, without a copy."""
        return self._array[: self._count]

    def append(self, row: Any) -> None:
        """Add a row."""
        if self._count == len(self._array):
            self._array = np.concatenate([self._array, np.empty_like(self._array)])
        self._array[self._count] = row
        self._count += 1
