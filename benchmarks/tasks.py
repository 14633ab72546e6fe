"""The files of a task's photos, as they lie in its tar."""

from __future__ import annotations

import tarfile
from pathlib import Path

from training.data import DataError, Task


def photo_files(root: Path, task: Task, split: str) -> list[tuple[str, bytes]]:
    """Label and JPEG bytes of every photo of one split, in the order of their names.

    Raises:
        DataError: the tar is missing or broken, or holds other photos than ``tasks.json`` says.
    """
    path = root / f"{task.name}.tar"
    label_of = {entry.folder: entry.label for entry in task.classes}
    files: list[tuple[str, bytes]] = []
    try:
        with tarfile.open(path, "r:") as archive:
            members = sorted((member for member in archive if member.isfile()), key=lambda member: member.name)
            for member in members:
                found, _, rest = member.name.partition("/")
                folder = rest.partition("/")[0]
                if found != split:
                    continue
                if folder not in label_of:
                    raise DataError(f"{path.name} holds the class {folder!r}, which tasks.json does not name")
                content = archive.extractfile(member)
                assert content is not None  # a regular file
                files.append((label_of[folder], content.read()))
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}; accepted: an uncompressed tar") from None
    labels = [label for label, _ in files]
    for entry in task.classes:
        found_count, stated = labels.count(entry.label), getattr(entry, split)
        if found_count != stated:
            message = f"{path.name} holds {found_count} {split} photos of {entry.label!r}; tasks.json says {stated}"
            raise DataError(message)
    return files
