"""Facts files hold to their rules, and captions come from them alone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from agriclip_edge.errors import LabelError
from training.captions import FACTS, FactsError, captions, captions_for, find_facts, read_facts, shipped_facts
from training.cli import main


def test_every_shipped_class_follows_the_rules_and_gives_captions() -> None:
    library = shipped_facts()
    assert len(library) > 1500
    for facts in library.values():
        found = captions(facts, 6)
        assert len(found) == len(set(found)) == 6
        assert all("{" not in caption and len(caption.split()) < 60 for caption in found)


def test_captions_tell_looks_names_and_attributes_and_repeat_by_seed() -> None:
    facts = shipped_facts()["bean leaf with rust"]
    found = captions(facts, 12, seed=3)
    assert found == captions(facts, 12, seed=3) != captions(facts, 12, seed=4)
    assert any(statement in caption for caption in found for statement in facts.visible)
    assert any(name in caption for caption in found for name in facts.synonyms)
    assert any(colour in caption for caption in found for colour in facts.colour)
    without_name = [c for c in found if not any(name in c for name in (facts.label, *facts.synonyms))]
    assert without_name  # a class is told by its looks alone, too


def test_a_label_without_facts_is_told_by_its_name() -> None:
    assert all("steam locomotive" in caption for caption in captions_for("steam locomotive", 4))


def test_a_class_is_found_by_synonym_and_scientific_name() -> None:
    library = shipped_facts()
    facts = library["bean leaf with rust"]
    assert find_facts(facts.synonyms[0].upper(), library) is facts
    with pytest.raises(LabelError, match="no facts on 'cofee rust'; near: coffee"):
        find_facts("cofee rust", library)


BREAKS = {
    "another colour": (r'colour = \["[^"]*"', 'colour = ["puce"', "colour 'puce', which vocabulary.toml lacks"),
    "another kind": (r'kind = "disease"', 'kind = "malady"', "kind 'malady'"),
    "another key": (r'parent = "', 'mother = "x"\nparent = "', "unknown field"),
    "a source without a work": (
        r"sources = \[",
        'sources = ["hearsay", ',
        "source 'hearsay', which sources.toml lacks",
    ),
    "no TOML": (r"\[\[class\]\]", "[[class]", "reviewed-leaves.toml"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_file_is_refused_by_name(what: str, tmp_path: Path) -> None:
    pattern, replacement, message = BREAKS[what]
    for name in ("vocabulary.toml", "sources.toml", "reviewed-leaves.toml"):
        shutil.copy(FACTS / name, tmp_path / name)
    path = tmp_path / "reviewed-leaves.toml"
    path.write_text(re.sub(pattern, replacement, path.read_text("utf-8"), count=1), "utf-8")
    with pytest.raises(FactsError, match=re.escape(message)):
        read_facts(tmp_path)


def test_the_same_class_twice_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match="cannot be read"):
        read_facts(tmp_path)
    for name in ("vocabulary.toml", "sources.toml", "reviewed-leaves.toml"):
        shutil.copy(FACTS / name, tmp_path / name)
    shutil.copy(FACTS / "reviewed-leaves.toml", tmp_path / "reviewed-leaves-again.toml")
    with pytest.raises(FactsError, match="is there twice"):
        read_facts(tmp_path)


def test_prompts_show_prints_facts_and_captions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["training", "prompts", "show", "coffee leaf rust", "--number", "5"])
    with pytest.raises(SystemExit) as leaving:
        main()
    shown = capsys.readouterr().out
    assert leaving.value.code in (0, None)
    assert "Hemileia vastatrix" in shown and shown.count("\n  ") >= 5
