"""Shards on disk: each written beside its place and renamed, and taken up again where a killed run left off."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from agriclip_edge.errors import PhotoError
from agriclip_edge.files import atomic_write
from agriclip_edge.parallel import ordered_map

from ..data import SPLITS, DataError
from .candidates import Candidate
from .fingerprint import Print
from .index import VERSION, Sample, Shard, file_sha256
from .picture import Picture, make_picture
from .recipe import Recipe

_JOURNAL = "shards.jsonl"


@dataclass(frozen=True)
class Entry:
    """A photo that goes in: where its bytes are, what they were, and its record but for size and sha256."""

    candidate: Candidate
    print: Print
    sample: Sample


@dataclass(frozen=True)
class Plan:
    """What each shard will hold.

    Attributes:
        sha256: over everything that decides the shards' bytes.
        shards: name, and its entries, in order.
    """

    sha256: str
    shards: tuple[tuple[str, tuple[Entry, ...]], ...]


class _Written(msgspec.Struct, frozen=True):
    """A line of the journal."""

    plan: str
    shard: Shard


def plan_shards(entries: Sequence[Entry], recipe: Recipe) -> Plan:
    """Shuffle each split by a seeded hash of its photos' names, and cut it into shards of nearly one size.

    Training reads shards from end to end: each must be a fair sample of the whole. Shards of one size give the
    ranks of a DDP run equal shares.
    """
    by_split: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_split[entry.sample.split].append(entry)
    digest = hashlib.sha256(msgspec.json.encode((VERSION, recipe.short_side, recipe.quality, recipe.shard_photos)))
    shards = []
    for split in SPLITS:
        photos = sorted(by_split[split], key=lambda entry: _place(entry, recipe.seed))
        count = -(-len(photos) // recipe.shard_photos)
        for number in range(count):
            part = photos[number * len(photos) // count : (number + 1) * len(photos) // count]
            shards.append((f"{split}-{number:06d}.tar", tuple(part)))
            for entry in part:
                box = entry.candidate.box and entry.candidate.box.edges
                digest.update(msgspec.json.encode((split, number, entry.sample, entry.print.file, box)))
    return Plan(digest.hexdigest(), tuple(shards))


def write_shards(
    plan: Plan, folder: Path, work: Path, recipe: Recipe, workers: int, progress: Callable[[int], None]
) -> list[Shard]:
    """Write what the plan says; a shard that an earlier run of the same plan finished is hashed and kept.

    Args:
        plan: of all shards.
        folder: where they go.
        work: folder of the journal.
        recipe: for the pictures' size and quality.
        workers: threads that make pictures.
        progress: called with the number of photos done since the last call.

    Raises:
        DataError: a photo is no longer what it was when it was listed.
    """
    written = _read_journal(work / _JOURNAL)
    names = {name for name, _ in plan.shards}
    for former in written:
        if former.shard.name not in names:  # of another plan that was never finished
            (folder / former.shard.name).unlink(missing_ok=True)
    finished = {entry.shard.name: entry.shard for entry in written if entry.plan == plan.sha256}
    shards = []
    with (work / _JOURNAL).open("ab") as journal:
        for name, entries in plan.shards:
            shard = finished.get(name)
            path = folder / name
            if shard is not None and path.is_file() and file_sha256(path) == shard.sha256:
                progress(len(entries))
            else:
                shard = _write_shard(path, entries, recipe, workers, progress)
                journal.write(msgspec.json.encode(_Written(plan.sha256, shard)) + b"\n")
                journal.flush()
            shards.append(shard)
    return shards


def _write_shard(
    path: Path, entries: Sequence[Entry], recipe: Recipe, workers: int, progress: Callable[[int], None]
) -> Shard:
    from webdataset.writer import TarWriter

    def picture(entry: Entry) -> tuple[Entry, Picture]:
        return entry, _picture(entry, recipe)

    with atomic_write(path) as file:
        stream = _Hashed(file)
        # Owner, mode and time are fixed: same photos, same bytes, same sha256.
        writer = TarWriter(stream, user="", group="", encoder=False, mtime=0.0)
        for number, (entry, made) in enumerate(ordered_map(picture, entries, workers)):
            sample = msgspec.structs.replace(
                entry.sample, width=made.width, height=made.height, sha256=hashlib.sha256(made.data).hexdigest()
            )
            record = msgspec.json.encode(sample)
            writer.write({"__key__": f"{path.stem}-{number:06d}", "jpg": made.data, "json": record})
            progress(1)
        writer.close()
    return Shard(path.name, entries[0].sample.split, len(entries), stream.count, stream.digest.hexdigest())


def _picture(entry: Entry, recipe: Recipe) -> Picture:
    where = f"{entry.candidate.source}: {entry.candidate.name}"
    try:
        data = entry.candidate.blob.read()
        if hashlib.sha256(data).hexdigest() != entry.print.file:
            raise DataError(f"{where} has changed since it was listed; run the same command again")
        return make_picture(entry.candidate, data, recipe.short_side, recipe.quality)
    except PhotoError as error:
        raise DataError(f"{where} {error}, and could be read before; run the same command again") from None


def _place(entry: Entry, seed: int) -> bytes:
    text = f"{seed}\0order\0{entry.candidate.source}\0{entry.candidate.name}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _read_journal(path: Path) -> list[_Written]:
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[_Written]:
    with path.open("r+b") as file:
        whole = 0
        for line in file:
            try:
                entry = msgspec.json.decode(line, type=_Written)
            except msgspec.MsgspecError:
                break
            whole += len(line)
            yield entry
        file.truncate(whole)  # a line that a kill cut off


class _Hashed:
    """A file to write to that counts and hashes what goes through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write, hash and count."""
        self.digest.update(data)
        self.count += len(data)
        return self._file.write(data)
