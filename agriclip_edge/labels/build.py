"""Builds a pack of typed labels: names through templates, and what the facts library says is seen of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..errors import LabelError
from .lists import as_labels
from .matching import Match
from .pack import Label, LabelPack
from .prompts import embed_labels

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..bundle.reader import Bundle
    from ..text.encoder import TextEncoder
    from .facts import Library


@dataclass(frozen=True)
class Making:
    """How a pack is made of labels.

    Attributes:
        name: of the pack.
        title: one line for people; the name when empty.
        templates: prompts with one ``{}`` for the label; none takes the bundle's own.
        facts: match labels to the bundle's facts, and let their symptoms into the embeddings.
        centre: take the mean of the facts' vectors off every embedding.
    """

    name: str = "typed"
    title: str = ""
    templates: Sequence[str] = ()
    facts: bool = True
    centre: bool = False


def make_pack(
    bundle: Bundle,
    encoder: TextEncoder | Callable[[], TextEncoder],
    labels: Iterable[str | Label],
    making: Making | None = None,
    tell: Callable[[Match], None] = lambda match: None,
) -> LabelPack:
    """Embed labels and what is known of them.

    A label's embedding is a weighted mean of two unit vectors, brought back to length 1: that of its names (the label
    and its synonyms through every template, as `embed_labels`) and that of its symptoms, which has the library's
    share. A label without facts has its names' alone. A matched label without parent or display names takes those of
    the facts.

    Args:
        bundle: an open bundle.
        encoder: its text encoder, or what gives it: one that is being opened is waited for after the labels' matching.
        labels: words, or `Label` objects.
        making: how; None takes the defaults.
        tell: is told what each label was taken to mean, before any is embedded.

    Returns:
        C labels; those that were matched say the class in `Label.facts`. Embeddings are rounded to float16, as stored.

    Raises:
        LabelError: no label, two alike, a template without ``{}``, or a centre wanted of a bundle without facts.
        BundleError: the bundle's facts are broken.
    """
    making = making or Making()
    checked = as_labels(labels)
    library = bundle.facts if making.facts or making.centre else None
    if making.centre and library is None:
        raise LabelError("this bundle has no facts library, so there is no centre to take off; accepted: no --centre")
    if library is not None and making.facts:
        matches = match_labels(bundle, checked)
        for match in matches:
            tell(match)
        checked = tuple(_known(label, match.facts) for label, match in zip(checked, matches))
    opened = encoder() if callable(encoder) else encoder
    templates = tuple(making.templates or opened.templates)
    vectors = with_symptoms(embed_labels(checked, templates, opened), checked, library if making.facts else None)
    if library is not None and making.centre:
        vectors = centred(vectors, library.centre)
    return LabelPack(
        name=making.name,
        title=making.title or making.name,
        labels=checked,
        embeddings=vectors.astype(np.float16).astype(np.float32),
        templates=templates,
        text_encoder=bundle.text_encoder_id,
        preprocessing=bundle.preprocessing_id,
        centre=library.sha256 if library is not None and making.centre else "",
    )


def match_labels(bundle: Bundle, labels: Iterable[Label]) -> list[Match]:
    """What a bundle's facts library has on labels; nothing, for a bundle without one.

    Raises:
        BundleError: the library is broken.

    Example:
        >>> from agriclip_edge import Bundle, Label
        >>> [str(match) for match in match_labels(Bundle.open("tests/data/tiny_bundle"), [Label("red apple")])]
        []
    """
    library, text = bundle.facts, bundle.manifest.text
    if library is None or text is None:
        return []
    tokenizer = None

    def is_word(word: str) -> bool:
        """Whether the text encoder reads it as one piece, as it does common words; opened for the first doubt."""
        nonlocal tokenizer
        if tokenizer is None:
            from ..text.encoder import open_tokenizer

            tokenizer = open_tokenizer(text.tokenizer, bundle.read(text.vocabulary))
        return len(tokenizer.encode(word)) == len(tokenizer.encode("a"))

    return [library.index.find(label.text, is_word) for label in labels]


def with_symptoms(
    names: npt.NDArray[np.float32], labels: Sequence[Label], library: Library | None
) -> npt.NDArray[np.float32]:
    """Let the symptoms of matched labels into the vectors of their names: unit vectors, float32 (C, D).

    Example:
        >>> import numpy as np
        >>> from agriclip_edge.labels.facts import Facts, Library
        >>> facts = Facts("rust", "disease", "leaf disease", ("orange powder",), ("cabi",))
        >>> library = Library((facts,), np.array([[0, 1]], np.float32))
        >>> with_symptoms(np.array([[1, 0]], np.float32), [Label("roya", facts="rust")], library).round(2).tolist()
        [[0.7099999785423279, 0.7099999785423279]]
    """
    if library is None:
        return names
    mixed = names.copy()
    for row, label in enumerate(labels):
        number = library.by_label.get(label.facts)
        if number is not None:
            mixed[row] = (1 - library.share) * names[row] + library.share * library.symptoms[number]
    return _unit(mixed)


def centred(vectors: npt.NDArray[np.float32], centre: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit vectors float32 (C, D) without what all labels have in common, (D,).

    Raises:
        LabelError: one of them is the centre itself.
    """
    moved = vectors - centre
    if not np.linalg.norm(moved, axis=1).all():
        raise LabelError("a label lies on the centre of the facts, so nothing of it is left; accepted: no --centre")
    return _unit(moved)


def _known(label: Label, facts: object) -> Label:
    from .facts import Facts

    if not isinstance(facts, Facts):
        return msgspec.structs.replace(label, facts="")
    return msgspec.structs.replace(
        label, parent=label.parent or facts.parent, names={**facts.names, **label.names}, facts=facts.label
    )


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    units: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units
