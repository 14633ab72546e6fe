"""``agriclip-edge bench``: one table of this device, as people and programs read it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUICK = ("bench", "--threads", "1", "--batch", "1,2", "--seconds", "0.1")


def test_the_table_has_a_line_for_each_cell(cli: Callable[..., Any]) -> None:
    result = cli(*QUICK)
    assert result.code == 0
    assert result.lines == []
    machine, energy, empty, head, *rows = result.text.splitlines()
    assert machine.startswith("agriclip-tiny 1 on cpu ")
    assert energy.startswith("energy: ")
    assert empty == ""
    assert head.split()[:4] == ["variant", "threads", "batch", "process,ms"]
    assert [row.split()[:3] for row in rows] == [["fp32", "1", "1"], ["fp32", "1", "2"]]


def test_json_has_all_figures(cli: Callable[..., Any], tmp_path: Path) -> None:
    output = tmp_path / "board.json"
    result = cli(*QUICK, "--output", output)
    assert (result.code, result.out) == (0, b"")
    found = json.loads(output.read_bytes())
    assert [row["batch"] for row in found["rows"]] == [1, 2]
    assert found["rows"][0]["p99_ms"] >= found["rows"][0]["p50_ms"] > 0
    assert found["machine"]["cores"].isdigit()
    assert cli(*QUICK, "--format", "json").json["bundle"] == "agriclip-tiny 1"


def test_a_board_is_held_against_its_own_table(cli: Callable[..., Any], tmp_path: Path) -> None:
    reference = tmp_path / "board.csv"
    assert cli(*QUICK, "--output", reference).code == 0
    rows = list(csv.DictReader(reference.open()))
    rows[0]["peak_mb"] = "1e6"  # no machine's noise can hide it
    with reference.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    result = cli(*QUICK, "--check", reference)
    assert result.code == 1
    assert any(line.startswith("agriclip-edge: fp32, 1 threads, batch 1: peak_mb was 1e+06") for line in result.lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threads", "0"], "--threads 0; accepted: numbers from 1 to 1024"),
        (["--threads", "two"], "--threads two; accepted"),
        (["--batch", "1,,2"], "--batch 1,,2; accepted"),
        (["--batch", "99999999999999999999"], "accepted: numbers from 1 to 1024"),
        (["--seconds", "0"], "--seconds"),
        (["--format", "xml"], "'xml' is not one of"),
        (["--check", "nowhere.csv"], "--check nowhere.csv: no such file"),
        (["--output", "nowhere/board.csv"], "nowhere/board.csv: no such folder"),
        (["--bundle", "nowhere"], "not-found"),
    ],
)
def test_wrong_use_is_one_line(cli: Callable[..., Any], arguments: list[str], words: str) -> None:
    result = cli("bench", *arguments)
    assert result.code == 2
    assert result.out == b""
    [line] = result.lines
    assert words in line
