"""Class facts: what a photo of a class shows, and the library of them that a bundle carries."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..errors import BundleError, BundleFault, LabelError
from .pack import check_languages, check_texts

if TYPE_CHECKING:
    import numpy.typing as npt

    from .matching import Index

MAX_INFLATED_BYTES = 4 << 20  # of JSON; the shipped library has 1 MB
MAX_CLASSES = 10_000
_MAX_WORDINGS = 64  # of one class, in one field
_GZIP = 31  # zlib's window bits for a gzip header and the largest window

KINDS = frozenset(
    "disease deficiency disorder pest damage weed crop variety produce ripeness growth breed animal fish insect"
    " condition soil land product thing".split()
)


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of one class, and seen on a photo of it.

    Attributes:
        label: how a label reads; unique over a library.
        kind: one of `KINDS`.
        parent: the next wider answer.
        visible: statements of what a photo shows.
        sources: keys of the works where they can be checked.
        host: the crop or animal that it is seen on, or empty.
        organ: the part that a photo shows, or empty.
        scientific: name of the cause or the species, or empty.
        synonyms: other English names, the commonest first.
        names: display names by language (ISO 639-1).
        colour: words of the vocabulary, as are the next four.
        shape: outlines and patterns.
        texture: surfaces.
        place: where on the plant, the animal or the ground.
        extent: how much of it.
    """

    label: str
    kind: str
    parent: str
    visible: tuple[str, ...]
    sources: tuple[str, ...]
    host: str = ""
    organ: str = ""
    scientific: str = ""
    synonyms: tuple[str, ...] = ()
    names: dict[str, str] = msgspec.field(default_factory=dict)
    colour: tuple[str, ...] = ()
    shape: tuple[str, ...] = ()
    texture: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    extent: str = ""

    @property
    def prompts(self) -> tuple[str, ...]:
        """What is seen, each statement after the label: the texts that symptoms enter an embedding by."""
        return tuple(STATEMENT.format(name=self.label, first=statement) for statement in self.visible)


STATEMENT = "{name}: {first}"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    classes: tuple[Facts, ...]


@dataclass(frozen=True)
class Library:
    """The facts that a bundle carries, with the embeddings of what they say is seen.

    Attributes:
        classes: K classes.
        symptoms: unit vectors, float32 (K, D), of what is seen of each class.
        sha256: of the file of ``symptoms``; names the centre.
        share: of the symptoms in the embedding of a label that means a class.
    """

    classes: tuple[Facts, ...]
    symptoms: npt.NDArray[np.float32] = field(repr=False)
    sha256: str = ""
    share: float = 0.5

    @cached_property
    def by_label(self) -> dict[str, int]:
        """The number of each class, by its label."""
        return {facts.label: number for number, facts in enumerate(self.classes)}

    @cached_property
    def centre(self) -> npt.NDArray[np.float32]:
        """Mean of the symptoms' vectors, float32 (D,): what all labels have in common."""
        mean: npt.NDArray[np.float32] = self.symptoms.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    @cached_property
    def index(self) -> Index:
        """What labels are looked up in; built when the first is."""
        from .matching import Index

        return Index(self.classes)


def encode_classes(classes: Sequence[Facts]) -> bytes:
    """The library's file: JSON in gzip, without a time in it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    data: bytes = packer.compress(msgspec.json.encode({"classes": classes})) + packer.flush()
    return data


def encode_symptoms(vectors: npt.NDArray[np.float32]) -> bytes:
    """Vectors (K, D) as INT8, row by row; each row is scaled by itself, for its direction is all that counts."""
    scaled = np.rint(127 * vectors / np.abs(vectors).max(axis=1, keepdims=True))
    return bytes(scaled.astype(np.int8).data)


def read_classes(data: bytes, where: str = "facts") -> tuple[Facts, ...]:
    """Read a library's file without trust.

    Args:
        data: the whole file.
        where: how messages name it.

    Raises:
        BundleError: no gzip, over 4 MiB of JSON in it, not of the documented form, or words that cannot be labels.
    """
    reader = zlib.decompressobj(_GZIP)
    try:
        text = reader.decompress(data, MAX_INFLATED_BYTES + 1)
    except zlib.error as error:
        raise BundleError(BundleFault.FACTS_INVALID, f"{where}: not a gzip file: {error}") from None
    if len(text) > MAX_INFLATED_BYTES:
        message = f"{where}: inflates to over {MAX_INFLATED_BYTES:,} bytes; at most so many are accepted"
        raise BundleError(BundleFault.TOO_LARGE, message)
    if not reader.eof or reader.unused_data:
        raise BundleError(BundleFault.FACTS_INVALID, f"{where}: the gzip file is truncated, or goes on behind its end")
    try:
        classes = msgspec.json.decode(text, type=_File).classes
        _check(classes)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LabelError) as error:
        raise BundleError(BundleFault.FACTS_INVALID, f"{where}: {error}") from None
    return classes


def read_symptoms(data: bytes, classes: int, dim: int, where: str = "facts") -> npt.NDArray[np.float32]:
    """Read the vectors of a library without trust.

    Args:
        data: the whole file, INT8 of shape (classes, dim).
        classes: rows wanted, K.
        dim: values a row, D.
        where: how messages name it.

    Returns:
        unit vectors, float32 (K, D).

    Raises:
        BundleError: another size, or a row of zeros.
    """
    if len(data) != classes * dim:
        message = f"{where}: has {len(data):,} bytes; accepted: {classes} rows of {dim}"
        raise BundleError(BundleFault.FACTS_INVALID, message)
    rows = np.frombuffer(data, np.int8).reshape(classes, dim).astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise BundleError(BundleFault.FACTS_INVALID, f"{where}: row {int(np.argmin(norms))} is zero")
    units: npt.NDArray[np.float32] = rows / norms
    return units


def _check(classes: Sequence[Facts]) -> None:
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise LabelError(f"{len(classes):,} classes; accepted: 1 to {MAX_CLASSES:,}")
    seen: set[str] = set()
    texts: list[str] = []
    spoken: dict[str, str] = {}  # a word of each language
    for facts in classes:
        if facts.kind not in KINDS:
            raise LabelError(f"class of kind {facts.kind[:40]!r}; accepted: {', '.join(sorted(KINDS))}")
        for words in (facts.visible, facts.synonyms, facts.names):
            if len(words) > _MAX_WORDINGS:
                raise LabelError(f"class with {len(words)} wordings; at most {_MAX_WORDINGS} are accepted")
        spoken.update(facts.names)
        texts += (facts.label, *filter(None, (facts.parent, facts.host, facts.organ, facts.scientific, facts.extent)))
        texts += (*facts.visible, *facts.synonyms, *facts.sources, *facts.names.values())
        texts += (*facts.colour, *facts.shape, *facts.texture, *facts.place)
        key = facts.label.casefold()
        if key in seen:
            raise LabelError(f"class {facts.label!r} is there twice")
        seen.add(key)
    check_texts(texts)
    check_languages(spoken)
