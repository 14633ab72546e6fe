"""Photos in class folders: ``<class>/…/photo.jpg`` or ``<split>/<class>/…/photo.jpg``."""

from __future__ import annotations

from .candidates import (
    Blob,
    Candidate,
    Listing,
    existing_folder,
    group_of,
    is_split_name,
    name_of,
    photos_below,
    split_name,
    words,
)
from .recipe import Source


def list_folders(source: Source) -> Listing:
    """List class folders; they count as splits when every one of them has a split's name.

    Raises:
        DataError: no such folder.
    """
    root = existing_folder(source)
    tops = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    depth = 1 if tops and all(map(is_split_name, tops)) else 0
    found = []
    for path in photos_below(root):
        parts = path.relative_to(root).parts
        label = words(source, parts[depth]) if len(parts) > depth + 1 else ""
        if not label:  # a photo beside the class folders has no class
            continue
        name = "/".join(parts)
        found.append(
            Candidate(
                blob=Blob.of_file(path),
                name=name,
                source=name_of(source),
                label=label,
                task=source.task or name_of(source),
                split=split_name(source, parts[0] if depth else ""),
                group=group_of(source, name),
                licence=source.licence,
                origin=source.origin,
            )
        )
    return Listing(tuple(found))
