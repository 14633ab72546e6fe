"""Batches of pairs out of shards: the same whatever the number of processes, from any point on."""

from __future__ import annotations

import hashlib
import itertools
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.imaging.decode import decode
from agriclip_edge.parallel import ordered_map

from ..augment import augment
from ..data import Collection, DataError, Photos
from ..shards.index import Index, Sample, Shard, read_index
from .config import ContrastiveConfig

Captions = Callable[[str], Sequence[str]]
_CHUNK = 32  # photos that one thread makes at a time


class Entry(NamedTuple):
    """One photo as it lies in a shard."""

    data: bytes
    label: str
    task: tuple[int, str]  # number of the root, name
    sha256: str


class Position(NamedTuple):
    """Where a batch begins: the drawn photo ``offset`` of a group of shards of an epoch."""

    epoch: int = 0
    group: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Batch:
    """The pairs of one step; photos of this process's part alone.

    Attributes:
        images: uint8 (R, S, S, 3).
        labels: class of each of all B pairs.
        captions: of all B pairs.
        sha256: of the R photos' files.
        after: where the next batch begins.
    """

    images: Tensor
    labels: tuple[str, ...]
    captions: tuple[str, ...]
    sha256: tuple[str, ...]
    after: Position


@dataclass(frozen=True)
class _Plan:
    step: int
    entries: list[Entry]
    captions: tuple[str, ...]
    after: Position


class PairStream:
    """Class-balanced batches from shards, drawn by (seed, epoch, group) alone.

    A group of shards is read into memory as files, each photo is drawn as often as its weight says, and the draws are
    mixed. Every process plans the same batches; it decodes and augments its own part of them.
    """

    def __init__(self, roots: Sequence[Path], config: ContrastiveConfig, captions: Captions) -> None:
        """Read the indices.

        Args:
            roots: folders that `build-shards` wrote.
            config: batch, group, threads, weights and seed.
            captions: of a label; at least one.

        Raises:
            DataError: an index is missing or broken.
            UsageError: there is nothing to train on.
        """
        self._config = config
        self._captions = captions
        indices = [read_index(root) for root in roots]
        self._shards = [
            (number, roots[number] / shard.name)
            for number, index in enumerate(indices)
            for shard in index.shards
            if shard.split == "train"
        ]
        self.pairs = sum(shard.photos for index in indices for shard in index.shards if shard.split == "train")
        if self.pairs == 0:
            raise UsageError(
                f"{', '.join(map(str, roots))}: no photos to train on; accepted: shards of the split train"
            )
        self._weights = class_weights(indices, config.by_class, config.by_task)
        self.sha256 = hashlib.sha256("".join(index.plan for index in indices).encode()).hexdigest()

    def batches(self, size: int, own: slice, step: int = 0, begin: Position = Position()) -> Iterator[Batch]:  # noqa: B008
        """Batches without end from a step on.

        Args:
            size: side S of the photos in pixels.
            own: this process's part of a batch.
            step: number of the first.
            begin: where it begins, as the batch before it said.
        """

        def make(job: tuple[_Plan, int, int]) -> tuple[_Plan, int, npt.NDArray[np.uint8]]:
            plan, start, stop = job
            views = [self._view(plan, number, size) for number in range(start, stop)]
            return plan, stop, np.stack(views)

        parts: list[npt.NDArray[np.uint8]] = []
        jobs = (
            (plan, start, min(start + _CHUNK, own.stop))
            for plan in self._plans(step, begin)
            for start in range(own.start, own.stop, _CHUNK)
        )
        for plan, stop, views in ordered_map(make, jobs, workers=self._config.threads):
            parts.append(views)
            if stop == own.stop:
                labels = tuple(entry.label for entry in plan.entries)
                names = tuple(entry.sha256 for entry in plan.entries[own])
                yield Batch(torch.from_numpy(np.concatenate(parts)), labels, plan.captions, names, plan.after)
                parts.clear()

    def _view(self, plan: _Plan, number: int, size: int) -> npt.NDArray[np.uint8]:
        entry = plan.entries[number]
        try:
            # Crops keep at least half of the photo: twice the side in full is enough for every one of them.
            rgb = decode(entry.data, input_size=size)
        except PhotoError as error:
            raise DataError(f"a photo of {entry.label!r} with sha256 {entry.sha256} {error}") from None
        generator = np.random.default_rng((self._config.seed, 2, plan.step, number))
        return augment(rgb, size, self._config.augment, generator)

    def _plans(self, step: int, begin: Position) -> Iterator[_Plan]:
        batch = self._config.batch
        waiting: list[Entry] = []
        for group, drawn in ordered_map(self._draw, self._positions(begin), workers=1):
            offset = begin.offset if group[:2] == begin[:2] else 0
            before = len(waiting)  # of groups that are used up
            waiting = waiting + drawn[offset:]
            done = 0
            while len(waiting) - done >= batch:
                entries = waiting[done : done + batch]
                done += batch
                after = Position(group.epoch, group.group, offset + done - before)
                yield _Plan(step, entries, self._choose_captions(step, entries), after)
                step += 1
            waiting = waiting[done:]

    def _positions(self, begin: Position) -> Iterator[Position]:
        groups = -(-len(self._shards) // self._config.group)
        for epoch in itertools.count(begin.epoch):
            for group in range(begin.group if epoch == begin.epoch else 0, groups):
                yield Position(epoch, group)

    def _draw(self, position: Position) -> tuple[Position, list[Entry]]:
        """The photos of one group in the order in which they are shown."""
        config = self._config
        order = np.random.default_rng((config.seed, 0, position.epoch)).permutation(len(self._shards))
        chosen = order[position.group * config.group : (position.group + 1) * config.group]
        entries = [entry for number in chosen for entry in read_entries(*self._shards[int(number)])]
        generator = np.random.default_rng((config.seed, 1, position.epoch, position.group))
        edges = np.cumsum([self._weights[entry.task, entry.label] for entry in entries])
        counts = np.diff(np.floor(edges + generator.random()), prepend=0).astype(np.int64)  # systematic draw
        return position, [entries[i] for i in generator.permutation(np.repeat(np.arange(len(entries)), counts))]

    def _choose_captions(self, step: int, entries: Sequence[Entry]) -> tuple[str, ...]:
        """A caption each; photos of one class take different ones for as long as there are some."""
        generator = np.random.default_rng((self._config.seed, 3, step))
        left: dict[str, list[str]] = {}
        captions = []
        for entry in entries:
            if not left.get(entry.label):
                of_class = list(self._captions(entry.label))
                left[entry.label] = [of_class[i] for i in generator.permutation(len(of_class))]
            captions.append(left[entry.label].pop())
        return tuple(captions)


def class_weights(
    indices: Sequence[Index], by_class: float, by_task: float
) -> dict[tuple[tuple[int, str], str], float]:
    """How often an epoch shows a photo of each (task, label), on average once over all photos.

    The rule is `training.sampling.photo_weights`, told from the counts that the indices hold.
    """
    counts: Counter[str] = Counter()
    for index in indices:
        for task in index.tasks:
            counts.update({entry.label: entry.train for entry in task.classes})
    weights: dict[tuple[tuple[int, str], str], float] = {}
    total, photos = 0.0, 0
    for number, index in enumerate(indices):
        for task in index.tasks:
            for entry in task.classes:
                weight = max(1, counts[entry.label]) ** -by_class * len(task.classes) ** -by_task
                weights[(number, task.name), entry.label] = weight
                total, photos = total + entry.train * weight, photos + entry.train
    return {key: weight * photos / total for key, weight in weights.items()} if photos else {}


def read_entries(root: int, path: Path) -> Iterator[Entry]:
    """The photos of a shard, as files.

    Raises:
        DataError: the shard is missing or broken.
    """
    from webdataset.tariterators import tarfile_samples

    try:
        for raw in tarfile_samples(iter([{"url": str(path.resolve())}])):
            sample = msgspec.json.decode(raw["json"], type=Sample)
            yield Entry(raw["jpg"], sample.label, (root, sample.task), sample.sha256)
    except (OSError, tarfile.TarError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise DataError(f"{path} is not a whole shard: {str(error)[:200]}") from None


def sample_photos(roots: Sequence[Path], split: str, number: int, seed: int) -> tuple[Collection, Photos]:
    """At most ``number`` photos of a split at random, decoded, with the tasks of all roots (reservoir sampling).

    Raises:
        DataError: an index or a shard is missing or broken.
    """
    indices = [read_index(root) for root in roots]
    tasks = tuple(task for index in indices for task in index.tasks)
    labels = tuple(dict.fromkeys(entry.label for task in tasks for entry in task.classes))
    row = {label: number for number, label in enumerate(labels)}
    rows = tuple(tuple(row[entry.label] for entry in task.classes) for task in tasks)
    names = [(root, task.name) for root, index in enumerate(indices) for task in index.tasks]
    generator = np.random.default_rng((seed, 4))
    kept: list[Entry] = []
    for count, entry in enumerate(_every_entry(roots, [index.shards for index in indices], split)):
        place = count if count < number else int(generator.integers(count + 1))
        if place < number:
            kept[place : place + 1] = [entry]
    rgb = tuple(ordered_map(lambda entry: decode(entry.data), kept, workers=2))
    task_number = {name: number for number, name in enumerate(names)}
    answers = np.array([(task_number[entry.task], row[entry.label]) for entry in kept], np.int64).reshape(-1, 2)
    digest = hashlib.sha256("".join(entry.sha256 for entry in kept).encode()).hexdigest()
    return Collection(roots[0], "+".join(i.name for i in indices), tasks, labels, rows), Photos(
        rgb, answers[:, 0], answers[:, 1], digest
    )


def _every_entry(roots: Sequence[Path], shards: Sequence[Iterable[Shard]], split: str) -> Iterator[Entry]:
    for number, (root, own) in enumerate(zip(roots, shards)):
        for shard in own:
            if shard.split == split:
                yield from read_entries(number, root / shard.name)
