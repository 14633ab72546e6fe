"""Labels taught by a few photos: what was taught is kept as embeddings, and the label pack is made from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from .bundle.reader import Bundle
from .errors import BundleError, BundleFault, LabelError
from .files import atomic_write
from .imaging.decode import RGB
from .imaging.preprocess import preprocess
from .labels.pack import NORM_TOLERANCE, Label, LabelPack, check_labels, read_header
from .labels.store import PackStore, find_pack

if TYPE_CHECKING:
    import numpy.typing as npt

SUFFIX = ".lessons"
_CUT = 16  # of a view of a photo's middle one part in so many of the side is left out at each edge
MAX_PHOTOS = 2000  # that one pack may be taught by: the fit takes the cube of it
_MAX_BYTES = 64 << 20
_FORMAT, _VERSION = "agriclip-lessons", 1


@dataclass(frozen=True)
class Lesson:
    """Photos of one label, as embeddings.

    Attributes:
        label: what they show.
        text: unit vector of the label's words, float32 (D,).
        photos: unit vectors of the photos, float32 (n, D).
    """

    label: Label
    text: npt.NDArray[np.float32] = field(repr=False)
    photos: npt.NDArray[np.float32] = field(repr=False)


class _LessonEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Label
    photos: int


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON value of the safetensors metadata key ``agriclip-lessons``."""

    version: int
    text_encoder: str
    image_encoder: str
    lessons: list[_LessonEntry]


@dataclass(frozen=True)
class Estimate:
    """How many of the taught photos are answered rightly by a pack that was made without them.

    Attributes:
        right: photos.
        photos: all of them.

    Example:
        >>> str(Estimate(right=9, photos=10))
        '9 of 10 photos'
    """

    right: int
    photos: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.right} of {self.photos} photos"


@dataclass(frozen=True)
class Teaching:
    """A pack as it was before it was taught, and what it has been taught since.

    Attributes:
        base: the pack before.
        lessons: in the order in which they were given.
    """

    base: LabelPack
    lessons: tuple[Lesson, ...] = ()

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels of the pack: its own, then those that lessons have added."""
        known = {label.text.casefold() for label in self.base.labels}
        added: dict[str, Label] = {}
        for lesson in self.lessons:
            if lesson.label.text.casefold() not in known:
                added.setdefault(lesson.label.text.casefold(), lesson.label)
        return (*self.base.labels, *added.values())

    def learn(self, *lessons: Lesson) -> Teaching:
        """With further lessons.

        Raises:
            LabelError: more photos than one pack may be taught by, or of another embedding size.
        """
        taught = replace(self, lessons=(*self.lessons, *lessons))
        photos = sum(len(lesson.photos) for lesson in taught.lessons)
        if photos > MAX_PHOTOS:
            raise LabelError(f"{photos:,} photos for one pack; at most {MAX_PHOTOS:,} are accepted")
        if any(lesson.photos.shape[1] != self.base.embeddings.shape[1] for lesson in lessons):
            raise LabelError(f"a lesson of other embeddings than those of pack {self.base.name!r}")
        return taught

    def undo(self) -> Teaching:
        """Without the last lesson.

        Raises:
            LabelError: there is none.
        """
        if not self.lessons:
            raise LabelError(f"pack {self.base.name!r} has been taught nothing; there is nothing to undo")
        return replace(self, lessons=self.lessons[:-1])

    def pack(self, bundle: Bundle, earlier: Teaching | None = None) -> tuple[LabelPack, Estimate, Estimate]:
        """Make the pack: labels' rows from photos and words, and a temperature that fits them.

        Args:
            bundle: whose temperature and modality gap serve as a start.
            earlier: the teaching before; None takes none.

        Returns:
            the pack, and how many of all photos were answered rightly before and are now, each left out in turn.
        """
        photos, label = self._photos()
        total = len(photos)
        pack, left_out = self._made(bundle)
        now = Estimate(int((left_out == label).sum()), total)
        before = replace(self, lessons=()) if earlier is None else earlier
        old_pack, old_left_out = before._made(bundle)
        cosines = photos[len(old_left_out) :] @ old_pack.embeddings.T
        fresh = (cosines - old_pack.offsets).argmax(axis=1)  # labels keep their numbers
        found = np.concatenate([old_left_out, fresh])
        return pack, Estimate(int((found == label).sum()), total), now

    def _photos(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """All photos float32 (M, D) with the numbers of their labels int64 (M,)."""
        number = {label.text.casefold(): row for row, label in enumerate(self.labels)}
        rows = [number[lesson.label.text.casefold()] for lesson in self.lessons]
        empty = np.empty((0, self.base.embeddings.shape[1]), np.float32)
        return (
            np.concatenate([empty, *(lesson.photos for lesson in self.lessons)]),
            np.repeat(np.array(rows, np.int64), [len(lesson.photos) for lesson in self.lessons]),
        )

    def _made(self, bundle: Bundle) -> tuple[LabelPack, npt.NDArray[np.int64]]:
        """The pack, and the answer (M,) for each photo that is left out."""
        photos, label = self._photos()
        labels = self.labels
        if not len(photos) or len(labels) < 2:  # a single label is always the answer
            return self.base, np.zeros(len(photos), np.int64)
        from .fewshot import fit_rows

        reference = bundle.reference
        start = self.base.temperature or bundle.manifest.temperature
        found = fit_rows(self.texts(), photos, label, start, None if reference is None else reference.gap)
        rows = found.rows.astype(np.float16).astype(np.float32)  # as a stored pack
        made = replace(
            self.base,
            labels=labels,
            embeddings=rows,
            temperature=found.temperature,
            threshold=None,  # of cosines to words: these are to photos
            unknown=None,
            image_encoder=bundle.image_encoder_id,
            origin=None,  # the fit takes off what all photos share, by photos whose labels are known
        )
        return made, found.left_out.argmax(axis=1)

    def texts(self) -> npt.NDArray[np.float32]:
        """Unit vectors of all labels' words, float32 (C, D)."""
        texts = {lesson.label.text.casefold(): lesson.text for lesson in reversed(self.lessons)}
        added = [texts[label.text.casefold()] for label in self.labels[len(self.base.labels) :]]
        return np.stack([*self.base.embeddings, *added])


@dataclass(frozen=True)
class Taught:
    """What a lesson has changed.

    Attributes:
        teaching: all that the pack has been taught.
        pack: the pack that it makes.
        before: photos that the pack before answers rightly.
        after: photos that the pack answers rightly, made anew without each of them.
    """

    teaching: Teaching
    pack: LabelPack
    before: Estimate
    after: Estimate


def views_of(square: RGB) -> RGB:
    """A photo, its middle and their mirror images: uint8 (4, S, S, 3) of one ready for the encoder, (S, S, 3)."""
    size = len(square)
    edge = max(1, size // _CUT)
    middle = preprocess(square[edge : size - edge, edge : size - edge], size)
    return np.stack([square, square[:, ::-1], middle, middle[:, ::-1]])


def to_bytes(teaching: Teaching, bundle: Bundle, *, whole: bool) -> bytes:
    """Lessons as a safetensors file: embeddings alone; ``whole`` puts the pack that was taught beside them."""
    from safetensors.numpy import save

    header = _Header(
        version=_VERSION,
        text_encoder=bundle.text_encoder_id,
        image_encoder=bundle.image_encoder_id,
        lessons=[_LessonEntry(lesson.label, len(lesson.photos)) for lesson in teaching.lessons],
    )
    empty = np.empty((0, bundle.manifest.embedding_dim), np.float16)
    tensors = {
        "photos": np.concatenate([empty, *(lesson.photos.astype(np.float16) for lesson in teaching.lessons)]),
        "texts": np.concatenate([empty, *(lesson.text[np.newaxis].astype(np.float16) for lesson in teaching.lessons)]),
    }
    if whole:
        tensors["pack"] = np.frombuffer(teaching.base.to_bytes(), np.uint8)
    return save(tensors, {_FORMAT: msgspec.json.encode(header).decode()})


def from_bytes(data: bytes, bundle: Bundle, where: str) -> tuple[tuple[Lesson, ...], LabelPack | None]:
    """Read lessons without trust.

    Returns:
        the lessons, and the pack that was taught where it is in the file.

    Raises:
        BundleError: not such a file, broken, or made with other encoders than the bundle's.
    """
    header = read_header(data, where, _Header, _FORMAT, _VERSION, _MAX_BYTES)
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BundleError(BundleFault.PACK_UNREADABLE, f"{where}: not a safetensors file: {error}") from None
    if (header.text_encoder, header.image_encoder) != (bundle.text_encoder_id, bundle.image_encoder_id):
        message = f"{where}: was taught with other encoders than the bundle's; teach the photos again"
        raise BundleError(BundleFault.PACK_FOREIGN_TEXT_ENCODER, message)
    counts = [entry.photos for entry in header.lessons]
    dim = bundle.manifest.embedding_dim
    if any(count < 1 for count in counts) or sum(counts) > MAX_PHOTOS:
        raise BundleError(BundleFault.PACK_INVALID, f"{where}: says it has {sum(counts)} photos in {counts[:9]}")
    for name, rows in (("photos", sum(counts)), ("texts", len(counts))):
        tensor = tensors.get(name)
        if tensor is None or tensor.dtype != np.float16 or tensor.shape != (rows, dim):
            found = None if tensor is None else (str(tensor.dtype), tensor.shape)
            message = f"{where}: {name} is {found}; accepted: float16 of shape ({rows}, {dim})"
            raise BundleError(BundleFault.PACK_SHAPE, message)
        norms = np.linalg.norm(tensor.astype(np.float32), axis=1)
        if not np.isfinite(norms).all() or (len(norms) and np.abs(norms - 1).max() > NORM_TOLERANCE):
            raise BundleError(BundleFault.PACK_VALUES, f"{where}: {name} are no unit vectors")
    if unknown := tensors.keys() - {"photos", "texts", "pack"}:
        raise BundleError(BundleFault.PACK_SHAPE, f"{where}: holds {sorted(unknown)[0]!r}, which no lessons have")
    try:
        for entry in header.lessons:
            check_labels([entry.label])
    except LabelError as error:
        raise BundleError(BundleFault.PACK_INVALID, f"{where}: {error}") from None
    ends = np.cumsum([0, *counts])
    photos, texts = tensors["photos"].astype(np.float32), tensors["texts"].astype(np.float32)
    lessons = tuple(
        Lesson(entry.label, texts[row], photos[ends[row] : ends[row + 1]]) for row, entry in enumerate(header.lessons)
    )
    if "pack" not in tensors:
        return lessons, None
    base = LabelPack.from_bytes(tensors["pack"].tobytes(), where)
    bundle.accept(base)
    return lessons, base


def read_lessons(path: Path, bundle: Bundle) -> tuple[tuple[Lesson, ...], LabelPack | None]:
    """Lessons of a file, read without trust; see `from_bytes`.

    Raises:
        LabelError: it cannot be read.
        BundleError: as `from_bytes`.
    """
    if path.exists() and not path.is_file():  # a pipe would block for ever
        raise LabelError(f"cannot read {path}: not a regular file")
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise LabelError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    return from_bytes(data, bundle, str(path))


class TeachingStore:
    """The user's taught packs: ``NAME.lessons`` beside ``NAME.safetensors``."""

    def __init__(self, bundle: Bundle, packs: PackStore | None = None) -> None:
        """Of one bundle; ``packs`` are the user's own unless others are given."""
        self._bundle = bundle
        self._packs = packs or PackStore()

    def path(self, name: str) -> Path:
        """Where the lessons of a pack lie or would lie."""
        return self._packs.path(name).with_suffix(SUFFIX)

    def read(self, name: str) -> Teaching | None:
        """What a pack has been taught; None where nothing has.

        Raises:
            BundleError: the lessons are broken or belong to another bundle.
        """
        path = self.path(name)
        if not path.exists() or name not in self._packs.names():  # a pack that was removed takes its lessons along
            return None
        lessons, base = read_lessons(path, self._bundle)
        if base is None:
            raise BundleError(BundleFault.PACK_INVALID, f"{path}: lessons without their pack")
        return Teaching(base, lessons)

    def write(self, teaching: Teaching, pack: LabelPack) -> Path:
        """Keep lessons and the pack that they make, whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self.path(pack.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as lessons:
            lessons.write(to_bytes(teaching, self._bundle, whole=True))
            lessons.flush()  # a full disk says so before either file takes its name
            self._packs.add(pack, replace=True)
        return self._packs.path(pack.name)


def open_teaching(bundle: Bundle, name: str, source: str | None = None) -> Teaching | None:
    """What the user's own pack of that name holds and has been taught; None where there is nothing to start from.

    A pack of the bundle is copied; the bundle itself stays as it is.

    Args:
        bundle: an open bundle.
        name: of the user's own pack.
        source: a pack to start from when there is no pack of that name yet.

    Raises:
        LabelError: no such source, or a source for a pack that is there already.
        BundleError: the pack or its lessons are broken or foreign.
    """
    packs = PackStore()
    packs.path(name)  # refuses an unusable name before any work
    taught = TeachingStore(bundle, packs).read(name)
    own = name in packs.names()
    if own and source is not None:
        raise LabelError(f"there is a pack named {name!r} already; a source is for a new one")
    if taught is not None:
        return taught
    known = own or source is not None or name in [entry.name for entry in bundle.manifest.packs]
    if not known:
        return None
    return Teaching(replace(find_pack(bundle, source or name, packs), name=name))
