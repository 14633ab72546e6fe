"""Chooses classes of the facts library by what they are: ``host = coffee, kind = disease``."""

from __future__ import annotations

from ..errors import LabelError
from .facts import Facts, Library
from .matching import normalise
from .pack import Label

FIELDS = ("label", "kind", "parent", "host", "organ", "scientific")
_SAME = {"crop": "host", "animal": "host"}


def select(library: Library, selection: str) -> tuple[Label, ...]:
    """The classes that a selection names, as labels with parents, other names and display names.

    Args:
        library: of a bundle.
        selection: ``field = value`` with commas between several, all of which hold; ``|`` between values of which one
            holds. Fields are `FIELDS`, and ``crop`` or ``animal`` for ``host``; values are compared as labels are.

    Raises:
        LabelError: not of this form, an unknown field, or nothing is chosen; the message names the values there are.

    Example:
        >>> import numpy as np
        >>> rust = Facts("coffee leaf with rust", "disease", "coffee leaf disease", ("powder",), ("cabi",), "coffee")
        >>> select(Library((rust,), np.ones((1, 1), np.float32)), "crop = Coffee, kind = disease | pest")[0].parent
        'coffee leaf disease'
    """
    chosen = list(library.classes)
    for condition in selection.split(","):
        name, equals, values = (part.strip() for part in condition.partition("="))
        attribute = _SAME.get(name.lower(), name.lower())
        if not equals or attribute not in FIELDS or not values:
            accepted = "field = value, field = value; fields: crop, animal, " + ", ".join(FIELDS)
            raise LabelError(f"{condition.strip()[:80]!r} chooses nothing; accepted: {accepted}")
        wanted = [normalise(value) for value in values.split("|")]
        left = [facts for facts in chosen if normalise(getattr(facts, attribute)) in wanted]
        if not left:
            there = sorted({getattr(facts, attribute) for facts in chosen} - {""})
            more = f" and {len(there) - 12} more" if len(there) > 12 else ""
            raise LabelError(f"no class has {name} = {values}; there are: {', '.join(there[:12])}{more}")
        chosen = left
    return tuple(as_label(facts) for facts in chosen)


def as_label(facts: Facts) -> Label:
    """A class as a label of a pack."""
    return Label(facts.label, facts.parent, facts.synonyms, facts.names, facts.label)
