"""Everything that a judged figure depends on, hashed, so that figures of different protocols cannot be mixed up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

VERSION = 1  # of the rules of this package; raised when the same inputs would give other figures
ZERO_SHOT = "zero-shot"
ADAPTED = "zero-shot-adapted"
_SUPPORT = ("support", "support_photos", "shots", "draws", "neighbours", "seed")  # zero-shot depends on none of them


class Protocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of judging one model; two records are of one protocol when all fields are equal.

    Attributes:
        labels: sha256 of the tasks with their labels in order.
        prompts: sha256 of all prompts of all labels with their weights.
        preprocessing: id of what happens to a photo before the encoder.
        model: sha256 of the image encoder.
        text_encoder: sha256 of the text encoder.
        photos: sha256 of all judged photos with their answers.
        split: which split they are.
        support: which split shots come from; empty when none are drawn.
        support_photos: sha256 of its photos with their answers.
        shots: photos a class of the few-shot figures.
        draws: random draws of each.
        neighbours: k of the nearest neighbours.
        seed: of all draws.
        bootstrap: draws of the intervals over photos.
        version: of the rules.
    """

    labels: str
    prompts: str
    preprocessing: str
    model: str
    text_encoder: str
    photos: str
    split: str
    support: str
    support_photos: str
    shots: tuple[int, ...]
    draws: int
    neighbours: int
    seed: int
    bootstrap: int
    version: int = VERSION

    @property
    def sha256(self) -> str:
        """One hash over all fields."""
        return sha256_of(self)


def sha256_of(value: object) -> str:
    """Hash of plain values or records, by their JSON with sorted keys."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def differences(first: Protocol, second: Protocol, method: str, vary: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """Fields in which two protocols differ, though a figure depends on them.

    Args:
        first: of one record.
        second: of the other.
        method: of the figure; zero-shot does not depend on support photos and draws.
        vary: fields that are meant to differ.

    Returns:
        both values of each field, as text.
    """
    ignored = {*vary, *(_SUPPORT if method == ZERO_SHOT else ())}
    pairs = {name: (getattr(first, name), getattr(second, name)) for name in first.__struct_fields__}
    return {name: (str(a), str(b)) for name, (a, b) in pairs.items() if a != b and name not in ignored}
