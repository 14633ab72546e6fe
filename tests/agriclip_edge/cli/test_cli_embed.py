"""`embed` writes unit vectors and the paths that they belong to, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import agriclip_edge

Cli = Callable[..., Any]


def read(path: str) -> tuple[np.ndarray, list[str], str]:
    """Vectors, keys and the bundle's hash out of either form."""
    if path.endswith(".npy"):
        described = json.loads(Path(path).with_suffix(".keys.json").read_text())
        return np.load(path, allow_pickle=False), described["keys"], described["bundle"]
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        return file.get_tensor("embeddings"), json.loads(metadata["keys"]), metadata["bundle"]


@pytest.mark.parametrize("name", ["photos.safetensors", "photos.npy"])
def test_vectors_and_keys(name: str, cli: Cli, field: Path, tiny_bundle: Path) -> None:
    done = cli("embed", "field", "missing.jpg", "field/b.png", "--output", name)
    assert (done.code, done.out) == (1, b"")
    assert done.lines == ["agriclip-edge: missing.jpg: no such file"]
    vectors, keys, bundle = read(name)
    assert keys == ["field/a.PNG", "field/b.png", "field/row 2/c.png", "field/b.png"]
    classifier = agriclip_edge.load(tiny_bundle)
    assert bundle == classifier.bundle.sha256
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, classifier.embed(keys), atol=1e-5)
    assert {file for file in os.listdir() if file.startswith((".", "photos"))} == (
        {name} if name.endswith("safetensors") else {name, "photos.keys.json"}
    )


def test_log(cli: Cli, field: Path) -> None:
    assert cli("embed", "field", "missing.jpg", "--output", "a.npy", "--log", "run.json").code == 1
    log = json.loads(Path("run.json").read_text())
    assert log["photos"] == {"given": 4, "answered": 3, "failed": 1}
    assert log["exit_code"] == 1
    assert log["bundle"]["name"] == "agriclip-tiny"


def test_no_photo_that_could_be_used(cli: Cli, field: Path) -> None:
    done = cli("embed", "missing.jpg", "--output", "a.npy")
    assert done.code == 1
    assert done.lines[-1] == "agriclip-edge: no photo could be used; a.npy was not written"
    assert not Path("a.npy").exists()


@pytest.mark.parametrize("output", ["a.npz", "a", "a.csv", "none/a.npy", "field"])
def test_output_that_cannot_be_written(output: str, cli: Cli, field: Path) -> None:
    done = cli("embed", "field", "--output", output)
    assert (done.code, len(done.lines)) == (2, 1)
    assert output.split("/")[0] in done.lines[0]


def test_output_is_needed(cli: Cli, field: Path) -> None:
    done = cli("embed", "field")
    assert (done.code, len(done.lines)) == (2, 1)
    assert "'--output'" in done.lines[0]


def test_a_name_that_is_not_utf8(spawn: Cli, cli: Cli, field: Path) -> None:
    name = b"row \xff.png"
    with open(name, "wb") as file:
        file.write(Path("field/b.png").read_bytes())
    for run, output in ((spawn, "a.npy"), (cli, "a.safetensors")):
        done = run("embed", os.fsdecode(name), "--output", output)
        assert (done.code, done.lines) == (0, [])
        assert len(read(output)[1]) == 1
