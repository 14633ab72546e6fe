"""``agriclip-edge drift``: the answer in words and JSON, bad photos named, a bundle without statistics one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agriclip_edge
from agriclip_edge.drift import SIZES, Reference

Cli = Callable[..., Any]


@pytest.fixture
def with_statistics(tiny_bundle: Path, tmp_path: Path, photo: Callable[..., Path]) -> Path:
    """The tiny bundle with statistics of noise photos."""
    known = [photo(tmp_path / "known" / f"{seed}.png", seed) for seed in range(40)]
    vectors = agriclip_edge.load(tiny_bundle).embed(known)
    centre = vectors.mean(axis=0, keepdims=True)
    draft = Reference(
        centres=centre,
        typical=np.ones(1, np.float32),
        basis=np.eye(16, dtype=np.float32)[:1] / 0.01,
        rest=np.array([0.01], np.float32),
        gap=np.zeros(16, np.float32),
        chance=np.full((len(SIZES), 2), 1.3, np.float32),
        singles=np.linspace(0, 2, 101, dtype=np.float32),
    )
    fields = {**vars(draft), "typical": np.array([draft.ratios(vectors).mean()], np.float32)}
    data = Reference(**fields).to_bytes()
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "reference.safetensors").write_bytes(data)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["reference"] = "reference.safetensors"
    manifest["files"].append(
        {"path": "reference.safetensors", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    )
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    return bundle


def test_photos_like_the_known_ones_and_others(
    cli: Cli, with_statistics: Path, tmp_path: Path, photo: Callable[..., Path]
) -> None:
    for seed in range(100, 108):
        photo(tmp_path / "new" / f"{seed}.png", seed)
        photo(tmp_path / "red" / f"{seed}.png", "red")
    (tmp_path / "red" / "broken.jpg").write_bytes(b"\xff\xd8")
    known = cli("drift", tmp_path / "new", "--bundle", with_statistics)
    assert known.code == 0 and "are like those that the model knows" in known.text
    left = cli("drift", tmp_path / "red", "--bundle", with_statistics, "--json", "--list", "2")
    assert left.code == 1 and "broken.jpg" in left.lines[0]
    assert left.json["state"] == "left" and left.json["photos"] == 8 and len(left.json["unusual"]) == 2
    assert "have left what the model knows" in left.json["says"]
    out = tmp_path / "drift.txt"
    assert cli("drift", tmp_path / "red", "--bundle", with_statistics, "--output", out).out == b""
    assert "farther than 100 % of known photos" in out.read_text()


def test_without_statistics_or_photos_it_is_one_line(cli: Cli, tmp_path: Path, with_statistics: Path) -> None:
    result = cli("drift", tmp_path)
    assert result.code == 2 and len(result.lines) == 1 and "has no reference statistics" in result.lines[0]
    (tmp_path / "empty").mkdir()
    result = cli("drift", tmp_path / "empty", "--bundle", with_statistics)
    assert result.code == 2 and "no photo could be used" in result.lines[-1]
