"""``agriclip-edge teach``: lessons by photos, taken back, passed on; what is wrong is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agriclip_edge.labels.store import PackStore

Cli = Callable[..., Any]


@pytest.fixture
def lemons(tmp_path: Path, photo: Callable[..., Path]) -> list[Path]:
    return [photo(tmp_path / "lemons" / f"{number}.png", number) for number in range(5)]


def test_a_label_is_taught_told_and_answered(cli: Cli, lemons: list[Path]) -> None:
    result = cli("teach", "speckled lemon", *lemons[:3], "--pack", "fruit-colour", "--parent", "lemon")
    assert result.code == 0 and result.lines == []
    assert "4 labels, 1 of them taught" in result.text and "speckled lemon: 3 photos" in result.text
    assert "right before: 0 of 3 photos; now: 3 of 3 photos, each left out in turn" in result.text
    answer = cli("classify", lemons[4], "--pack", "fruit-colour", "--format", "json").json[0]
    assert answer["predictions"][0]["label"] == "speckled lemon" and answer["predictions"][0]["parent"] == "lemon"


def test_bad_photos_are_named_and_the_others_teach(cli: Cli, lemons: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result = cli("teach", "lemon", *lemons[:2], tmp_path / "broken.jpg", "missing.jpg", "--pack", "fruit-colour")
    assert result.code == 1 and len(result.lines) == 2 and "lemon: 2 photos" in result.text
    before = PackStore().path("fruit-colour").read_bytes()
    result = cli("teach", "lemon", tmp_path / "broken.jpg", "--pack", "fruit-colour")
    assert result.code == 1 and "stays as it was" in result.lines[-1]
    assert PackStore().path("fruit-colour").read_bytes() == before


def test_undo_takes_back_one_lesson(cli: Cli, lemons: list[Path]) -> None:
    cli("teach", "lemon", *lemons[:3], "--pack", "fruit-colour")
    before = PackStore().path("fruit-colour").read_bytes()
    cli("teach", "lime", *lemons[3:], "--pack", "fruit-colour")
    assert cli("teach", "--undo", "--pack", "fruit-colour").code == 0
    assert PackStore().path("fruit-colour").read_bytes() == before
    assert "3 labels" in cli("teach", "--undo", "--pack", "fruit-colour").text
    result = cli("teach", "--undo", "--pack", "fruit-colour")
    assert result.code == 2 and "nothing to undo" in result.lines[0]


def test_what_was_taught_is_passed_on_without_a_photo(
    cli: Cli, lemons: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("teach", "lemon", *lemons, "--pack", "mine", "--from", "fruit-colour")
    taught = PackStore().path("mine").read_bytes()
    delta = tmp_path / "delta.lessons"
    assert cli("teach", "--export", delta, "--pack", "mine").code == 0
    assert delta.stat().st_size < 2000
    monkeypatch.setenv("AGRICLIP_EDGE_HOME", str(tmp_path / "other device"))
    assert cli("teach", "--import", delta, "--pack", "mine", "--from", "fruit-colour").code == 0
    assert PackStore().path("mine").read_bytes() == taught


def test_a_pack_may_begin_with_nothing_but_its_first_label(cli: Cli, lemons: list[Path]) -> None:
    assert "a single label is always the answer" in cli("teach", "lemon", *lemons[:3]).text
    result = cli("teach", "lime", *lemons[3:])
    assert result.code == 0 and "2 labels, 2 of them taught" in result.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to teach"),
        (["lemon"], "no photo of 'lemon'"),
        (["--undo", "--export", "x"], "--undo and --export together"),
        (["--undo", "--pack", "none-such"], "no pack named 'none-such'"),
        (["--undo", "--pack", "../up"], "pack name '../up'"),
        (["--import", "missing.lessons", "--pack", "fruit-colour"], "cannot read missing.lessons"),
        (["--export", "x.lessons", "--pack", "fruit-colour"], "nothing to export"),
        (["\x1b[2J", "a.jpg"], "control characters"),
        (["lemon", "a.jpg", "--from", "none-such"], "no pack named 'none-such'"),
    ],
)
def test_wrong_use_is_one_line(
    cli: Cli, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("teach", *arguments)
    assert result.code == 2 and len(result.lines) == 1 and message in result.lines[0]
    assert not (tmp_path / "home").exists() and not (tmp_path / "x.lessons").exists()


def test_a_file_that_is_no_lessons_is_refused(cli: Cli, tmp_path: Path, tiny_bundle: Path) -> None:
    for data in (b"", b"x" * 100, (tiny_bundle / "packs" / "fruit-colour.safetensors").read_bytes()):
        (tmp_path / "x").write_bytes(data)
        result = cli("teach", "--import", tmp_path / "x", "--pack", "fruit-colour")
        assert result.code == 2 and len(result.lines) == 1 and result.lines[0].endswith("]")


def test_a_taught_pack_is_adapted_no_more_until_the_lesson_is_taken_back(
    cli: Cli, lemons: list[Path], photo: Callable[..., Path], tmp_path: Path
) -> None:
    place = [photo(tmp_path / "place" / f"{number}.png", number) for number in range(10, 14)]
    cli("packs", "adapt", "fruit-colour", *place)
    adapted = PackStore().path("fruit-colour").read_bytes()
    result = cli("teach", "lemon", *lemons[:3], "--pack", "fruit-colour")
    assert result.code == 0 and "no longer adapted by photos without labels" in result.text
    assert cli("packs", "show", "fruit-colour", "--json").json["adapted"] == 0
    assert "no longer" not in cli("teach", "lemon", *lemons[3:], "--pack", "mine", "--from", "field-cover").text
    assert cli("teach", "--undo", "--pack", "fruit-colour").code == 0
    assert PackStore().path("fruit-colour").read_bytes() == adapted
