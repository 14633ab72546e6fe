"""Tasks to be judged on: from a collection, a folder of class folders, or a tar; photos stay files until needed."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import SPLITS, Collection, DataError, Task
from .metrics import Indices

_ACCEPTED = "accepted: <label>/<photo>, or <split>/<label>/<photo>, in a folder or an uncompressed tar"


@dataclass(frozen=True)
class PhotoSet:
    """Photos of one task and one split, with their answers.

    Attributes:
        names: of the files, for messages.
        files: their bytes.
        label: number of each photo's label in the task, int64 (N,).
        sha256: one hash over all files and their labels, in order.
    """

    names: tuple[str, ...]
    files: tuple[bytes, ...]
    label: Indices
    sha256: str

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def of(cls, photos: Iterable[tuple[str, bytes, int]]) -> PhotoSet:
        """A set of photos given as name, bytes and number of the label."""
        listed = list(photos)
        digest = hashlib.sha256()
        for _, data, row in listed:
            digest.update(hashlib.sha256(data).digest() + row.to_bytes(4, "little"))
        label = np.array([row for _, _, row in listed], np.int64)
        return cls(tuple(p[0] for p in listed), tuple(p[1] for p in listed), label, digest.hexdigest())


@dataclass(frozen=True)
class JudgedTask:
    """One question with its possible answers and its photos.

    Attributes:
        name: short name.
        domain: what it is about, as its source says; empty when that is not known.
        labels: C labels in words.
        photos: to be judged.
        support: that shots are drawn from; without photos when there are none.
    """

    name: str
    domain: str
    labels: tuple[str, ...]
    photos: PhotoSet
    support: PhotoSet


def collection_tasks(collection: Collection, split: str, support: str | None) -> list[JudgedTask]:
    """All tasks of a collection that have photos in ``split``.

    Raises:
        DataError: a tar is missing or broken, or does not hold what ``tasks.json`` says; no task has such photos.
    """
    for name in filter(None, (split, support)):
        if name not in SPLITS:
            raise DataError(f"no split is called {name!r}; accepted: {', '.join(SPLITS)}")
    tasks = [_collection_task(collection.root, task, split, support) for task in collection.tasks]
    with_photos = [task for task in tasks if len(task.photos)]
    if not with_photos:
        raise DataError(f"{collection.root} holds no {split} photos")
    return with_photos


def support_of(split: str) -> str:
    """Where the shots for photos of a split come from, unless another split is named."""
    return "support" if split == "query" else "train"


def path_task(
    path: Path, split: str | None = None, support: str | None = None, shots: bool = False
) -> tuple[JudgedTask, str]:
    """One task from a folder or a tar; the folders' names with spaces for underscores are its labels.

    Args:
        path: holds ``<label>/<photo>``, all of which is judged, or ``<split>/<label>/<photo>``.
        split: which split to judge; None takes ``query`` or else ``val``.
        support: which split gives the shots; None takes `support_of` the judged one.
        shots: whether any are wanted.

    Returns:
        the task, and which split of it is judged, empty when it has none.

    Raises:
        DataError: nothing there, or not laid out so.
    """
    splits = _splits(path)
    if "" in splits:
        if split or shots:
            raise DataError(f"{path} has class folders and no splits: a choice of split and few shots do not apply")
        chosen, given = "", None
    else:
        chosen = split or ("query" if "query" in splits else "val")
        given = (support or support_of(chosen)) if shots else None
    for name in filter(None, (chosen, given)):
        if name not in splits:
            raise DataError(f"{path} has the splits {', '.join(sorted(splits))}, not {name!r}")
    folders = sorted({folder for entries in splits.values() for folder, _, _ in entries})
    labels = tuple(folder.replace("_", " ") for folder in folders)
    if len(labels) < 2:
        raise DataError(f"{path} holds {len(labels)} class; accepted: at least two")
    rows = {folder: row for row, folder in enumerate(folders)}
    held = splits[given] if given else []
    name = path.name.removesuffix(".tar")
    return JudgedTask(name, "", labels, _photo_set(splits[chosen], rows), _photo_set(held, rows)), chosen


_Entry = tuple[str, str, bytes]  # class folder, name, bytes


def _photo_set(entries: Sequence[_Entry], rows: dict[str, int]) -> PhotoSet:
    return PhotoSet.of((name, data, rows[folder]) for folder, name, data in entries)


def _collection_task(root: Path, task: Task, split: str, support: str | None) -> JudgedTask:
    path = root / f"{task.name}.tar"
    entries: dict[str, list[_Entry]] = {}
    wanted = {name for name in (split, support) if name}
    for name, data in _tar_files(path, wanted):
        found, folder = _parts(path, name)
        entries.setdefault(found, []).append((folder, f"{path.name}:{name}", data))
    rows = {entry.folder: row for row, entry in enumerate(task.classes)}
    for chosen in sorted(wanted):
        held = [folder for folder, _, _ in entries.get(chosen, [])]
        unknown = sorted(set(held) - set(rows))
        if unknown:
            raise DataError(f"{path.name} holds the class {unknown[0]!r}, which tasks.json does not name")
        for entry in task.classes:
            found_count, stated = held.count(entry.folder), int(getattr(entry, chosen))
            if found_count != stated:
                message = (
                    f"{path.name} holds {found_count} {chosen} photos of {entry.label!r}; tasks.json says {stated}"
                )
                raise DataError(message)
    photos, shots = entries.get(split, []), entries.get(support or "", [])
    labels = tuple(entry.label for entry in task.classes)
    return JudgedTask(task.name, task.domain, labels, _photo_set(photos, rows), _photo_set(shots, rows))


def _splits(path: Path) -> dict[str, list[_Entry]]:
    """Photos of a folder or tar by split; the split of photos in plain class folders is empty."""
    files = _tar_files(path) if path.is_file() else _folder_files(path)
    splits: dict[str, list[_Entry]] = {}
    for name, data in files:
        split, folder = _parts(path, name)
        splits.setdefault(split, []).append((folder, f"{path.name}:{name}", data))
    if not splits or ("" in splits and len(splits) > 1):
        raise DataError(f"{path} holds {'no photo' if not splits else 'photos with and without a split'}; {_ACCEPTED}")
    return splits


def _parts(path: Path, name: str) -> tuple[str, str]:
    """Split, empty when there is none, and class folder of a file."""
    parts = name.split("/")
    if len(parts) == 2 and parts[0] not in SPLITS:
        return "", parts[0]
    if len(parts) == 3:
        return parts[0], parts[1]
    raise DataError(f"{path}: unexpected entry {name!r}; {_ACCEPTED}")


def _folder_files(path: Path) -> Iterator[tuple[str, bytes]]:
    if not path.is_dir():
        raise DataError(f"{path} is neither a folder nor a file; {_ACCEPTED}")
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix(), file.read_bytes()


def _tar_files(path: Path, splits: set[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of a tar's files, those of some splits alone if so wanted, by name; nothing is unpacked."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = sorted((member for member in archive if not member.isdir()), key=lambda member: member.name)
            for member in members:
                if splits is not None and member.name.split("/")[0] not in splits:
                    continue
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    raise DataError(f"{path}: {member.name!r} is no file; {_ACCEPTED}")
                yield member.name.removeprefix("./"), file.read()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}; {_ACCEPTED}") from None
