"""A label pack: labels with their precomputed text embeddings, in one safetensors file."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from unicodedata import category

import msgspec
import numpy as np

from ..bundle.manifest import MAX_MANIFEST_BYTES, NAME, SHA256, parse_json
from ..errors import BundleError, BundleFault, LabelError

if TYPE_CHECKING:
    import numpy.typing as npt

PACK_FORMAT = "agriclip-pack"
PACK_VERSION = 1
MAX_PACK_BYTES = 1 << 30
MAX_LABELS = 1_000_000
MAX_LABEL_CHARACTERS = 200
_MAX_HEADER_BYTES = 16 * MAX_MANIFEST_BYTES  # 60 bytes for each of a million labels
_UNWRITABLE = ("Cc", "Cs", "Co", "Zl", "Zp")  # zero-width joiners (Cf) belong to Persian and Indic words
_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they would turn the text around them
LANGUAGE = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$"
Form = TypeVar("Form", bound=msgspec.Struct)
NORM_TOLERANCE = 2e-3  # float16 rounding of a unit vector of up to some thousand values
_MOST_PHOTOS = 1_000_000_000  # of an origin: a count, and weights when origins are merged


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that a photo may show, in words.

    Attributes:
        text: the label's words.
        parent: the broader label that it belongs to; empty when it has none.
        synonyms: further words for the same thing, averaged into its embedding.
        names: what it is called in other languages, by code (``es``, ``pt-BR``): for display alone.
        facts: label of the class of the bundle's facts library whose symptoms are in its embedding; empty for none.

    Example:
        >>> Label("maize leaf with common rust", parent="maize leaf", synonyms=("corn leaf with rust",)).parent
        'maize leaf'
    """

    text: str
    parent: str = ""
    synonyms: tuple[str, ...] = ()
    names: dict[str, str] = msgspec.field(default_factory=dict)
    facts: str = ""


class _OriginEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    photos: int
    image_encoder: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a pack says about itself: the JSON value of the safetensors metadata key ``agriclip-pack``."""

    version: int
    name: str
    title: str
    labels: list[Label]
    templates: list[str]
    text_encoder: str
    preprocessing: str
    temperature: float | None = None
    threshold: float | None = None
    unknown: float | None = None
    centre: str = ""
    image_encoder: str = ""
    origin: _OriginEntry | None = None


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the photos of a place lie as a whole, which says nothing of what any one of them shows.

    Attributes:
        vector: a share of their embeddings' mean, float32 (D,), not writeable; its length is at most 1.
        photos: how many they were.
        image_encoder: sha256 of the image encoder that embedded them (`Bundle.image_encoder_id`).
    """

    vector: npt.NDArray[np.float32] = field(repr=False)
    photos: int
    image_encoder: str

    def __post_init__(self) -> None:
        """Keep it as it is: several threads may answer by it."""
        self.vector.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        """Whether it is the same, value by value."""
        mine = self.photos, self.image_encoder
        if not isinstance(other, Origin) or mine != (other.photos, other.image_encoder):
            return False
        return np.array_equal(self.vector, other.vector)

    def __str__(self) -> str:
        """In words, which tell it from others of as many photos."""
        return f"{self.photos} photos, {hashlib.sha256(self.vector.tobytes()).hexdigest()[:12]}"


@dataclass(frozen=True)
class LabelPack:
    """Labels and their embeddings, ready to be compared with photos.

    Attributes:
        name: how the pack is chosen (``--pack NAME``).
        title: one line for people.
        labels: C labels; no two texts alike.
        embeddings: unit vectors, float32 (C, D), not writeable.
        templates: the prompt templates that the embeddings were made with.
        text_encoder: sha256 of the text encoder that made them (`Bundle.text_encoder_id`).
        preprocessing: sha256 of the preprocessing of the image encoder that they are made for.
        temperature: softmax temperature fitted for this pack; None leaves it to the bundle.
        threshold: confidence under which an answer is doubtful; None when it was not fitted.
        unknown: cosine under which a photo shows none of the labels; None when it was not fitted.
        centre: sha256 of the facts vectors whose mean was taken off the embeddings; empty when none was.
        image_encoder: sha256 of the image encoder whose photos taught it (`Bundle.image_encoder_id`); empty when none
            did.
        origin: what is taken off a photo's embedding before labels are compared, where the pack was adapted to a
            place by its photos; None where it was not.

    Example:
        >>> import agriclip_edge
        >>> pack = agriclip_edge.load(packs=["maize-leaf-disease"]).pack
        >>> len(pack.labels), pack.embeddings.shape
        (4, (4, 768))
    """

    name: str
    title: str
    labels: tuple[Label, ...]
    embeddings: npt.NDArray[np.float32] = field(repr=False)
    templates: tuple[str, ...]
    text_encoder: str
    preprocessing: str
    temperature: float | None = None
    threshold: float | None = None
    unknown: float | None = None
    centre: str = ""
    image_encoder: str = ""
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Check what every pack must hold, wherever it comes from."""
        _check(self)
        self.embeddings.flags.writeable = False

    @cached_property
    def offsets(self) -> npt.NDArray[np.float32]:
        """What labels score by the place alone, float32 (C,): their cosines less it are compared.

        Example:
            >>> import agriclip_edge
            >>> agriclip_edge.load(packs=["maize-leaf-disease"]).pack.offsets.tolist()
            [0.0, 0.0, 0.0, 0.0]
        """
        if self.origin is None:
            return np.zeros(len(self.labels), np.float32)
        offsets: npt.NDArray[np.float32] = self.embeddings @ self.origin.vector
        return offsets

    def to_bytes(self) -> bytes:
        """The pack as a safetensors file: float16 tensors and one metadata key; same pack, same bytes."""
        origin = self.origin
        header = _Header(
            version=PACK_VERSION,
            name=self.name,
            title=self.title,
            # msgspec leaves out a default by its identity: an empty tuple or text may be another object.
            labels=[
                Label(label.text, label.parent or "", label.synonyms or (), label.names, label.facts or "")
                for label in self.labels
            ],
            templates=list(self.templates),
            text_encoder=self.text_encoder,
            preprocessing=self.preprocessing,
            temperature=self.temperature,
            threshold=self.threshold,
            unknown=self.unknown,
            centre=self.centre,
            image_encoder=self.image_encoder,
            origin=None if origin is None else _OriginEntry(origin.photos, origin.image_encoder),
        )
        from safetensors.numpy import save

        tensors = {"embeddings": np.ascontiguousarray(self.embeddings, dtype=np.float16)}
        if origin is not None:
            tensors["origin"] = np.ascontiguousarray(origin.vector, dtype=np.float16)
        return save(tensors, {PACK_FORMAT: msgspec.json.encode(header).decode()})

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "pack") -> LabelPack:
        """Read a pack without trust.

        Args:
            data: a whole safetensors file.
            where: how messages name it.

        Raises:
            BundleError: not a safetensors file, not a pack, wrong shapes or values.
        """
        header = read_header(data, where, _Header, PACK_FORMAT, PACK_VERSION, MAX_PACK_BYTES)
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise BundleError(BundleFault.PACK_UNREADABLE, f"{where}: not a safetensors file: {error}") from None
        found = {name: (str(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
        ranks = {"embeddings": 2, "origin": 1} if header.origin is not None else {"embeddings": 2}
        if {name: (dtype, len(shape)) for name, (dtype, shape) in found.items()} != {
            name: ("float16", rank) for name, rank in ranks.items()
        }:
            more = ", and 'origin', float16, (dim,)" if header.origin is not None else ""
            message = f"{where}: holds {found}; accepted: one tensor 'embeddings', float16, (labels, dim){more}"
            raise BundleError(BundleFault.PACK_SHAPE, message)
        if re.fullmatch(NAME, header.name) is None:
            message = f"{where}: names itself {header.name[:80]!r}; accepted: up to 64 of a-z, 0-9, '.', '_', '-'"
            raise BundleError(BundleFault.PACK_INVALID, message)
        origin = None
        if header.origin is not None:
            vector = tensors["origin"].astype(np.float32)
            origin = Origin(vector, header.origin.photos, header.origin.image_encoder)
        try:
            return cls(
                name=header.name,
                title=header.title,
                labels=tuple(header.labels),
                embeddings=tensors["embeddings"].astype(np.float32),
                templates=tuple(header.templates),
                text_encoder=header.text_encoder,
                preprocessing=header.preprocessing,
                temperature=header.temperature,
                threshold=header.threshold,
                unknown=header.unknown,
                centre=header.centre,
                image_encoder=header.image_encoder,
                origin=origin,
            )
        except LabelError as error:
            raise BundleError(BundleFault.PACK_INVALID, f"{where}: {error}") from None


def read_header(data: bytes, where: str, form: type[Form], key: str, version: int, most: int) -> Form:
    """What a safetensors file of ours says of itself, out of its header, parsed here too for its duplicate keys.

    Args:
        data: the whole file.
        where: how messages name it.
        form: of the JSON in the metadata.
        key: of the metadata.
        version: that is accepted.
        most: bytes of the file.

    Raises:
        BundleError: too large, no safetensors file, or not of this form and version.
    """
    if len(data) > most:
        message = f"{where}: has {len(data):,} bytes; at most {most:,} are accepted"
        raise BundleError(BundleFault.TOO_LARGE, message)
    if len(data) < 8:
        raise BundleError(BundleFault.PACK_UNREADABLE, f"{where}: {len(data)} bytes are no safetensors file")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(len(data) - 8, _MAX_HEADER_BYTES):
        message = f"{where}: says its header has {length:,} bytes, of {len(data):,} in all: truncated or no safetensors"
        raise BundleError(BundleFault.PACK_UNREADABLE, message)
    rest = len(data) - 8 - length
    if length > max(MAX_MANIFEST_BYTES, 16 * rest):  # parsing takes up to 30 times its size
        message = f"{where}: has a header of {length:,} bytes for {rest:,} bytes of embeddings"
        raise BundleError(BundleFault.TOO_LARGE, message)
    outer = parse_json(data[8 : 8 + length], f"{where}: header", BundleFault.PACK_UNREADABLE, _MAX_HEADER_BYTES)
    metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
    text = metadata.get(key) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        message = f"{where}: a safetensors file without the metadata key {key!r}"
        raise BundleError(BundleFault.PACK_INVALID, message)
    raw = text.encode("utf-8", "surrogatepass")
    inner = parse_json(raw, f"{where}: metadata", BundleFault.PACK_INVALID, _MAX_HEADER_BYTES)
    found = inner.get("version") if isinstance(inner, dict) else None
    if isinstance(found, int) and found != version:  # before its fields, which may be others
        message = f"{where}: is of {key} version {found}; accepted: {version}"
        raise BundleError(BundleFault.FORMAT_UNSUPPORTED, message)
    try:
        return msgspec.convert(inner, form, strict=True)
    except msgspec.ValidationError as error:
        raise BundleError(BundleFault.PACK_INVALID, f"{where}: {error}") from None


def check_labels(labels: Sequence[Label]) -> None:
    """Refuse a list of labels that nobody could choose from.

    Raises:
        LabelError: no label, an empty or overlong one, a control character, or two alike.
    """
    if not 1 <= len(labels) <= MAX_LABELS:
        raise LabelError(f"{len(labels):,} labels; accepted: 1 to {MAX_LABELS:,}")
    seen: dict[str, str] = {}
    for label in labels:
        optional = (text for text in (label.parent, label.facts) if text)
        for text in (label.text, *label.synonyms, *optional):
            check_text(text)
        check_languages(label.names)
        key = label.text.casefold()
        if key in seen:
            raise LabelError(f"label {label.text!r} is there twice")
        seen[key] = label.text


def check_text(text: str) -> None:
    """Refuse a label's words when they are empty, too long or hold control characters.

    Raises:
        LabelError: saying which, and what is accepted.
    """
    if not text.strip():
        raise LabelError("an empty label; accepted: words")
    if len(text) > MAX_LABEL_CHARACTERS:
        raise LabelError(
            f"label {text[:40]!r}… has {len(text)} characters; at most {MAX_LABEL_CHARACTERS} are accepted"
        )
    if not text.isprintable() and any(category(c) in _UNWRITABLE or c in _DIRECTIONS for c in text):
        raise LabelError(f"label {text[:40]!r} holds control characters; accepted: words")


def check_texts(texts: Sequence[str]) -> None:
    """`check_text` of many words; tens of thousands that are all in order take a few milliseconds.

    Raises:
        LabelError: of the first that `check_text` refuses.
    """
    in_order = all(map(str.strip, texts)) and max(map(len, texts), default=0) <= MAX_LABEL_CHARACTERS
    if not in_order or not "".join(texts).isprintable():
        for text in texts:
            check_text(text)


def check_languages(names: dict[str, str]) -> None:
    """Refuse display names that are not words by language code.

    Raises:
        LabelError: a code such as ``Spanish``, or words as `check_text` refuses them.
    """
    for language, text in names.items():
        if re.fullmatch(LANGUAGE, language) is None:
            raise LabelError(f"language {language[:40]!r}; accepted: a code such as es or pt-BR")
        check_text(text)


def _check(pack: LabelPack) -> None:
    check_labels(pack.labels)
    for text in (pack.title, *pack.templates):
        if not text.isprintable():
            raise LabelError(f"{text[:40]!r} holds control characters; accepted: words")
    shape = pack.embeddings.shape
    where = f"pack {pack.name!r}"
    if len(shape) != 2 or shape[0] != len(pack.labels):
        message = f"{where} has {len(pack.labels)} labels and embeddings of shape {shape}; accepted: one row a label"
        raise BundleError(BundleFault.PACK_SHAPE, message)
    if not np.isfinite(pack.embeddings).all():
        raise BundleError(BundleFault.PACK_VALUES, f"{where} holds NaN or infinite embeddings")
    norms = np.linalg.norm(pack.embeddings, axis=1)
    if np.abs(norms - 1).max() > NORM_TOLERANCE:
        message = f"{where} holds embeddings of length {norms.min():.3f} to {norms.max():.3f}; accepted: unit vectors"
        raise BundleError(BundleFault.PACK_VALUES, message)
    for what, named in (("centre", pack.centre), ("image encoder", pack.image_encoder)):
        if named and re.fullmatch(SHA256, named) is None:
            raise BundleError(BundleFault.PACK_INVALID, f"{where} gives {what} {named[:40]!r}; accepted: a sha256")
    if pack.origin is not None:
        _check_origin(pack.origin, shape[1], where)
    temperature, threshold, unknown = pack.temperature, pack.threshold, pack.unknown
    for what, value, fits, accepted in (
        ("temperature", temperature, temperature is None or 0 < temperature < 1e3, "above 0, below 1000"),
        ("threshold", threshold, threshold is None or 0 < threshold <= 1, "above 0, at most 1"),
        ("unknown", unknown, unknown is None or -1 <= unknown <= 1, "-1 to 1, a cosine"),
    ):
        if not fits:
            raise BundleError(BundleFault.PACK_INVALID, f"{where} gives {what} {value}; accepted: {accepted}")


def _check_origin(origin: Origin, dim: int, where: str) -> None:
    if origin.vector.shape != (dim,):
        message = f"{where} has an origin of shape {origin.vector.shape}; accepted: ({dim},), as its embeddings"
        raise BundleError(BundleFault.PACK_SHAPE, message)
    length = float(np.linalg.norm(origin.vector))
    if not length <= 1 + NORM_TOLERANCE:  # NaN is not under anything
        message = f"{where} has an origin of length {length:.3f}; accepted: at most 1, a mean of unit vectors"
        raise BundleError(BundleFault.PACK_VALUES, message)
    if not 1 <= origin.photos <= _MOST_PHOTOS:
        raise BundleError(BundleFault.PACK_INVALID, f"{where} has an origin of {origin.photos} photos")
    if re.fullmatch(SHA256, origin.image_encoder) is None:
        message = f"{where} gives image encoder {origin.image_encoder[:40]!r} for its origin; accepted: a sha256"
        raise BundleError(BundleFault.PACK_INVALID, message)


def _merged_origin(packs: Sequence[LabelPack]) -> Origin | None:
    """As if the packs had been adapted together: it is of the photos and not of the labels, so it is all labels'."""
    origins: list[Origin] = []
    for pack in packs:
        if pack.origin is not None and pack.origin not in origins:
            origins.append(pack.origin)
    if len(origins) < 2:
        return origins[0] if origins else None
    vectors, counts = np.stack([origin.vector for origin in origins]), [origin.photos for origin in origins]
    vector = np.average(vectors, axis=0, weights=counts).astype(np.float32)
    return Origin(vector, min(sum(counts), _MOST_PHOTOS), origins[0].image_encoder)


def merge(packs: Sequence[LabelPack]) -> LabelPack:
    """One pack out of several: of labels with the same words the first is kept.

    A single pack is returned as it is. Fitted temperatures and thresholds do not outlive a merge; a photo that one of
    the packs would take for its own is not unknown to them all. What one of them was adapted to, all are; of several
    places it is the mean, photo by photo.

    Raises:
        LabelError: no pack at all, some with a centre taken off and some without, or one taught and one adapted.
    """
    if not packs:
        raise LabelError("no label pack; accepted: at least one")
    if len(packs) == 1:
        return packs[0]
    if len({pack.centre for pack in packs}) > 1:
        centred = ", ".join(pack.name for pack in packs if pack.centre)
        raise LabelError(f"some packs are centred ({centred}) and some are not; accepted together: all of one kind")
    taught = ", ".join(pack.name for pack in packs if pack.image_encoder)
    placed = ", ".join(pack.name for pack in packs if pack.origin is not None)
    if taught and placed:
        message = f"{taught} taught by photos with labels, {placed} adapted by photos without"
        raise LabelError(f"{message}; accepted together: one kind, beside packs of neither")
    rows: dict[str, tuple[Label, npt.NDArray[Any]]] = {}
    for pack in packs:
        for label, row in zip(pack.labels, pack.embeddings):
            rows.setdefault(label.text.casefold(), (label, row))
    first = packs[0]
    least = [pack.unknown for pack in packs if pack.unknown is not None]
    return LabelPack(
        name="+".join(pack.name for pack in packs),
        title=", ".join(pack.title for pack in packs),
        labels=tuple(label for label, _ in rows.values()),
        embeddings=np.stack([row for _, row in rows.values()]),
        templates=first.templates,
        text_encoder=first.text_encoder,
        preprocessing=first.preprocessing,
        unknown=min(least) if len(least) == len(packs) else None,
        centre=first.centre,
        image_encoder=next((pack.image_encoder for pack in packs if pack.image_encoder), ""),
        origin=_merged_origin(packs),
    )
