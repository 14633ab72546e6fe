"""`packs` lists, shows, builds, adds and removes label packs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agriclip_edge import Bundle, LabelPack

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_list(cli: Cli) -> None:
    rows = cli("packs", "list", "--json").json
    assert rows == [
        {"name": "fruit-colour", "labels": 3, "title": "fruit by colour", "from": "bundle", "default": True},
        {"name": "field-cover", "labels": 5, "title": "what covers a field", "from": "bundle", "default": True},
    ]
    lines = cli("packs", "list").text.splitlines()
    assert lines[0].split(None, 3) == ["fruit-colour", "3", "labels", "fruit by colour"]


def test_show(cli: Cli) -> None:
    shown = cli("packs", "show", "fruit-colour", "--json").json
    assert shown["labels"][1] == {
        "label": "green apple",
        "parent": "apple",
        "synonyms": ["unripe apple"],
        "names": {},
        "facts": "",
    }
    assert (shown["temperature"], shown["threshold"], shown["centre"]) == (None, None, "")
    assert (shown["name"], shown["title"], shown["templates"]) == (
        "fruit-colour",
        "fruit by colour",
        ["{}", "a photo of {}"],
    )
    assert "  green apple  (apple)  = unripe apple" in cli("packs", "show", "fruit-colour").text.splitlines()
    done = cli("packs", "show", "wheat")
    assert (done.code, len(done.lines)) == (2, 1)


def test_the_life_of_a_pack(cli: Cli, photo: Callable[..., Path], tmp_path: Path) -> None:
    """Built from a file, used, listed, carried on as a file, added elsewhere, removed."""
    Path("soils.csv").write_text("label,parent,synonyms\nred soil,soil,red field\nblue sky,,\n", encoding="utf-8")
    built = cli("packs", "build", "soils", "--labels-file", "soils.csv", "--title", "soils of the farm")
    stored = tmp_path / "home" / "packs" / "soils.safetensors"
    assert (built.code, built.text) == (0, f"{stored}: 2 labels\n")

    photo(Path("red.png"), "red")
    answer = cli("classify", "red.png", "--pack", "soils", "--format", "json").json[0]["predictions"]
    assert [(one["label"], one["parent"]) for one in answer] == [("red soil", "soil"), ("blue sky", "")]
    typed = cli("classify", "red.png", "--labels-file", "soils.csv", "--format", "json").json[0]["predictions"]
    assert answer == typed

    row = cli("packs", "list", "--json").json[-1]
    assert row == {
        "name": "soils", "labels": 2, "title": "soils of the farm", "from": str(stored.parent), "default": False,
    }  # fmt: skip
    assert "(yours)" in cli("packs", "list").text

    os.rename(stored, "carried.safetensors")
    assert (
        cli("classify", "red.png", "--pack", "./carried.safetensors", "--format", "json").json[0]["predictions"]
        == answer
    )
    assert cli("packs", "show", "carried.safetensors").code == 0
    assert cli("packs", "add", "carried.safetensors").text == f"{stored}: 2 labels\n"
    assert stored.read_bytes() == Path("carried.safetensors").read_bytes()

    assert cli("packs", "remove", "soils").text == f"removed {stored}\n"
    done = cli("packs", "remove", "soils")
    assert (done.code, done.lines) == (2, ["agriclip-edge: no pack of your own is named 'soils'; yours are: none"])


def test_build_to_a_file(cli: Cli, tmp_path: Path) -> None:
    done = cli("packs", "build", "x", "--labels", "rust, blight", "--template", "{}", "--output", "x.safetensors")
    assert (done.code, done.text) == (0, "x.safetensors: 2 labels\n")
    assert LabelPack.from_bytes(Path("x.safetensors").read_bytes()).templates == ("{}",)
    assert not (tmp_path / "home").exists()
    again = cli("packs", "build", "x", "--labels", "rust", "--output", "x.safetensors")
    assert (again.code, again.lines) == (2, ["agriclip-edge: x.safetensors is there already; --replace overwrites it"])
    assert cli("packs", "build", "x", "--labels", "rust", "--output", "x.safetensors", "--replace").code == 0


def test_nothing_is_overwritten_unasked(cli: Cli) -> None:
    cli("packs", "build", "x", "--labels", "rust", "--output", "x.safetensors")
    for first, again in ((["build", "x", "--labels", "blight"],) * 2, (["add", "x.safetensors"],) * 2):
        cli("packs", *first, "--replace")
        done = cli("packs", *again)
        assert (done.code, len(done.lines)) == (2, 1)
        assert "--replace overwrites it" in done.lines[0]
        assert cli("packs", *again, "--replace").code == 0


WRONG: dict[str, tuple[list[str], str]] = {
    "no label": (["build", "x"], "give the labels by one of --labels, --labels-file and --from-facts"),
    "labels twice": (["build", "x", "--labels", "a", "--labels-file", "b"], "give the labels by one of"),
    "a name that climbs": (["build", "../x", "--labels", "a"], "pack name '../x'; accepted: up to 64 of a-z"),
    "a name in capitals": (["build", "Beans", "--labels", "a"], "pack name 'Beans'"),
    "another suffix": (
        ["build", "x", "--labels", "a", "--output", "x.npz"],
        "accepted: a name that ends in .safetensors",
    ),
    "a label twice": (["build", "x", "--labels", "a, A"], "label 'A' is there twice"),
    "a missing file": (["add", "x.safetensors"], "cannot read pack x.safetensors: No such file"),
    "no pack": (["add", "notes.txt"], "notes.txt: says its header has"),
    "a name that climbs, removed": (["remove", "../x"], "pack name '../x'"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=list(WRONG))
def test_wrong_use(arguments: list[str], words: str, cli: Cli, tmp_path: Path) -> None:
    Path("notes.txt").write_text("rust on the third row")
    done = cli("packs", *arguments)
    assert (done.code, done.out, len(done.lines)) == (2, b"", 1)
    assert words in done.lines[0]
    assert sorted(os.listdir()) == ["notes.txt"]


def test_a_foreign_pack_is_not_taken_in(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    pack = replace(Bundle.open(tiny_bundle).pack("fruit-colour"), text_encoder="0" * 64)
    Path("foreign.safetensors").write_bytes(pack.to_bytes())
    for command in (["add", "foreign.safetensors"], ["show", "foreign.safetensors"]):
        done = cli("packs", *command)
        assert (done.code, len(done.lines)) == (2, 1)
        assert done.lines[0].endswith("[pack-foreign-text-encoder]")
    assert not (tmp_path / "home").exists()


def test_a_broken_or_foreign_pack_does_not_hide_the_others(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    cli("packs", "build", "good", "--labels", "rust")
    own = tmp_path / "home" / "packs"
    (own / "broken.safetensors").write_text("rust")
    foreign = replace(Bundle.open(tiny_bundle).pack("fruit-colour"), text_encoder="0" * 64)
    (own / "foreign.safetensors").write_bytes(foreign.to_bytes())
    done = cli("packs", "list", "--json")
    rows = {row["name"]: row for row in done.json}
    assert (done.code, list(rows)) == (0, ["fruit-colour", "field-cover", "broken", "foreign", "good"])
    assert rows["broken"]["title"].startswith("unusable: ")
    assert rows["foreign"]["title"].startswith("unusable: pack fruit-colour was made with text encoder 000000000000…")
    assert rows["good"]["labels"] == 1
    assert json.loads(done.out)


SPANISH = "label,parent,names.es,names.fr\nred soil,soil,suelo rojo,sol rouge\nblue sky,,cielo azul,\n"


def test_names_in_another_language(cli: Cli, photo: Callable[..., Path]) -> None:
    Path("soils.csv").write_text(SPANISH, encoding="utf-8")
    assert cli("packs", "build", "soils", "--labels-file", "soils.csv").code == 0
    photo(Path("red.png"), "red")
    assert "suelo rojo  (soil)" in cli("classify", "red.png", "--pack", "soils", "--language", "es").text
    french = cli("classify", "red.png", "--pack", "soils", "--language", "fr").text
    assert "sol rouge" in french and "blue sky" in french
    record = cli("classify", "red.png", "--pack", "soils", "--language", "es", "--format", "json").json[0]
    assert record["predictions"][0]["label"] == "red soil"
    assert "  red soil:  suelo rojo  (soil)" in cli("packs", "show", "soils", "--language", "es").text.splitlines()
    refused = cli("classify", "red.png", "--pack", "soils", "--language", "hi")
    assert refused.code == 2
    assert refused.lines == ["agriclip-edge: --language hi; these labels have names in: es, fr"]


def test_what_typed_labels_mean_is_shown(cli: Cli, photo: Callable[..., Path], facts_bundle: Path) -> None:
    photo(Path("red.png"), "red")
    typed = ("--labels", "ripe tomatos, cicadelle, blue water", "--bundle", facts_bundle)
    answered = cli("classify", "red.png", *typed, "--format", "json")
    assert answered.lines == [
        "agriclip-edge: ripe tomatos: ripe tomato",
        "agriclip-edge: cicadelle: leafhopper",
        "agriclip-edge: blue water: no facts, its words alone",
    ]
    best = answered.json[0]["predictions"][0]
    assert (best["label"], best["parent"]) == ("ripe tomatos", "tomato")
    alone = cli("classify", "red.png", *typed, "--no-facts", "--format", "json")
    assert alone.lines == []
    assert {one["parent"] for one in alone.json[0]["predictions"]} == {""}
    built = cli("packs", "build", "mine", *typed)
    assert built.lines == answered.lines
    shown = cli("packs", "show", "mine", "--json", "--bundle", facts_bundle).json["labels"]
    assert [label["facts"] for label in shown] == ["ripe tomato", "leafhopper", ""]
    refused = cli("classify", "red.png", "--no-facts")
    assert refused.code == 2 and "--no-facts goes with --labels" in refused.err


def test_a_pack_from_facts(cli: Cli, facts_bundle: Path) -> None:
    built = cli("packs", "build", "maize", "--from-facts", "crop = maize", "--centre", "--bundle", facts_bundle)
    assert (built.code, built.err) == (0, "")
    shown = cli("packs", "show", "maize", "--json", "--bundle", facts_bundle).json
    assert [label["label"] for label in shown["labels"]] == ["maize leaf with rust", "healthy maize leaf"]
    assert shown["labels"][0]["names"] == {"es": "roya del maíz"}
    assert len(shown["centre"]) == 64
    for arguments, words in (
        (("--from-facts", "crop = coffee", "--bundle", facts_bundle), "no class has crop = coffee; there are: maize"),
        (("--from-facts", "crop = maize"), "this bundle has no facts library"),
        (("--labels", "a", "--centre"), "no centre to take off"),
        (("--from-facts", "crop = maize", "--no-facts", "--bundle", facts_bundle), "accepted: one of them"),
        (("--from-facts", "crop = maize", "--labels", "a"), "one of --labels, --labels-file and --from-facts"),
    ):
        refused = cli("packs", "build", "other", *arguments)
        assert (refused.code, len(refused.lines)) == (2, 1)
        assert words in refused.err


def test_differences_between_packs(cli: Cli) -> None:
    Path("old.csv").write_text("label,parent\nred soil,soil\nblue sky,\n", encoding="utf-8")
    Path("new.csv").write_text("label,parent\nred soil,earth\ngreen leaf,\n", encoding="utf-8")
    cli("packs", "build", "old", "--labels-file", "old.csv")
    cli("packs", "build", "new", "--labels-file", "new.csv", "--output", "new.safetensors", "--template", "a {}")
    found = cli("packs", "diff", "old", "new.safetensors")
    assert found.code == 0
    lines = found.text.splitlines()
    assert "- blue sky" in lines and "+ green leaf" in lines and "~ red soil: parent soil -> earth" in lines
    assert any(line.startswith("~ templates: ") for line in lines)
    record = cli("packs", "diff", "old", "new.safetensors", "--json").json
    assert (record["added"], record["removed"], record["moved"]) == (
        ["green leaf"],
        ["blue sky"],
        [["red soil", "soil", "earth"]],
    )
    assert cli("packs", "diff", "old", "old").text == "no difference\n"
    missing = cli("packs", "diff", "old", "nothing")
    assert (missing.code, len(missing.lines)) == (2, 1)


# --- Adapted to a place ---------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, photo: Callable[..., Path]) -> Path:
    """Five photos of a place, of noise and of red, and a broken one."""
    for number in range(4):
        photo(tmp_path / "place" / f"{number}.png", number)
    photo(tmp_path / "place" / "red.png", "red")
    (tmp_path / "place" / "broken.jpg").write_bytes(b"\xff\xd8")
    return tmp_path / "place"


def test_a_pack_is_built_for_a_place_and_says_so(cli: Cli, place: Path, tmp_path: Path) -> None:
    cli("packs", "build", "plain", "--labels", "red leaf, green leaf")
    built = cli("packs", "build", "mine", "--labels", "red leaf, green leaf", "--adapt", place)
    stored = tmp_path / "home" / "packs" / "mine.safetensors"
    assert (built.code, built.text) == (1, f"{stored}: 2 labels, adapted by 5 photos\n")
    assert any("broken.jpg" in line for line in built.lines)
    assert cli("packs", "show", "mine").text.splitlines()[0].endswith("; adapted by 5 photos")
    assert "adapted" not in cli("packs", "show", "plain").text
    assert [cli("packs", "show", name, "--json").json["adapted"] for name in ("plain", "mine")] == [0, 5]
    assert "~ origin: none -> 5 photos, " in cli("packs", "diff", "plain", "mine").text
    answers = [
        cli("classify", place / "red.png", *chosen, "--format", "json").json
        for chosen in (
            ["--pack", "mine"],
            ["--pack", "plain", "--adapt", place],
            ["--labels", "red leaf, green leaf", "--adapt", place],
            ["--pack", "plain"],
        )
    ]
    assert answers[0] == answers[1] == answers[2] != answers[3]


def test_a_pack_is_adapted_and_is_as_it_was(cli: Cli, place: Path, tmp_path: Path) -> None:
    cli("packs", "build", "mine", "--labels", "red leaf, green leaf")
    path = tmp_path / "home" / "packs" / "mine.safetensors"
    plain = path.read_bytes()
    done = cli("packs", "adapt", "mine", place)
    assert (done.code, done.text) == (1, f"{path}: 2 labels, adapted by 5 photos\n")
    assert cli("packs", "adapt", "mine", *sorted(place.glob("[0-3].png"))).text.endswith("adapted by 4 photos\n")
    done = cli("packs", "adapt", "mine", "--undo")
    assert (done.code, done.text) == (0, f"{path}: 2 labels\n") and path.read_bytes() == plain
    assert "adapted by 5 photos" in cli("packs", "adapt", "fruit-colour", place).text  # the bundle's is copied
    assert cli("packs", "show", "fruit-colour", "--json").json["adapted"] == 5
    both = cli("classify", place / "red.png", "--pack", "fruit-colour", "--pack", "mine", "--format", "json")
    assert both.code == 0 and len(both.json[0]["predictions"]) == 5
    assert cli("packs", "remove", "fruit-colour").code == 0
    assert cli("packs", "show", "fruit-colour", "--json").json["adapted"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["adapt", "fruit-colour"], "no photo; accepted: 30 do"),
        (["adapt", "fruit-colour", "x.jpg", "--undo"], "photos and --undo together"),
        (["adapt", "fruit-colour", "--undo"], "pack fruit-colour is not adapted"),
        (["adapt", "none-such", "--undo"], "no pack named 'none-such'"),
        (["adapt", "../up", "--undo"], "pack name '../up'"),
        (["adapt", "fruit-colour", "place/0.png", "place/1.png"], "2 photos of the place could be used"),
        (["build", "few", "--labels", "rust, blight", "--adapt", "place/red.png"], "1 photos of the place"),
        (["adapt", "taught", "place"], "taught by photos with labels"),
    ],
)
def test_what_cannot_be_adapted_stays_as_it_is(
    cli: Cli, place: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (place / "broken.jpg").unlink()
    cli("teach", "red apple", place / "red.png", "--pack", "taught", "--from", "fruit-colour")
    packs = tmp_path / "home" / "packs"
    before = {path.name: path.read_bytes() for path in packs.iterdir()}
    done = cli("packs", *arguments)
    assert done.code == 2 and len(done.lines) == 1 and words in done.lines[0]
    assert {path.name: path.read_bytes() for path in packs.iterdir()} == before
