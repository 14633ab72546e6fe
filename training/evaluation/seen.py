"""Which tasks ask for labels that the training photos had already: by the label's words, or by a synonym."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..captions import shipped_facts
from ..data import read_collection

Synonyms = Mapping[str, frozenset[str]]  # each wording in lower case: all wordings of the classes that it may mean


def trained_labels(data: Path, collections: Sequence[str]) -> frozenset[str]:
    """Labels of all collections that have training photos, in lower case.

    Raises:
        DataError: a collection cannot be read.
    """
    tasks = [task for name in collections for task in read_collection(data / name).tasks]
    return frozenset(entry.label.casefold() for task in tasks for entry in task.classes if entry.train > 0)


def known_synonyms() -> Synonyms:
    """Wordings of all classes that the facts describe: labels, synonyms and scientific names.

    Raises:
        FactsError: a facts file is broken.
    """
    synonyms: dict[str, frozenset[str]] = {}
    for facts in shipped_facts().values():
        names = (facts.label, *facts.synonyms, facts.scientific)
        wordings = frozenset(words.casefold() for words in names if words)
        for words in wordings:
            synonyms[words] = synonyms.get(words, frozenset()) | wordings
    return synonyms


def count_seen(labels: Iterable[str], trained: frozenset[str], synonyms: Synonyms) -> int:
    """How many labels were trained on, in these words or by a synonym.

    Example:
        >>> count_seen(["Maize", "yam"], frozenset({"corn"}), {"maize": frozenset({"maize", "corn"})})
        1
    """
    wordings = ({label.casefold()} | synonyms.get(label.casefold(), frozenset()) for label in labels)
    return sum(not trained.isdisjoint(words) for words in wordings)
