from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agriclip_edge import load
from export.tiny import COLOURS, SIZE, write_tiny


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_committed_bundle_is_what_the_code_writes(tiny_bundle: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    fresh, committed = contents(tmp_path / "tiny"), contents(tiny_bundle)
    assert fresh.keys() == committed.keys()
    assert [name for name in fresh if fresh[name] != committed[name]] == []
    assert sum(map(len, committed.values())) < 60_000


@pytest.mark.parametrize(
    ("colour", "label"),
    [("red", "red apple"), ("blue", "blue water"), ("brown", "brown soil"), ("white", "white flower")],
)
def test_it_tells_colours_apart(tiny_bundle: Path, colour: str, label: str) -> None:
    plain = ((np.array(COLOURS[colour]) + 1) * 127.5).astype(np.uint8)
    answer = load(tiny_bundle).classify(np.tile(plain, (2 * SIZE, 3 * SIZE, 1)))
    assert answer.best is not None and answer.best.label == label and answer.best.confidence > 0.5


def test_it_reads_words_that_are_in_no_pack(tiny_bundle: Path) -> None:
    classifier = load(tiny_bundle, labels=["black sheep", "yellow bee", "green grass"])
    best = classifier.classify(np.full((40, 40, 3), (240, 230, 10), np.uint8)).best
    assert best is not None and best.label == "yellow bee"


def test_it_sees_edges_as_well_as_colour(tiny_bundle: Path) -> None:
    plain = np.full((SIZE, SIZE, 3), 128, np.uint8)
    striped = plain.copy()
    striped[::2], striped[1::2] = 56, 200
    vectors = load(tiny_bundle).embed([plain, striped])
    assert vectors[0] @ vectors[1] < 0.9999
