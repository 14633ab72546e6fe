"""A collection of labelled photos: ``tasks.json`` beside one tar a task, read strictly."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import AgriclipError, PhotoError
from agriclip_edge.imaging.decode import RGB, decode
from agriclip_edge.labels.pack import Label, check_labels
from agriclip_edge.parallel import ordered_map

Indices = npt.NDArray[np.int64]

SPLITS = ("train", "val", "query", "support")
COPIES = Path(__file__).with_name("judged-copies.txt")  # as ``build-shards`` writes it; docs/alive.md says how
_DECODERS = 2  # decoding is a small part of any run; more threads would take cores from others


class DataError(AgriclipError):
    """A collection of photos is missing, incomplete or not in the documented form: mend the data."""


class ClassEntry(msgspec.Struct, frozen=True):
    """One class of a task: its label in words, and how many photos each split holds."""

    label: str
    train: int = 0
    val: int = 0
    query: int = 0
    support: int = 0

    @property
    def folder(self) -> str:
        """The folder's name inside the tar."""
        return self.label.replace(" ", "_")


class Task(msgspec.Struct, frozen=True):
    """One question with its possible answers, and where its photos come from."""

    name: str = msgspec.field(name="task")
    title: str
    domain: str
    setting: str
    licence: str
    source: str
    commit: str
    upstream: str
    classes: tuple[ClassEntry, ...]


@dataclass(frozen=True)
class Collection:
    """Several tasks whose labels are numbered through; a label that two tasks share has one number.

    Attributes:
        root: folder that holds ``tasks.json`` and the tars.
        name: as ``tasks.json`` says.
        tasks: T tasks.
        labels: L labels, no two alike.
        rows: for each task the numbers of its classes' labels.
    """

    root: Path
    name: str
    tasks: tuple[Task, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Photos:
    """Decoded photos with their answers.

    Attributes:
        rgb: N pictures, upright RGB uint8 (H, W, 3).
        task: number of the task, int64 (N,).
        label: number of the label in the collection, int64 (N,).
        sha256: one hash over the bytes of all photos' files in order: names the data.
    """

    rgb: tuple[RGB, ...]
    task: Indices
    label: Indices
    sha256: str

    def __len__(self) -> int:
        return len(self.rgb)

    def take(self, chosen: Indices) -> Photos:
        """Some of the photos, in the order of their numbers in ``chosen``."""
        chosen_hash = hashlib.sha256(self.sha256.encode() + np.ascontiguousarray(chosen, "<i8").tobytes())
        rgb = tuple(self.rgb[int(index)] for index in chosen)
        return Photos(rgb, self.task[chosen], self.label[chosen], chosen_hash.hexdigest())


def read_collection(root: Path) -> Collection:
    """Read ``tasks.json``.

    Raises:
        DataError: it is missing or not in the documented form.
    """
    path = root / "tasks.json"
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_TasksFile)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; accepted: a folder of tasks.json and tars") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}") from None
    names = [task.name for task in document.tasks]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{path} names {len(names)} tasks, {len(set(names))} different ones; accepted: at least one")
    for task in document.tasks:
        check_labels([Label(entry.label) for entry in task.classes])
        if any(not {"/", "\\", "_"}.isdisjoint(entry.label) for entry in task.classes):
            raise DataError(f"{path}: task {task.name} has a label with '/', '\\' or '_'; accepted: words")
    labels = tuple(dict.fromkeys(entry.label for task in document.tasks for entry in task.classes))
    number = {label: row for row, label in enumerate(labels)}
    rows = tuple(tuple(number[entry.label] for entry in task.classes) for task in document.tasks)
    return Collection(root, document.name, document.tasks, labels, rows)


def judged_copies() -> frozenset[str]:
    """Hashes (sha256, hex) of the files of known training photos that repeat a judged one, or nearly so."""
    return _read_copies(COPIES)


@cache
def _read_copies(path: Path) -> frozenset[str]:
    return frozenset(line for line in path.read_text("ascii").splitlines() if not line.startswith("#"))


def read_photos(
    collection: Collection, split: str, say: Callable[[str], None] | None = None, *, copies: bool = False
) -> Photos:
    """Decode all photos of one split; of training photos those that repeat a judged one are left out.

    Args:
        collection: whose photos.
        split: ``train``, ``val``, ``query`` or ``support``.
        say: told what was read, and how many copies were left out.
        copies: whether training photos of `judged_copies` stay.

    Raises:
        DataError: a tar is missing or broken, holds another class than ``tasks.json``, or another number of photos.
    """
    rgb: list[RGB] = []
    answers: list[tuple[int, int]] = []
    digest = hashlib.sha256()
    left_out = 0
    if split not in SPLITS:
        raise DataError(f"no split is called {split!r}; accepted: {', '.join(SPLITS)}")
    for number, task in enumerate(collection.tasks):
        entries = list(read_tar(collection.root / f"{task.name}.tar", split))
        _check_counts(task, split, [folder for folder, _ in entries])
        kept = entries if copies or split != "train" else [entry for entry in entries if not _is_copy(entry[1])]
        left_out += len(entries) - len(kept)
        row_of = {entry.folder: row for entry, row in zip(task.classes, collection.rows[number])}
        for _, data in kept:
            digest.update(hashlib.sha256(data).digest())
        answers += [(number, row_of[folder]) for folder, _ in kept]
        rgb += _decode_all(task, [data for _, data in kept])
        if say is not None:
            say(f"read {split} of {task.name}")
    if say is not None and left_out:
        say(f"{collection.name}: training photos left out, as they nearly repeat judged ones: {left_out}")
    table = np.array(answers, dtype=np.int64).reshape(-1, 2)
    return Photos(tuple(rgb), table[:, 0], table[:, 1], digest.hexdigest())


def find_copies(data: Path, names: Sequence[str]) -> Indices:
    """Which training photos are in `judged_copies`: their numbers in `read_joined` with ``copies``, in order.

    Raises:
        DataError: as `read_photos`.
    """
    parts = [read_collection(data / name) for name in names]
    tars = [part.root / f"{task.name}.tar" for part in parts for task in part.tasks]
    return np.flatnonzero([_is_copy(file) for tar in tars for _, file in read_tar(tar, "train")])


def read_joined(
    data: Path, names: Sequence[str], split: str, say: Callable[[str], None] | None = None, *, copies: bool = False
) -> tuple[Collection, Photos]:
    """Read several collections as one; labels that they share are one label.

    Args:
        data: root of the data.
        names: folders under it.
        split: as in `read_photos`, which also says what is raised.
        say: as there.
        copies: as there.
    """
    parts = [read_collection(data / name) for name in names]
    return join_photos(parts, [read_photos(part, split, say, copies=copies) for part in parts], data)


def join_photos(parts: Sequence[Collection], given: Sequence[Photos], root: Path) -> tuple[Collection, Photos]:
    """Several collections and their photos as one, in order; labels that they share are one label."""
    collection = join(parts, root)
    number = {label: row for row, label in enumerate(collection.labels)}
    photos, first = [], 0
    for part, own in zip(parts, given):
        renumbered = np.array([number[label] for label in part.labels], dtype=np.int64)[own.label]
        photos.append(Photos(own.rgb, own.task + first, renumbered, own.sha256))
        first += len(part.tasks)
    if len(photos) == 1:
        return collection, photos[0]
    sha256 = hashlib.sha256("".join(own.sha256 for own in photos).encode()).hexdigest()
    rgb = tuple(picture for own in photos for picture in own.rgb)
    joined = Photos(
        rgb, np.concatenate([own.task for own in photos]), np.concatenate([own.label for own in photos]), sha256
    )
    return collection, joined


def join(parts: Sequence[Collection], root: Path) -> Collection:
    """Several collections as one, with their tasks in order.

    Raises:
        DataError: two tasks have one name.
    """
    if len(parts) == 1:
        return parts[0]
    tasks = tuple(task for part in parts for task in part.tasks)
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two collections have a task {twice}; accepted: collections without a task in common")
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    number = {label: row for row, label in enumerate(labels)}
    rows = tuple(tuple(number[part.labels[row]] for row in own) for part in parts for own in part.rows)
    return Collection(root, "+".join(part.name for part in parts), tasks, labels, rows)


def hold_out(photos: Photos, share: float, seed: int) -> tuple[Photos, Photos]:
    """Split photos as `draw_held_out` says, into those to train on and those to judge choices by."""
    out = draw_held_out(photos, share, seed)
    return photos.take(np.flatnonzero(~out)), photos.take(np.flatnonzero(out))


def draw_held_out(photos: Photos, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which photos to hold out, drawn class by class: bool (N,).

    Args:
        photos: N of them.
        share: of each class that is held out, rounded down, so that a class of few photos keeps them all.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    out = np.zeros(len(photos), bool)
    for task, label in sorted(set(zip(photos.task.tolist(), photos.label.tolist()))):
        members = np.flatnonzero((photos.task == task) & (photos.label == label))
        out[generator.permutation(members)[: int(len(members) * share)]] = True
    return out


def spread(photos: Photos, number: int, seed: int = 0) -> Indices:
    """``number`` of the photos, spread over all classes of all tasks by their sizes; in ascending order."""
    mixed = np.random.default_rng(seed).permutation(len(photos))
    by_class = mixed[np.lexsort((photos.label[mixed], photos.task[mixed]))]
    return np.sort(by_class[np.linspace(0, len(photos) - 1, number).round().astype(np.int64)])


def read_tar(path: Path, split: str) -> Iterator[tuple[str, bytes]]:
    """Class folder and bytes of each photo of a split, in the order of their names; nothing is unpacked.

    Raises:
        DataError: it is missing, broken or not laid out as a collection's tar.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = sorted((member for member in archive if not member.isdir()), key=lambda member: member.name)
            for member in members:
                parts = member.name.split("/")
                if len(parts) != 3 or not member.isfile():
                    raise DataError(f"{path}: unexpected entry {member.name!r}; accepted: <split>/<label>/<number>.jpg")
                file = archive.extractfile(member) if parts[0] == split else None
                if file is not None:
                    yield parts[1], file.read()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}; accepted: an uncompressed tar") from None


class _TasksFile(msgspec.Struct, frozen=True):
    """The whole of ``tasks.json``."""

    name: str
    tasks: tuple[Task, ...]


def _check_counts(task: Task, split: str, folders: Sequence[str]) -> None:
    expected = {entry.folder: int(getattr(entry, split)) for entry in task.classes}
    unknown = sorted(set(folders) - set(expected))
    if unknown:
        raise DataError(f"{task.name}.tar holds the class {unknown[0]!r}, which tasks.json does not name")
    for folder, count in expected.items():
        if folders.count(folder) != count:
            found = folders.count(folder)
            raise DataError(f"{task.name}.tar holds {found} {split} photos of {folder!r}; tasks.json says {count}")


def _is_copy(file: bytes) -> bool:
    return hashlib.sha256(file).hexdigest() in judged_copies()


def _decode_all(task: Task, files: Sequence[bytes]) -> list[RGB]:
    try:
        return list(ordered_map(decode, files, workers=_DECODERS))
    except PhotoError as error:
        raise DataError(f"{task.name}.tar: a photo {error}") from None
