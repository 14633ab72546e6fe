"""The main job with the installed wheel and the shipped bundle: a photo in, its name out, as README says."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COW = "examples/photos/cow.jpg"


def blocks(language: str) -> list[str]:
    """README's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


MEANT = re.compile(r"agriclip-edge: [^:]+: (no facts, its words alone|its words alone; it fits .+|[^:]+ \([A-Z].+\))")


def readme_commands(program: str) -> list[list[str]]:
    """README's command lines of one program, without their comments."""
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def succeeded(done: subprocess.CompletedProcess[str], typed: int = 0) -> str:
    """What a run printed, when it ended well; on stderr is one line for each typed label: what it was taken to mean."""
    assert done.returncode == 0, done.stderr
    assert [bool(MEANT.fullmatch(line)) for line in done.stderr.splitlines()] == [True] * typed, done.stderr
    return done.stdout


def test_it_is_the_installed_wheel(run: Run, tmp_path: Path) -> None:
    where = succeeded(run("python", "-c", "import agriclip_edge; print(agriclip_edge.__file__)", cwd=tmp_path))
    assert ".venv-runtime" in Path(where.strip()).parts


def test_a_cow_is_a_cow(run: Run) -> None:
    """Among all labels of all shipped packs."""
    records = json.loads(succeeded(run("agriclip-edge", "classify", COW, "--format", "json")))
    assert [record["path"] for record in records] == [COW]
    assert records[0]["error"] is None
    predictions = records[0]["predictions"]
    assert predictions[0]["label"] == "cow"
    assert [one["confidence"] for one in predictions] == sorted(
        (one["confidence"] for one in predictions), reverse=True
    )
    assert 0.5 < predictions[0]["confidence"] <= 1


def test_a_cow_is_a_cow_in_words_of_ones_own(run: Run) -> None:
    labels = "a cow, a horse, a mango leaf with rust, an empty pasture"
    records = json.loads(
        succeeded(run("agriclip-edge", "classify", COW, "--labels", labels, "--format", "json"), typed=4)
    )
    assert records[0]["predictions"][0]["label"] == "a cow"


def test_the_table_shows_the_answer(run: Run) -> None:
    lines = succeeded(run("agriclip-edge", "classify", COW)).splitlines()
    assert lines[0] == COW
    assert re.fullmatch(r" +\d+\.\d %  [█▏ ]+  cow  \(.+\)|.*  cow", lines[1])
    assert len(lines) == 6


def test_verify_finds_the_shipped_bundle_whole(run: Run) -> None:
    parts = [line.split()[0] for line in succeeded(run("agriclip-edge", "verify")).splitlines()]
    assert parts == ["manifest", "files", "image", "image", "image", "image", "text", "facts", "reference", "packs"]


def test_make_classify_prints_the_answer(run: Run) -> None:
    """README's first command on a photo of the user's; the wheel that is set up is taken as it is."""
    photo = "tests/data/photos/horses.jpg"
    done = run("make", "--no-print-directory", "--old-file", ".venv-runtime/.ready", "classify", f"PHOTO={photo}")
    answer = succeeded(done)
    assert answer.startswith(f"{photo}\n")
    assert answer == succeeded(run("agriclip-edge", "classify", photo))


def test_the_readmes_python_runs(run: Run, tmp_path: Path) -> None:
    (snippet,) = blocks("python")
    (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
    lines = succeeded(run("python", tmp_path / "snippet.py")).splitlines()
    assert lines[0].startswith("cow ")
    assert lines[1] == f"{COW} a cow"


def test_the_readmes_make_targets_exist(run: Run) -> None:
    listed = {line.split()[0] for line in succeeded(run("make", "--no-print-directory", "help")).splitlines()}
    named = {words[1] for words in readme_commands("make")} | set(re.findall(r"`make ([a-z]+)", README))
    assert {"classify", "test"} <= named <= listed


@pytest.mark.parametrize("words", readme_commands("agriclip-edge"), ids=" ".join)
def test_the_readmes_commands_are_as_it_says(words: list[str], run: Run, tmp_path: Path) -> None:
    """Each runs to its end in a folder that holds the files it names."""
    (tmp_path / "photos").mkdir()
    photo = (ROOT / "tests" / "data" / "photos" / "perch.jpg").read_bytes()
    several = (f"{name}{number}.jpg" for name in ("photos/", "pod") for number in range(5))
    for name in ("leaf.jpg", *several):
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "beans.csv").write_text("label,parent,synonyms\nbean rust,bean leaf,\nhealthy bean leaf,bean leaf,\n")
    typed = 2 if {"--labels", "--labels-file"} & set(words) else 0
    assert succeeded(run(*words, cwd=tmp_path), typed) != "" or "--output" in words


def test_the_robot_stops_for_cows(run: Run) -> None:
    lines = succeeded(run("python", "examples/robot.py")).splitlines()
    assert len(lines) == 8
    assert all(re.fullmatch(r"frame \d: .+ [01]\.\d\d in \d+ ms -> (stop|slow)", line) for line in lines)
    assert sum("a cow" in line and line.endswith("stop") for line in lines) >= 4


def test_the_drone_writes_a_row_a_photo(run: Run) -> None:
    rows = list(csv.reader(io.StringIO(succeeded(run("python", "examples/drone.py", "tests/data/photos")))))
    assert rows[0] == ["photo", "label", "confidence", "error"]
    assert len(rows) == 1 + len(list((ROOT / "tests" / "data" / "photos").glob("*.jpg")))
    for _, label, confidence, error in rows[1:]:
        assert (label != "", error) == (True, "")
        assert 0 < float(confidence) <= 1
