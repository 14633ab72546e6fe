"""A small copy of collections, so that a whole chain of commands can be seen to work in minutes."""

from __future__ import annotations

import io
import tarfile
from collections import defaultdict
from pathlib import Path

import msgspec

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from .data import SPLITS, DataError, Task, read_collection, read_tar


def write_sample(data: Path, output: Path, photos: int) -> int:
    """Copy some photos of every class of every collection.

    Args:
        data: root of the data.
        output: root of the copy; made when missing, and written over.
        photos: of each class in each split, at most; spread over those that there are.

    Returns:
        number of photos copied.

    Raises:
        DataError: there is no collection, or one is broken.
        UsageError: the copy would lie over the data.
    """
    if output.resolve() == data.resolve():
        raise UsageError(f"{output} is the data itself; accepted: another folder")
    roots = sorted(path.parent for path in data.glob("*/tasks.json"))
    if not roots:
        raise DataError(f"{data} holds no collection; accepted: folders of tasks.json and tars")
    return sum(_write_collection(root, output / root.name, photos) for root in roots)


def _write_collection(root: Path, output: Path, photos: int) -> int:
    collection = read_collection(root)
    output.mkdir(parents=True, exist_ok=True)
    tasks, copied = [], 0
    for task in collection.tasks:
        chosen = {split: _choose(root / f"{task.name}.tar", split, photos) for split in SPLITS}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:") as archive:
            for split, folders in chosen.items():
                for folder, files in folders.items():
                    for number, file in enumerate(files):
                        info = tarfile.TarInfo(f"{split}/{folder}/{number + 1:03d}.jpg")
                        info.size = len(file)
                        archive.addfile(info, io.BytesIO(file))
                        copied += 1
        with atomic_write(output / f"{task.name}.tar") as written:
            written.write(buffer.getvalue())
        tasks.append(_with_counts(task, chosen))
    document = {"name": collection.name, "tasks": tasks}
    with atomic_write(output / "tasks.json") as written:  # last: who finds it finds a whole collection
        written.write(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return copied


def _choose(tar: Path, split: str, photos: int) -> dict[str, list[bytes]]:
    """Files by class folder."""
    files: dict[str, list[bytes]] = defaultdict(list)
    for folder, file in read_tar(tar, split):
        files[folder].append(file)
    return {folder: own[:: max(1, len(own) // photos)][:photos] for folder, own in files.items()}


def _with_counts(task: Task, chosen: dict[str, dict[str, list[bytes]]]) -> Task:
    classes = tuple(
        msgspec.structs.replace(entry, **{split: len(chosen[split].get(entry.folder, ())) for split in SPLITS})
        for entry in task.classes
    )
    return msgspec.structs.replace(task, classes=classes)
