"""Which photos are let in: none that equals, or nearly equals, a held-out photo or one that was let in before."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agriclip_edge.files import atomic_write

from .candidates import Candidate
from .fingerprint import TURNS, Print, PrintTable
from .near import NearIndex
from .recipe import Recipe

HELD_OUT = "held out"
COLUMNS = (
    "why", "dropped source", "dropped path", "dropped task", "dropped label", "dropped split", "kept source",
    "kept path", "kept task", "kept label", "kept split", "bits", "grey levels", "cosine", "position",
)  # fmt: skip
_REPORT_EVERY = 256  # photos
_TRAIN = 2  # rank of photos that judge nothing
_ABOUT = "# sha256 of training photos that repeat a judged one, or nearly so; written by build-shards"


@dataclass(frozen=True)
class Duplicate:
    """A photo that was left out, and the one it repeats.

    Attributes:
        dropped: number of the photo in the list that was searched.
        kept: number of the one that stays.
        why: ``same file``, ``same pixels``, ``near`` or ``embedding``.
        bits: of the 64 of the difference hash in which they differ; None for ``embedding``.
        grey: mean difference of the thumbnails in grey levels; None for ``embedding``.
        cosine: of the embeddings; None unless ``embedding``.
        turn: position of the dropped one to the kept one, a number of `fingerprint.TURNS`.
    """

    dropped: int
    kept: int
    why: str
    bits: int | None = 0
    grey: float | None = 0.0
    cosine: float | None = None
    turn: int = 0


def find_duplicates(
    candidates: Sequence[Candidate],
    prints: Sequence[Print],
    held_out: int,
    recipe: Recipe,
    progress: Callable[[int], None],
) -> list[Duplicate]:
    """Choose greedily: held-out photos first, then those that a source keeps for judging, then the others in order.

    Of the photos that stay, no two are equal or near; so a photo is compared with those that stay alone, and a
    thousand copies of one black picture cost no more than a thousand others.

    Args:
        candidates: N photos that can be decoded; the first ``held_out`` are those of test sets.
        prints: theirs.
        held_out: how many are of test sets; they are not compared with one another.
        recipe: for its thresholds.
        progress: called with the number of photos done since the last call.
    """
    table = PrintTable.of(prints)
    index = NearIndex(recipe.bits, recipe.grey, recipe.turned)
    files: dict[tuple[str, object], int] = {}
    pixels: dict[str, int] = {}
    found = []
    for count, number in enumerate(_order(candidates, held_out)):
        own = prints[number]
        file = (own.file, candidates[number].box)
        duplicate = None
        if number >= held_out:
            if file in files:
                duplicate = Duplicate(number, files[file], "same file")
            elif own.pixels in pixels:
                duplicate = Duplicate(number, pixels[own.pixels], "same pixels")
            else:
                near = index.find(table.hashes[number], table.thumbnails[number])
                if near is not None:
                    duplicate = Duplicate(number, near.number, "near", near.bits, near.grey, turn=near.turn)
        if duplicate is None:
            files.setdefault(file, number)
            pixels.setdefault(own.pixels, number)
            index.add(number, int(table.hashes[number, 0]), table.thumbnails[number])
        else:
            found.append(duplicate)
        if count % _REPORT_EVERY == _REPORT_EVERY - 1:
            progress(_REPORT_EVERY)
    return found


def find_judged_copies(
    candidates: Sequence[Candidate],
    prints: Sequence[Print],
    held_out: int,
    recipe: Recipe,
    progress: Callable[[int], None],
) -> list[int]:
    """Training photos that equal or nearly equal one that judges: their numbers.

    `find_duplicates` names one photo for each that it drops. That may be another training photo, and a photo that
    judges may be dropped itself; who reads the sources as they are has both, and must leave out what is named here.

    Args:
        candidates: as for `find_duplicates`.
        prints: likewise.
        held_out: likewise.
        recipe: likewise.
        progress: likewise.
    """
    table = PrintTable.of(prints)
    index = NearIndex(recipe.bits, recipe.grey, recipe.turned)
    found = []
    for count, number in enumerate(_order(candidates, held_out)):
        if _rank(candidates, held_out, number) < _TRAIN:
            index.add(number, int(table.hashes[number, 0]), table.thumbnails[number])
        elif index.find(table.hashes[number], table.thumbnails[number]) is not None:
            found.append(number)
        if count % _REPORT_EVERY == _REPORT_EVERY - 1:
            progress(_REPORT_EVERY)
    return found


def find_alike(
    embeddings: npt.NDArray[np.float32], judged: npt.NDArray[np.bool_], held_out: int, cosine: float
) -> list[Duplicate]:
    """Photos of one side of a split whose embedding is that of a photo on the other side.

    Args:
        embeddings: N unit vectors, float32 (N, D).
        judged: for each photo whether it is held out or judges, (N,).
        held_out: how many at the start are of test sets.
        cosine: least one that counts.

    Returns:
        train photos that repeat a judging one, and judging ones that repeat a held-out one.
    """
    found = []
    sides = [
        (np.flatnonzero(~judged), np.flatnonzero(judged)),
        (np.flatnonzero(judged)[held_out:], np.arange(held_out)),
    ]
    for mine, theirs in sides:
        if not len(theirs):
            continue
        other = embeddings[theirs]
        for start in range(0, len(mine), 1024):
            some = mine[start : start + 1024]
            cosines = embeddings[some] @ other.T
            nearest = cosines.argmax(axis=1)
            for row in np.flatnonzero(cosines.max(axis=1) >= cosine):
                value = float(cosines[row, nearest[row]])
                kept = int(theirs[nearest[row]])
                found.append(Duplicate(int(some[row]), kept, "embedding", None, None, min(value, 1.0)))
    return found


def write_judged_copies(path: Path, numbers: Sequence[int], prints: Sequence[Print]) -> None:
    """Write the hashes of photos' files, sorted, one a line: `training.data.judged_copies` reads them."""
    lines = [_ABOUT, *sorted({prints[number].file for number in numbers})]
    with atomic_write(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def write_list(
    path: Path, duplicates: Sequence[Duplicate], candidates: Sequence[Candidate], splits: Sequence[str]
) -> None:
    """Write the published list as CSV: both photos of each pair, how far apart they are, and why one was dropped."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in sorted(
        duplicates, key=lambda entry: (candidates[entry.dropped].source, candidates[entry.dropped].name)
    ):
        cells: list[object] = [entry.why]
        for number in (entry.dropped, entry.kept):
            photo = candidates[number]
            cells += [photo.source, photo.name, photo.task, photo.label, splits[number]]
        cells.append("" if entry.bits is None else entry.bits)
        cells.append("" if entry.grey is None else f"{entry.grey:.2f}")
        cells.append("" if entry.cosine is None else f"{entry.cosine:.4f}")
        cells.append(TURNS[entry.turn])
        writer.writerow(cells)
    with atomic_write(path) as file:
        file.write(buffer.getvalue().encode("utf-8", "backslashreplace"))


def _order(candidates: Sequence[Candidate], held_out: int) -> list[int]:
    """Held-out photos, then judging ones, then the rest; within each in the given order."""

    return sorted(range(len(candidates)), key=lambda number: _rank(candidates, held_out, number))


def _rank(candidates: Sequence[Candidate], held_out: int, number: int) -> int:
    if number < held_out:
        return 0
    return 1 if candidates[number].split not in ("", "train") else _TRAIN
