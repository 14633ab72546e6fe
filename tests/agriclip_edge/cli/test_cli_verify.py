"""``agriclip-edge verify --photos``: the gate on the command line, its lines, its JSON and its exit codes."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Callable[[float], Path]:
    """Writes the tiny bundle with a second variant, which divides colours by something else than 127.5."""

    def write(divided_by: float) -> Path:
        folder = tmp_path / "bundle"
        shutil.copytree(tiny_bundle, folder)
        manifest = json.loads((folder / "bundle.json").read_bytes())
        real = manifest["image"][0]
        data = (folder / real["file"]).read_bytes()
        data = data.replace(struct.pack("<f", 127.5), struct.pack("<f", divided_by))
        (folder / "image" / "other.onnx").write_bytes(data)
        manifest["image"].append({**real, "name": "other", "file": "image/other.onnx"})
        entry = {"path": "image/other.onnx", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest["files"].append(entry)
        (folder / "bundle.json").write_text(json.dumps(manifest))
        return folder

    return write


@pytest.fixture
def classes(tmp_path: Path, photo: Callable[..., Path]) -> Path:
    """Photos in folders that are named for what they show."""
    for colour, label in (("red", "red_apple"), ("green", "green_leaf"), ("blue", "blue_water")):
        for number in range(5):
            photo(tmp_path / "trial" / label / f"{number}.png", colour)
    return tmp_path / "trial"


def test_a_sound_variant(cli: Cli, bundle: Callable[[float], Path], classes: Path) -> None:
    done = cli("verify", bundle(127.5), "--photos", classes)
    assert (done.code, done.lines) == (0, [])
    gate = [line.split(None, 1)[1] for line in done.text.splitlines() if line.startswith("gate")]
    assert gate == [
        "15 photos, 3 labels; float32 by fp32, 100.0 % right",
        "other passes; cosine mean 1.0000, p1 1.0000, least 1.0000; same label 100.0 %; 100.0 % right",
    ]


def test_a_broken_variant(cli: Cli, bundle: Callable[[float], Path], classes: Path) -> None:
    folder = bundle(1e6)
    done = cli("verify", folder, "--photos", classes)
    assert done.code == 2
    [line] = done.lines
    assert line.startswith("agriclip-edge: other must not be used on this device: mean_cosine is ")
    assert "; p1_cosine is " in line
    assert "; accuracy drops by 66.7 points; accepted: at most 1.0" in line
    assert "gate      other fails; cosine mean " in done.text
    again = cli("verify", folder, "--photos", classes, "--json")
    assert (again.code, again.lines) == (2, [line])
    gate = again.json["gate"]
    assert (gate["passed"], gate["photos"], gate["unreadable"], gate["reference"]) == (False, 15, 0, "fp32")
    assert gate["verdicts"][0]["refused"][0] in line
    assert again.json["checks"][0].startswith("manifest  agriclip-tiny")


def test_photos_that_lie_in_no_folder_say_nothing_of_accuracy(
    cli: Cli, bundle: Callable[[float], Path], field: Path
) -> None:
    gate = cli("verify", bundle(127.5), "--photos", field, "--json").json["gate"]
    assert (gate["photos"], gate["labels"], gate["accuracy"]) == (3, 8, None)
    assert gate["verdicts"][0]["agreement"] == 1.0
    assert gate["verdicts"][0]["accuracy"] is None


def test_a_photo_that_cannot_be_read_is_named(cli: Cli, bundle: Callable[[float], Path], classes: Path) -> None:
    (classes / "red_apple" / "torn.png").write_bytes(b"no photo")
    done = cli("verify", bundle(127.5), "--photos", classes, "--json")
    assert done.code == 1
    [line] = done.lines
    assert "torn.png: " in line
    assert (done.json["gate"]["photos"], done.json["gate"]["unreadable"]) == (15, 1)
    assert done.json["gate"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda path: None, "no such folder"), (lambda path: path.mkdir(), "no photo could be used")],
    ids=["missing", "empty"],
)
def test_without_photos(make: Callable[[Path], None], words: str, cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "trial")
    done = cli("verify", "--photos", tmp_path / "trial")
    assert done.code == 2
    assert words in done.lines[-1]
