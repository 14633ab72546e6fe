"""Boxes of COCO and YOLO as photos of their own; all boxes of a photo are one group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..data import DataError
from .candidates import (
    Blob,
    Box,
    Candidate,
    Listing,
    group_of,
    name_of,
    photos_below,
    split_name,
    words,
)
from .recipe import Source


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]  # left, top, width, height in pixels
    iscrowd: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def list_coco(source: Source) -> Listing:
    """List the boxes of a COCO annotation file; crowds are left out, as they show no single thing.

    Raises:
        DataError: it cannot be read, or names a photo or category that it does not describe.
    """
    path = Path(source.path)
    try:
        coco = msgspec.json.decode(path.read_bytes(), type=_Coco)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}; accepted: COCO detection JSON") from None
    base = Path(source.images) if source.images else path.parent
    images = {image.id: image for image in coco.images}
    names = {category.id: category.name for category in coco.categories}
    blobs = {image.id: Blob.of_file(base / image.file_name) for image in coco.images}
    found: list[Candidate] = []
    for number, entry in enumerate(coco.annotations):
        if entry.image_id not in images or entry.category_id not in names:
            raise DataError(f"{path}: annotation {number} names a photo or category that is not there")
        image, (left, top, width, height) = images[entry.image_id], entry.bbox
        if entry.iscrowd or image.width < 1 or image.height < 1:
            continue
        box = Box.around(
            ((left + width / 2) / image.width, (top + height / 2) / image.height),
            (width / image.width, height / image.height),
            source.margin,
            (image.width, image.height),
        )
        found += _candidate(source, blobs[image.id], image.file_name, number, names[entry.category_id], box, "")
    return Listing(tuple(found))


def list_yolo(source: Source) -> Listing:
    """List the boxes of a YOLO data set: ``data.yaml``, ``images/…`` and ``labels/…`` of the same names.

    A line is ``class x y width height`` in shares of the photo, or ``class`` and a polygon.

    Raises:
        DataError: ``data.yaml`` or a line of a label file is not in that form.
    """
    path = Path(source.path)
    names, folders = _read_yaml(path)
    root = path if path.is_dir() else path.parent
    found: list[Candidate] = []
    for split, folder in folders or [("", root)]:
        base = _yolo_folder(root, folder)
        for photo in photos_below(base):
            blob, name = (
                Blob.of_file(photo),
                photo.relative_to(root).as_posix() if root in photo.parents else photo.name,
            )
            for number, (kind, box) in enumerate(_yolo_lines(_label_file(photo), source.margin)):
                if kind not in names:
                    raise DataError(f"{_label_file(photo)}: class {kind}; data.yaml names {len(names)} classes")
                found += _candidate(source, blob, name, number, names[kind], box, split)
    return Listing(tuple(found))


def _candidate(
    source: Source, blob: Blob, name: str, number: int, label: str, box: Box, split: str
) -> Iterator[Candidate]:
    text = words(source, label)
    if text:
        yield Candidate(
            blob=blob,
            name=f"{name}#{number}",
            source=name_of(source),
            label=text,
            task=source.task or name_of(source),
            split=split_name(source, split),
            group=group_of(source, name) or name,
            licence=source.licence,
            origin=source.origin,
            box=box,
        )


def _read_yaml(path: Path) -> tuple[dict[int, str], list[tuple[str, Path]]]:
    """Names of the classes by number, and the folder of each split."""
    import yaml

    file = path if path.is_file() else next((path / n for n in ("data.yaml", "data.yml") if (path / n).is_file()), path)
    try:
        content: Any = yaml.safe_load(file.read_text("utf-8"))
        names = content["names"]
        numbered = dict(enumerate(names)) if isinstance(names, list) else {int(key): names[key] for key in names}
        base = Path(content.get("path") or ".")
        splits = [(key, base / content[key]) for key in ("train", "val", "test") if isinstance(content.get(key), str)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read: {' '.join(str(error).split())[:200]}; accepted: YOLO's data.yaml"
        ) from None
    return {number: str(name) for number, name in numbered.items()}, splits


def _yolo_folder(root: Path, folder: Path) -> Path:
    """A split's folder; exported sets name it from a folder beside the one that holds data.yaml (``../train``)."""
    for base in (root / folder, root.joinpath(*(part for part in folder.parts if part != ".."))):
        if base.is_dir():
            return base
    raise DataError(f"no folder {root / folder}, which data.yaml names")


def _label_file(photo: Path) -> Path:
    parts = list(photo.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _yolo_lines(path: Path, margin: float) -> Iterator[tuple[int, Box]]:
    if not path.is_file():  # a photo without objects may have no file
        return
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            kind, values = int(fields[0]), [float(field) for field in fields[1:]]
        except ValueError:
            values, kind = [], 0
        if len(values) == 4:
            x, y, width, height = values
        elif len(values) >= 6 and len(values) % 2 == 0:
            across, down = values[::2], values[1::2]
            x, width = (min(across) + max(across)) / 2, max(across) - min(across)
            y, height = (min(down) + max(down)) / 2, max(down) - min(down)
        else:
            raise DataError(f"{path}: line {number} is {line[:60]!r}; accepted: class x y width height, or a polygon")
        yield kind, Box.around((x, y), (width, height), margin)
