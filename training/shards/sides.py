"""On which side of a split each photo lies: whole groups, by a seeded draw that new photos hardly change."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..data import SPLITS
from .candidates import Candidate

_PREFERENCE = {split: rank for rank, split in enumerate(("query", "support", "val", "train"))}


@dataclass(frozen=True)
class Sides:
    """Outcome of the split.

    Attributes:
        split: of each photo.
        group: of each photo; one that stands for itself is a group of one.
        moved: photos whose source had put them on another side than the rest of their group.
    """

    split: tuple[str, ...]
    group: tuple[str, ...]
    moved: int


def choose_sides(candidates: Sequence[Candidate], val: float, seed: int) -> Sides:
    """Put each group in one split.

    A group whose photos have a split by their source goes where its strictest photo is (query, support, val, train:
    a photo meant for judging must not be trained on). The others are drawn: of each class of a task, groups go to
    ``val`` in the order of a seeded hash of their names while they fit into that share of its photos, rounded down.
    """
    assert set(_PREFERENCE) == set(SPLITS)
    groups: dict[str, list[int]] = defaultdict(list)
    names = [f"{photo.source}/{photo.group or photo.name}" for photo in candidates]
    for number, name in enumerate(names):
        groups[name].append(number)
    split = [photo.split for photo in candidates]
    moved = 0
    drawn: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, members in groups.items():
        given = {split[number] for number in members} - {""}
        if given:
            chosen = min(given, key=_PREFERENCE.__getitem__)
            moved += sum(split[number] not in ("", chosen) for number in members)
            for number in members:
                split[number] = chosen
        else:
            classes = Counter((candidates[number].task, candidates[number].label) for number in members)
            drawn[min(classes, key=lambda key: (-classes[key], key))].append(name)
    for stratum in drawn.values():
        room = int(sum(len(groups[name]) for name in stratum) * val)
        for name in sorted(stratum, key=lambda name: _draw(seed, name)):
            side = "val" if len(groups[name]) <= room else "train"
            room -= len(groups[name]) if side == "val" else 0
            for number in groups[name]:
                split[number] = side
    return Sides(tuple(split), tuple(names), moved)


def _draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
