"""A label finds its class whatever its wording, and finds none rather than a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from agriclip_edge import Bundle, Label
from agriclip_edge.labels.build import match_labels
from agriclip_edge.labels.facts import Facts
from agriclip_edge.labels.matching import Index, edits, normalise


def entry(label: str, host: str = "", scientific: str = "", *synonyms: str, **names: str) -> Facts:
    return Facts(label, "disease", "leaf disease", ("spots", "rings"), ("made",), host, "", scientific, synonyms, names)


INDEX = Index(
    [
        entry("cocoa pod with frosty pod rot", "cocoa", "Moniliophthora roreri", "frosty pod rot",
              es="moniliasis del cacao"),
        entry("maize leaf with gray leaf spot", "maize", "Cercospora zeae-maydis", "cercospora leaf spot of maize"),
        entry("tomato leaf with late blight", "tomato", "Phytophthora infestans", "tomato late blight",
              pt="requeima do tomateiro"),
        entry("potato leaf with late blight", "potato", "Phytophthora infestans", "potato late blight"),
        entry("leafhopper", "", "", "jassid", fr="cicadelle"),
        entry("aubergine", "", "Solanum melongena"),
        entry("eggplant", "", ""),
        entry("cattle", "", "Bos taurus"),
        entry("discoloured chilli fruit", "chilli", "", hi="बदरंग मिर्च"),
        entry("black sigatoka streak of banana", "banana", "Pseudocercospora fijiensis"),
        entry("anaemia of sheep", "sheep"),
    ]
)  # fmt: skip
WORDS = frozenset("castle".split())

FOUND = {
    "cocoa pod with frosty pod rot": ("cocoa pod with frosty pod rot", "label"),
    "COCOA POD, frosty-pod rot": ("cocoa pod with frosty pod rot", "label"),
    "cacao pods with frosty pod rot": ("cocoa pod with frosty pod rot", "label"),
    "frosty pod rot": ("cocoa pod with frosty pod rot", "other name"),
    "frosty pod rot (Moniliophthora roreri)": ("cocoa pod with frosty pod rot", "other name"),
    "moniliophthora Roreri": ("cocoa pod with frosty pod rot", "scientific name"),
    "MONILIASIS DEL CACAO": ("cocoa pod with frosty pod rot", "name in es"),
    "grey leaf spot on corn leaves": ("maize leaf with gray leaf spot", "label"),
    "Requeima do Tomateiro": ("tomato leaf with late blight", "name in pt"),
    "leaf hoppers": ("leafhopper", "label"),
    "aubergine": ("aubergine", "label"),
    "eggplant": ("eggplant", "label"),
    "a photo of discolored chili fruits": ("discoloured chilli fruit", "label"),
    "बदरंग मिर्च": ("discoloured chilli fruit", "name in hi"),
    "black Sigatoka streak": ("black sigatoka streak of banana", "crop left out"),
    "anemia of sheep": ("anaemia of sheep", "label"),
    "moniliophtora roreri": ("cocoa pod with frosty pod rot", "near spelling"),
    "tomatoe leaf with late blight": ("tomato leaf with late blight", "near spelling"),
    "leafhoper": ("leafhopper", "near spelling"),
    "lefahopper": ("leafhopper", "near spelling"),
}


@pytest.mark.parametrize(("label", "found"), FOUND.items(), ids=list(FOUND))
def test_found(label: str, found: tuple[str, str]) -> None:
    match = INDEX.find(label, WORDS.__contains__)
    assert match.facts is not None, str(match)
    assert (match.facts.label, match.how) == found
    assert match.label == label


NOT_FOUND = [
    "steam locomotive",
    "castle",
    "catle",
    "late",
    "blight",
    "tomato",
    "leaf",
    "",
    "(",
    "…",
    "cat",
    "roreri moni",
]


@pytest.mark.parametrize("label", NOT_FOUND)
def test_words_that_only_look_alike_find_nothing(label: str) -> None:
    match = INDEX.find(label, WORDS.__contains__)
    assert match.facts is None, str(match)
    assert "its words alone" in str(match)


def test_a_word_of_the_language_is_no_typing_error() -> None:
    assert INDEX.find("castle", WORDS.__contains__).facts is None
    near = INDEX.find("castle")  # nobody says that it is a word
    assert near.facts is not None and near.facts.label == "cattle"
    assert str(near) == "castle: cattle (Bos taurus), by a near spelling"


def test_what_fits_several_classes_gets_none_and_names_them() -> None:
    for label in ("Phytophthora infestans", "late blight leaf"):
        match = INDEX.find(label)
        assert match.facts is None
        assert match.fits == ("tomato leaf with late blight", "potato leaf with late blight")
        assert str(match).startswith(f"{label}: its words alone; it fits tomato leaf with late blight, potato leaf")


def test_every_label_finds_itself_before_all_others() -> None:
    for label in ("aubergine", "eggplant", "leafhopper"):
        facts = INDEX.find(label.upper()).facts
        assert facts is not None and facts.label == label


@pytest.mark.parametrize(
    ("left", "right", "count"),
    [("", "", 0), ("rust", "rust", 0), ("rust", "rusts", 1), ("rust", "rsut", 1), ("rust", "must", 1), ("ab", "ba", 1),
     ("abc", "", 3), ("septoria", "setporai", 2), ("abcdef", "uvwxyz", 3)],
)  # fmt: skip
def test_edits(left: str, right: str, count: int) -> None:
    assert edits(left, right, 2) == min(count, 3)
    assert edits(right, left, 2) == min(count, 3)


def test_normalised_forms() -> None:
    assert normalise("Maïs à la moitié") == ["mais", "la", "moitie"]
    assert normalise("leaves") == normalise("Leaf") == ["leaf"]
    assert normalise("diseases") == normalise("disease")
    assert normalise("flour sour hour") == ["flour", "sour", "hour"]
    assert normalise("colour") == normalise("color")
    assert normalise("sulphur fibre") == normalise("sulfur fiber")


def test_labels_of_a_bundle(facts_bundle: Path, tiny_bundle: Path) -> None:
    labels = [Label("rust of corn leaf"), Label("jassid"), Label("blue water")]
    lines = [str(match) for match in match_labels(Bundle.open(facts_bundle), labels)]
    assert lines == [
        "rust of corn leaf: maize leaf with rust (Puccinia sorghi)",
        "jassid: leafhopper",
        "blue water: no facts, its words alone",
    ]
    assert match_labels(Bundle.open(tiny_bundle), labels) == []
