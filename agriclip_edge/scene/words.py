"""Labels of a scene in the user's own words: classes that it knows, or texts through the map that bound those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.manifest import SceneText
from ..bundle.reader import Bundle
from ..errors import BundleError, BundleFault, LabelError
from ..labels.pack import Label, LabelPack

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..labels.prompts import Embedder

_TENSORS = ("bias", "centre", "weight")
_MOST = 1e4  # any value: all belong to unit vectors
_MOST_TEXT = 16384  # values of a text's vector
_TINY = 1e-9  # a vector of that length has no direction
_LISTED = 12  # known classes that a message names


@dataclass(frozen=True)
class Meaning:
    """A text encoder of which only the first values count, brought back to length 1.

    These say what words mean; what follows them, in an encoder for photos, is what such things look like there.

    Attributes:
        encoder: the whole one.
        width: T, how many values count.
    """

    encoder: Embedder
    width: int

    def embed(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 (N, T) of N prompts.

        Raises:
            LabelError: the encoder gives fewer values, or a prompt is too long for it.
        """
        vectors = self.encoder.embed(prompts)
        if vectors.shape[1] < self.width:
            raise LabelError(f"a text encoder of {vectors.shape[1]} values; the map for words takes {self.width}")
        cut = vectors[:, : self.width]
        unit: npt.NDArray[np.float32] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), _TINY)
        return unit


@dataclass(frozen=True)
class TextMap:
    """From a text's vector to the class that it means.

    Attributes:
        centre: mean of the texts of the classes that were bound, float32 (T,): what all of them have in common.
        weight: float32 (D, T).
        bias: float32 (D,).

    Example:
        >>> turn = TextMap(np.zeros(2, np.float32), np.array([[0, 1], [1, 0]], np.float32), np.zeros(2, np.float32))
        >>> turn(np.array([[1, 0]], np.float32)).tolist()
        [[0.0, 1.0]]
    """

    centre: npt.NDArray[np.float32] = field(repr=False)
    weight: npt.NDArray[np.float32] = field(repr=False)
    bias: npt.NDArray[np.float32] = field(repr=False)

    def __call__(self, texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 (N, D) of the classes that texts mean, float32 (N, T).

        Raises:
            LabelError: a text is all that the classes have in common, so that nothing tells it from them.
        """
        apart = texts - self.centre
        length = np.linalg.norm(apart, axis=1, keepdims=True)
        found = np.divide(apart, length, where=length > 0, out=np.zeros_like(apart)) @ self.weight.T + self.bias
        size = np.linalg.norm(found, axis=1, keepdims=True)
        if not (length.all() and size.all()):
            raise LabelError("a label says no more than what all classes have in common; accepted: other words")
        unit: npt.NDArray[np.float32] = (found / size).astype(np.float32)
        return unit

    def to_bytes(self) -> bytes:
        """A safetensors file, float32."""
        from safetensors.numpy import save

        return save({name: np.ascontiguousarray(getattr(self, name), np.float32) for name in _TENSORS})

    @classmethod
    def from_bytes(cls, data: bytes, dim: int, where: str) -> TextMap:
        """Read a map to D values without trust.

        Raises:
            BundleError: other tensors, shapes or values than above.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        def wrong(what: str) -> BundleError:
            return BundleError(BundleFault.TEXT_MAP_INVALID, f"{where}: {what}")

        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise wrong(f"not a safetensors file: {error}") from None
        if tuple(sorted(tensors)) != _TENSORS:
            raise wrong(f"holds {sorted(tensors)[:9]}; accepted: {', '.join(_TENSORS)}")
        texts = tensors["centre"].size
        if not 1 <= texts <= _MOST_TEXT:
            raise wrong(f"takes texts of {texts} values; accepted: 1 to {_MOST_TEXT:,}")
        for name, shape in (("centre", (texts,)), ("weight", (dim, texts)), ("bias", (dim,))):
            tensor = tensors[name]
            if tensor.dtype != np.float32 or tensor.shape != shape:
                raise wrong(f"{name} is {tensor.dtype} {tensor.shape}; accepted: float32 {shape}")
            if not (np.abs(tensor) < _MOST).all():  # NaN is not below anything
                raise wrong(f"{name} holds values that are no numbers or beyond {_MOST:g}")
        return cls(tensors["centre"], tensors["weight"], tensors["bias"])


def read_text_map(bundle: Bundle, entry: SceneText) -> TextMap:
    """The map of a bundle for scenes, checked.

    Raises:
        BundleError: it is broken.
    """
    return TextMap.from_bytes(bundle.read(entry.file), bundle.manifest.embedding_dim, entry.file)


def typed_pack(bundle: Bundle, known: LabelPack, labels: Sequence[Label], texts: Bundle) -> LabelPack:
    """A pack of the labels that somebody typed.

    A label with the words of a known class is that class, with all that was said and shown of it. Any other goes by its
    words alone through the text encoder that the classes were bound with.

    Args:
        bundle: for scenes.
        known: pack of its classes.
        labels: C labels.
        texts: the bundle whose text encoder reads other words.

    Raises:
        LabelError: a label is no known class, and the bundle has no map for words or ``texts`` another text encoder.
        BundleError: the map or the text encoder is broken.

    Example:
        >>> from agriclip_edge.labels.lists import parse_labels
        >>> bundle = Bundle.open("tests/data/scene/bundle")
        >>> known = bundle.pack("classes")
        >>> [label.text for label in typed_pack(bundle, known, parse_labels("Maize, alfalfa"), bundle).labels]
        ['maize', 'alfalfa']
    """
    rows = {
        words.casefold(): (label, row)
        for label, row in reversed(list(zip(known.labels, known.embeddings)))  # of labels alike the first one counts
        for words in (*label.synonyms, label.text)
    }
    others = [label for label in labels if label.text.casefold() not in rows]
    if others:
        vectors = _by_words(bundle, known, others, texts)
        rows |= {label.text.casefold(): (label, row) for label, row in zip(others, vectors)}
    chosen = [rows[label.text.casefold()] for label in labels]
    return replace(
        known,
        name="typed",
        title=", ".join(label.text for label in labels),
        labels=tuple(label for label, _ in chosen),
        embeddings=np.stack([row for _, row in chosen]),
    )


def _by_words(bundle: Bundle, known: LabelPack, labels: Sequence[Label], texts: Bundle) -> npt.NDArray[np.float32]:
    """Unit vectors float32 (C, D) of labels that are no known class."""
    from ..labels.prompts import embed_labels
    from ..text.encoder import TextEncoder

    entry = bundle.for_scenes().text
    what = f"{labels[0].text!r} is no class of {bundle.manifest.name}"
    if entry is None:
        listed = ", ".join(label.text for label in known.labels[:_LISTED])
        more = " …" if len(known.labels) > _LISTED else ""
        raise LabelError(f"{what}, which has no map for other words; accepted: {listed}{more}")
    if texts.text_encoder_id != entry.encoder:
        raise LabelError(
            f"{what}; other words need text encoder {entry.encoder[:12]}…, and {texts.manifest.name} has "
            f"{texts.text_encoder_id[:12]}…: accepted with it are the bundle's own classes"
        )
    turn = read_text_map(bundle, entry)
    return turn(embed_labels(labels, entry.templates, Meaning(TextEncoder(texts), len(turn.centre))))
