"""What stands in a folder of shards: ``index.json``, and the JSON beside every photo."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from ..data import Collection, DataError, Task

VERSION = 1
INDEX = "index.json"
SHARD_NAME = re.compile(r"(train|val|query|support)-\d{6}\.tar")


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One photo's record.

    Attributes:
        label: in words.
        task: the question that the label answers.
        split: ``train``, ``val``, ``query`` or ``support``.
        source: short name of the source that it was taken from.
        origin: where that source comes from: repository, DOI, URL.
        licence: as stated there.
        group: photos of one group (one animal's frames, one picture's tiles) lie in one split.
        path: of the file in its source; a box's number follows it after ``#``.
        width: in pixels, as it lies in the shard.
        height: in pixels.
        sha256: of the JPEG that lies in the shard.
        meta: what else the source said.
    """

    label: str
    task: str
    split: str
    source: str
    origin: str
    licence: str
    group: str
    path: str
    width: int
    height: int
    sha256: str
    meta: dict[str, str] = {}


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tar: its name in the folder, how many photos it holds, its size in bytes and its sha256."""

    name: str
    split: str
    photos: int
    bytes: int
    sha256: str


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``index.json``.

    Attributes:
        version: of this form.
        name: of the collection.
        plan: sha256 over all that decides the shards' content: same plan, same shards.
        tasks: as in ``tasks.json``, with the photos that are there after duplicates were dropped.
        shards: in order.
    """

    version: int
    name: str
    plan: str
    tasks: tuple[Task, ...]
    shards: tuple[Shard, ...]

    def collection(self, root: Path) -> Collection:
        """The tasks with their labels numbered through, as `training.data.read_collection` gives them."""
        labels = tuple(dict.fromkeys(entry.label for task in self.tasks for entry in task.classes))
        number = {label: row for row, label in enumerate(labels)}
        rows = tuple(tuple(number[entry.label] for entry in task.classes) for task in self.tasks)
        return Collection(root, self.name, self.tasks, labels, rows)


def read_index(root: Path) -> Index:
    """Read ``index.json``.

    Raises:
        DataError: it is missing, of another version or not in the documented form.
    """
    path = root / INDEX
    try:
        index = msgspec.json.decode(path.read_bytes(), type=Index)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; accepted: a folder that build-shards wrote"
        ) from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}") from None
    if index.version != VERSION:
        raise DataError(f"{path} is of version {index.version}; accepted: {VERSION}")
    for shard in index.shards:
        if SHARD_NAME.fullmatch(shard.name) is None:
            raise DataError(f"{path} names the shard {shard.name!r}; accepted: names such as train-000000.tar")
    return index


def verify_shards(root: Path) -> Index:
    """Read the index and hash every shard.

    Raises:
        DataError: a shard is missing or holds other bytes than the index says.
    """
    index = read_index(root)
    for shard in index.shards:
        if file_sha256(root / shard.name) != shard.sha256:
            raise DataError(f"{root / shard.name} is not the shard that {INDEX} describes; build it again")
    return index


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, hex.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
