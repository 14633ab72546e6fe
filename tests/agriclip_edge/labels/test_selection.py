"""Classes of the library are chosen by what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from agriclip_edge import Bundle, LabelError
from agriclip_edge.labels.facts import Library
from agriclip_edge.labels.selection import select


@pytest.fixture(scope="module")
def library(facts_bundle: Path) -> Library:
    found = Bundle.open(facts_bundle).facts
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("selection", "labels"),
    [
        ("crop = maize", ["maize leaf with rust", "healthy maize leaf"]),
        ("host=Corn", ["maize leaf with rust", "healthy maize leaf"]),
        ("crop = maize | wheat, kind = disease", ["maize leaf with rust", "wheat leaf with rust"]),
        ("parent = insects", ["leafhopper"]),
        ("kind = ripeness|insect", ["ripe tomato", "leafhopper"]),
        ("scientific = puccinia sorghi", ["maize leaf with rust"]),
    ],
)
def test_chosen(selection: str, labels: list[str], library: Library) -> None:
    found = select(library, selection)
    assert [label.text for label in found] == labels
    assert [label.facts for label in found] == labels


def test_a_chosen_label_has_all_that_is_known(library: Library) -> None:
    rust = select(library, "label = maize leaf with rust")[0]
    assert (rust.parent, rust.synonyms, rust.names) == (
        "maize leaf",
        ("common rust of maize",),
        {"es": "roya del maíz"},
    )


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("", "chooses nothing; accepted: field = value"),
        ("coffee", "'coffee' chooses nothing"),
        ("crop =", "chooses nothing"),
        ("colour = red", "'colour = red' chooses nothing; accepted: .*crop, animal, label"),
        ("crop = coffee", "no class has crop = coffee; there are: maize, tomato, wheat"),
        ("crop = maize, kind = insect", "no class has kind = insect; there are: condition, disease"),
    ],
)
def test_refused(selection: str, words: str, library: Library) -> None:
    with pytest.raises(LabelError, match=words):
        select(library, selection)
