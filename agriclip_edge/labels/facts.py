"""Class facts: what a photo of a class shows, in the words of one shared vocabulary."""

from __future__ import annotations

import msgspec

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
