"""Captions of a class, by a deterministic grammar from its facts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from agriclip_edge.errors import AgriclipError, LabelError
from agriclip_edge.labels.facts import KINDS, STATEMENT, Facts

FACTS = Path(__file__).with_name("facts")
_NO_CLASSES = ("vocabulary", "sources", "scenes")  # files there that hold no classes of photos
VOCABULARIES = ("colour", "shape", "texture", "place")
MAX_STATEMENT = 14  # words of a visible statement: a caption of two still fits every text encoder
_NAME = ("{name}", "a photo of {name}", "a close-up photo of {name}", "{name}, seen in the field")
_STATEMENT = (STATEMENT, "{first}, {name}", "{name} with {first}", "a photo of {name}, {first} and {second}")
_STATEMENTS = ("{first}", "{first}; {second}", "a photo that shows {first}")
_ATTRIBUTES = ("{name}: {attributes}", "{attributes}", "a photo of something {attributes}")


class FactsError(AgriclipError):
    """A facts file is missing or not as `training/facts/README.md` says: mend it."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    classes: tuple[Facts, ...] = msgspec.field(name="class")


def read_facts(folder: Path = FACTS) -> dict[str, Facts]:
    """Read and check all facts files of a folder, by label in the order of the files' names.

    Raises:
        FactsError: a file is missing or broken, a word is outside the vocabulary, a source is not named, a label is
            there twice.
    """
    try:
        vocabulary = msgspec.toml.decode((folder / "vocabulary.toml").read_bytes(), type=dict[str, list[str]])
        sources = msgspec.toml.decode((folder / "sources.toml").read_bytes(), type=dict[str, dict[str, str]])
    except (OSError, msgspec.MsgspecError) as error:
        raise FactsError(f"{folder}: vocabulary.toml or sources.toml cannot be read: {error}") from None
    found: dict[str, Facts] = {}
    files = sorted(path for path in folder.glob("*.toml") if path.stem not in _NO_CLASSES)
    for path in files:
        for facts in _read_file(path):
            complaint = _complaint(facts, vocabulary, sources) or ("is there twice" if facts.label in found else None)
            if complaint:
                raise FactsError(f"{path.name}: {facts.label!r} {complaint}")
            found[facts.label] = facts
    if not found:
        raise FactsError(f"{folder} holds no facts; accepted: TOML files with [[class]] tables")
    return found


def _read_file(path: Path) -> tuple[Facts, ...]:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File).classes
    except msgspec.MsgspecError as error:
        raise FactsError(f"{path.name}: {error}") from None


def _complaint(facts: Facts, vocabulary: dict[str, list[str]], sources: Iterable[str]) -> str | None:
    """What is wrong with one class, or None."""
    if facts.kind not in KINDS:
        return f"is of kind {facts.kind!r}; accepted: {', '.join(sorted(KINDS))}"
    for name in VOCABULARIES:
        for word in getattr(facts, name):
            if word not in vocabulary[name]:
                return f"has {name} {word!r}, which vocabulary.toml lacks"
    if facts.extent and facts.extent not in vocabulary["extent"]:
        return f"has extent {facts.extent!r}, which vocabulary.toml lacks"
    if not 2 <= len(facts.visible) <= 4:
        return f"has {len(facts.visible)} visible statements; accepted: 2 to 4"
    for statement in facts.visible:
        if len(statement.split()) > MAX_STATEMENT:
            return f"has a statement of over {MAX_STATEMENT} words: {statement!r}"
    unknown = sorted(set(facts.sources) - set(sources))
    if unknown or not facts.sources:
        return f"names the source {unknown[0]!r}, which sources.toml lacks" if unknown else "names no source"
    return None


@lru_cache(maxsize=1)
def shipped_facts() -> dict[str, Facts]:
    """The facts beside this module, read once."""
    return read_facts()


@lru_cache(maxsize=1)
def reviewed_facts() -> dict[str, Facts]:
    """Those of them that were reviewed for tasks of our data: their attributes are as common as in the field."""
    own = {facts.label for path in sorted(FACTS.glob("reviewed-*.toml")) for facts in _read_file(path)}
    return {label: facts for label, facts in shipped_facts().items() if label in own}


def captions(facts: Facts, number: int, seed: int = 0) -> tuple[str, ...]:
    """Varied captions of one class; the same seed gives the same captions.

    Names, synonyms, statements and attributes take turns in the grammar's sentences, so that a class is told by its
    looks as often as by its name. No caption is there twice; a class of few words gives fewer than asked.

    Args:
        facts: of the class.
        number: of captions wanted.
        seed: of the choice.

    Example:
        >>> captions(shipped_facts()["bean leaf with rust"], 1)[0].startswith(("bean", "a ", "rust"))
        True
    """
    draw = random.Random(f"{seed}/{facts.label}")
    names = (facts.label, facts.label, *facts.synonyms)
    patterns = (_NAME, _STATEMENT, _STATEMENTS, _ATTRIBUTES)
    found: dict[str, None] = {}
    for attempt in range(8 * number):
        pattern = draw.choice(patterns[attempt % len(patterns)])
        first, second = draw.sample(facts.visible, 2)
        attributes = attribute_words(facts, draw)
        if "{attributes}" in pattern and not attributes:
            continue
        words = {"name": draw.choice(names), "first": first, "second": second, "attributes": attributes}
        found.setdefault(pattern.format(**words))
        if len(found) == number:
            break
    return tuple(found)


def attribute_words(facts: Facts, draw: random.Random | None = None) -> str:
    """A class's attributes as words, or empty: ``orange, yellow; round spots; powdery; underside of the leaf``."""
    parts = []
    for name in VOCABULARIES:
        values = list(getattr(facts, name))[:3]
        if draw is not None:
            draw.shuffle(values)
        if values:
            parts.append(", ".join(values[:2]))
    return "; ".join(parts)


def captions_for(label: str, number: int = 8, seed: int = 0) -> tuple[str, ...]:
    """Captions of a label by its facts; of a label without facts, its name in a few sentences."""
    facts = shipped_facts().get(label)
    if facts is None:
        return tuple(pattern.format(name=label) for pattern in _NAME)[:number]
    return captions(facts, number, seed)


def find_facts(words: str, library: dict[str, Facts]) -> Facts:
    """The class of this label or synonym.

    Raises:
        LabelError: none; the message names near ones.
    """
    wanted = words.casefold()
    for facts in library.values():
        if wanted in (
            facts.label.casefold(),
            facts.scientific.casefold(),
            *(name.casefold() for name in facts.synonyms),
        ):
            return facts
    import difflib

    every = [name for facts in library.values() for name in (facts.label, *facts.synonyms)]
    near = difflib.get_close_matches(words, every, 3)
    raise LabelError(f"no facts on {words!r}" + (f"; near: {', '.join(near)}" if near else ""))


def describe(library: Sequence[Facts]) -> str:
    """Counts by kind, as one line."""
    counts = Counter(facts.kind for facts in library)
    return f"{len(library)} classes: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
