"""The photos of a source with what is known of each, before any of them is opened."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.imaging.decode import RGB, decode

from ..data import SPLITS, DataError, Task
from .recipe import Kind, Source

SUFFIXES = frozenset(
    f".{suffix}" for suffix in "jpg jpeg jfif png webp tif tiff bmp gif avif heic heif ppm".split()
)  # what agriclip_edge.imaging.decode opens
_SPLIT_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "query",
    "testing": "query",
}


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes on disk: a whole file, or a part of an uncompressed tar.

    Attributes:
        path: of the file.
        offset: of the first byte.
        size: in bytes.
        stamp: time of the file's last change in nanoseconds, so that a changed file is read anew.
    """

    path: Path
    offset: int
    size: int
    stamp: int

    @classmethod
    def of_file(cls, path: Path) -> Blob:
        """The whole of a file; a missing one has size 0, and is found out when it is read."""
        try:
            status = path.stat()
        except OSError:
            return cls(path, 0, 0, 0)
        return cls(path, 0, status.st_size, status.st_mtime_ns)

    def read(self) -> bytes:
        """The bytes.

        Raises:
            PhotoError: they are not there.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise PhotoError(f"cannot be read: {error.strerror}") from None
        if len(data) < self.size or not data:
            raise PhotoError("is empty or missing" if not self.size else "ends before its time")
        return data


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an upright photo, in shares of its width and height.

    Attributes:
        edges: left, top, right, bottom.
        size: width and height in pixels that the photo must have, when the source says so.
    """

    edges: tuple[float, float, float, float]
    size: tuple[int, int] | None = None

    @classmethod
    def around(
        cls, centre: tuple[float, float], sides: tuple[float, float], margin: float, size: tuple[int, int] | None = None
    ) -> Box:
        """A box of these sides, grown by ``margin`` of them on each side, within the photo."""
        (x, y), (width, height) = centre, sides
        across, down = width * (0.5 + margin), height * (0.5 + margin)
        return cls((max(x - across, 0.0), max(y - down, 0.0), min(x + across, 1.0), min(y + down, 1.0)), size)

    def cut(self, rgb: RGB) -> RGB:
        """The part itself.

        Raises:
            PhotoError: it is empty, or the photo has another size than the source says.
        """
        height, width = rgb.shape[:2]
        if self.size is not None and self.size != (width, height):
            raise PhotoError(f"has {width}×{height} pixels; its annotation says {self.size[0]}×{self.size[1]}")
        left, top, right, bottom = self.edges
        part = rgb[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
        if 0 in part.shape:
            raise PhotoError(f"has an empty box {[round(edge, 4) for edge in self.edges]}")
        return part


@dataclass(frozen=True, slots=True)
class Candidate:
    """One labelled photo, or one labelled box of a photo.

    Attributes:
        blob: its file.
        name: its path as the source's people know it.
        source: name of its source.
        label: in words.
        task: the question that the label answers.
        split: as the source or the recipe says; "" when one is to be drawn.
        group: "" when the photo stands for itself.
        licence: as stated.
        origin: as stated.
        box: the part that is meant, or None for the whole.
        meta: what else the source says.
    """

    blob: Blob
    name: str
    source: str
    label: str
    task: str
    split: str = ""
    group: str = ""
    licence: str = ""
    origin: str = ""
    box: Box | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the bytes and the box: 32 hex characters that change when the file does."""
        blob, edges = self.blob, self.box and self.box.edges
        text = f"{blob.path}\0{blob.offset}\0{blob.size}\0{blob.stamp}\0{edges}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def rgb(self, data: bytes) -> RGB:
        """The upright picture out of the file's bytes; the box alone where there is one.

        Raises:
            PhotoError: it cannot be decoded, or the box does not fit it.
        """
        rgb = decode(data)
        return rgb if self.box is None else self.box.cut(rgb)


@dataclass(frozen=True)
class Listing:
    """What one source holds: its photos in a fixed order, and what it says of its tasks."""

    candidates: tuple[Candidate, ...]
    tasks: Mapping[str, Task] = field(default_factory=dict)


def list_source(source: Source) -> Listing:
    """List the photos of a source.

    Raises:
        DataError: it is missing, empty or not in the form of its kind.
        UsageError: its kind cannot be told.
    """
    from . import from_boxes, from_folders, from_table, from_tars

    readers = {
        "tasks": from_tars.list_tasks,
        "folders": from_folders.list_folders,
        "table": from_table.list_table,
        "coco": from_boxes.list_coco,
        "yolo": from_boxes.list_yolo,
        "webdataset": from_tars.list_webdataset,
    }
    listing = readers[source.kind or kind_of(Path(source.path))](source)
    if not listing.candidates:
        raise DataError(f"{source.path} holds no labelled photo")
    return listing


def kind_of(path: Path) -> Kind:
    """The kind that a path's name and content speak for.

    Raises:
        DataError: there is no such path.
        UsageError: nothing speaks for any.
    """
    if path.is_dir():
        if (path / "tasks.json").is_file():
            return "tasks"
        if any((path / name).is_file() for name in ("data.yaml", "data.yml")):
            return "yolo"
        return "webdataset" if any(path.glob("*.tar")) else "folders"
    kinds: dict[str, Kind] = {
        ".csv": "table",
        ".parquet": "table",
        ".json": "coco",
        ".yaml": "yolo",
        ".yml": "yolo",
        ".tar": "webdataset",
    }
    if not path.exists():
        raise DataError(f"no file or folder {path}")
    if path.suffix.lower() not in kinds:
        raise UsageError(f"{path}: of what kind is it? accepted suffixes: {', '.join(kinds)}; or give kind")
    return kinds[path.suffix.lower()]


def name_of(source: Source) -> str:
    """The source's short name."""
    return source.name or Path(source.path).resolve().stem


def words(source: Source, label: str) -> str:
    """A class name in words: underscores become spaces, then the recipe's better words; "" leaves the class out."""
    plain = " ".join(label.replace("_", " ").split())
    return source.labels.get(label, source.labels.get(plain, plain))


def split_name(source: Source, text: str) -> str:
    """The split that a source's own word means; "" for no word.

    Raises:
        DataError: a word that means none.
    """
    if source.split is not None or not text:
        return source.split or ""
    if text.casefold() not in _SPLIT_NAMES:
        raise DataError(f"{source.path}: no split is called {text!r}; accepted: {', '.join(_SPLIT_NAMES)}")
    return _SPLIT_NAMES[text.casefold()]


def is_split_name(text: str) -> bool:
    """Whether a folder's name is that of a split."""
    return text.casefold() in _SPLIT_NAMES


def group_of(source: Source, name: str, given: str = "") -> str:
    """The group of a photo: as the source says, else what the recipe's expression finds in its path, else none."""
    if given or not source.group:
        return given
    found = re.search(source.group, name)
    if found is None:
        return ""
    return found.group(1) if found.re.groups else found.group(0)


def photos_below(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, in the order of their paths; hidden ones (``._1.jpg`` of macOS) are none."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def existing_folder(source: Source) -> Path:
    """The source's path.

    Raises:
        DataError: it is no folder.
    """
    path = Path(source.path)
    if not path.is_dir():
        raise DataError(f"no folder {path}")
    return path


def unknown_kind(source: Source, accepted: str) -> UsageError:
    """The error for a source that is not of the form its kind asks for."""
    return UsageError(f"{source.path} is not of kind {source.kind!r}; accepted: {accepted}")
