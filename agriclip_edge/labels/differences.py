"""What changed between two label packs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np

from .pack import Label, LabelPack, Origin

TURNED = 0.999  # cosine under which an embedding is another one; float16 alone keeps 0.999999
_ALIKE = 0.98  # cosine from which a label that went and one that came are one label in other words

_MOST_COSINES = 25_000_000  # 100 MB; packs that have less in common are told by their words alone


@dataclass(frozen=True)
class Turned:
    """A label whose embedding points elsewhere; cosine of the old one to the new one."""

    label: str
    cosine: float


@dataclass(frozen=True)
class Differences:
    """What a second pack has otherwise than a first one.

    Attributes:
        added: labels that the second alone has.
        removed: labels that the first alone has.
        reworded: (label in the first, label in the second) of one thing in other words: the same but for case, or with
            all but the same embedding.
        synonyms: labels whose synonyms or display names differ.
        moved: (label, parent in the first, parent in the second).
        facts: (label, class in the first, class in the second) where another class of the facts library is meant.
        turned: labels whose embeddings differ, by cosine, the most different first.
        header: fields of the packs that differ (title, templates, temperature, threshold, centre, text encoder …); of
            what they are adapted to, how many photos.
        comparable: whether embeddings could be compared; not across text encoders or centres.

    Example:
        >>> pack = __import__("agriclip_edge").Bundle.open().pack("maize-leaf-disease")
        >>> bool(compare(pack, pack))
        False
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reworded: tuple[tuple[str, str], ...]
    synonyms: tuple[str, ...]
    moved: tuple[tuple[str, str, str], ...]
    facts: tuple[tuple[str, str, str], ...]
    turned: tuple[Turned, ...]
    header: dict[str, tuple[Any, Any]]
    comparable: bool

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return any(bool(value) for name, value in vars(self).items() if name != "comparable")

    def to_record(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    def lines(self) -> list[str]:
        """As lines for people: ``+`` came, ``-`` went, ``~`` changed."""
        found = [f"~ {name}: {_shown(old)} -> {_shown(new)}" for name, (old, new) in self.header.items()]
        found += [f"- {label}" for label in self.removed] + [f"+ {label}" for label in self.added]
        found += [f"~ {old}: now {new!r}" for old, new in self.reworded]
        found += [f"~ {label}: other synonyms or display names" for label in self.synonyms]
        found += [f"~ {label}: parent {old or 'none'} -> {new or 'none'}" for label, old, new in self.moved]
        found += [f"~ {label}: facts {old or 'none'} -> {new or 'none'}" for label, old, new in self.facts]
        found += [f"~ {turned.label}: embedding turned, cosine {turned.cosine:.4f}" for turned in self.turned]
        if not self.comparable:
            found.append("embeddings were not compared: another text encoder or centre gives them another meaning")
        return found


def compare(first: LabelPack, second: LabelPack) -> Differences:
    """Compare two packs.

    Args:
        first: the old one.
        second: the new one; its embeddings may have another size.
    """
    comparable = first.text_encoder == second.text_encoder and first.centre == second.centre
    comparable = comparable and first.embeddings.shape[1] == second.embeddings.shape[1]
    rows = {label.text: row for row, label in enumerate(first.labels)}
    new_rows = {label.text: row for row, label in enumerate(second.labels)}
    pairs = _reworded(first, second, comparable)
    gone, come = {old for old, _ in pairs}, {new for _, new in pairs}
    both = [(text, text) for text in rows if text in new_rows] + pairs
    before = {old: first.labels[rows[old]] for old, _ in both}
    after = {old: second.labels[new_rows[new]] for old, new in both}
    turned = []
    if comparable:
        for old, new in both:
            cosine = float(first.embeddings[rows[old]] @ second.embeddings[new_rows[new]])
            if cosine < TURNED:
                turned.append(Turned(new, round(cosine, 4)))
    return Differences(
        added=tuple(text for text in new_rows if text not in rows and text not in come),
        removed=tuple(text for text in rows if text not in new_rows and text not in gone),
        reworded=tuple(pairs),
        synonyms=tuple(old for old in before if _wordings(before[old]) != _wordings(after[old])),
        moved=_changed(before, after, "parent"),
        facts=_changed(before, after, "facts"),
        turned=tuple(sorted(turned, key=lambda entry: entry.cosine)),
        header=_header(first, second),
        comparable=comparable,
    )


def _reworded(first: LabelPack, second: LabelPack, comparable: bool) -> list[tuple[str, str]]:
    """Labels of the first and the second that are one thing: by case, then by embedding, the nearest first."""
    texts, new_texts = {label.text for label in first.labels}, {label.text for label in second.labels}
    went = [(row, label) for row, label in enumerate(first.labels) if label.text not in new_texts]
    came = [(row, label) for row, label in enumerate(second.labels) if label.text not in texts]
    folded = {label.text.casefold(): label.text for _, label in came}
    pairs = {label.text: folded[label.text.casefold()] for _, label in went if label.text.casefold() in folded}
    taken = set(pairs.values())
    went = [(row, label) for row, label in went if label.text not in pairs]
    came = [(row, label) for row, label in came if label.text not in taken]
    if comparable and 0 < len(went) * len(came) <= _MOST_COSINES:
        cosines = first.embeddings[[row for row, _ in went]] @ second.embeddings[[row for row, _ in came]].T
        near = np.argwhere(cosines >= _ALIKE)
        for i, j in sorted(near.tolist(), key=lambda place: -float(cosines[place[0], place[1]])):
            old, new = went[i][1].text, came[j][1].text
            if old not in pairs and new not in taken:
                pairs[old] = new
                taken.add(new)
    return list(pairs.items())


def _wordings(label: Label) -> tuple[Any, ...]:
    return tuple(label.synonyms), label.names


def _changed(before: dict[str, Label], after: dict[str, Label], field: str) -> tuple[tuple[str, str, str], ...]:
    both = ((old, getattr(before[old], field), getattr(after[old], field)) for old in before)
    return tuple((old, left, right) for old, left, right in both if left != right)


def _header(first: LabelPack, second: LabelPack) -> dict[str, tuple[Any, Any]]:
    left_out = ("labels", "embeddings", "name")
    names = [field.name for field in fields(first) if field.name not in left_out]
    both = ((name, getattr(first, name), getattr(second, name)) for name in names)
    return {name: (_plain(old), _plain(new)) for name, old, new in both if old != new}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Origin) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(entry) for entry in value)
    text = str(value)
    return "none" if value in (None, "") else f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text
