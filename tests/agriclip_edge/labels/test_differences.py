"""What changed between two packs is told, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge import Bundle, Label, LabelPack
from agriclip_edge.labels.differences import Turned, compare
from agriclip_edge.labels.pack import Origin


@pytest.fixture
def old(tiny_bundle: Path) -> LabelPack:
    return Bundle.open(tiny_bundle).pack("field-cover")


def with_labels(pack: LabelPack, *labels: Label, rows: list[int]) -> LabelPack:
    return replace(pack, labels=labels, embeddings=pack.embeddings[rows].copy())


def test_nothing(old: LabelPack) -> None:
    found = compare(old, LabelPack.from_bytes(old.to_bytes()))
    assert not found and found.lines() == []
    assert not compare(old, replace(old, name="another", embeddings=old.embeddings.copy()))


def test_everything(old: LabelPack) -> None:
    leaf, soil, water, straw, _ = old.labels
    new = with_labels(
        old,
        Label(leaf.text, "tree"),
        Label("Brown soil", soil.parent, ("earth",), {"es": "suelo"}),
        Label("blue lake", water.parent, facts="lake"),
        straw,
        Label("red apple"),
        rows=[0, 1, 2, 4, 0],
    )
    new = replace(new, templates=("{} in a field",), temperature=0.2, embeddings=np.array(new.embeddings))
    new.embeddings.flags.writeable = True
    new.embeddings[4] = np.eye(16, dtype=np.float32)[9]
    found = compare(old, new)
    assert found.added == ("red apple",)
    assert found.removed == ("white flower",)
    assert found.reworded == (("brown soil", "Brown soil"), ("blue water", "blue lake"))
    assert found.synonyms == ("brown soil",)
    assert found.moved == (("green leaf", "plant", "tree"),)
    assert found.facts == (("blue water", "", "lake"),)
    cosine = float(old.embeddings[3] @ old.embeddings[4])
    assert found.turned == (Turned("yellow straw", pytest.approx(cosine, abs=1e-4)),)
    assert found.header == {"templates": (("{}", "a photo of {}"), ("{} in a field",)), "temperature": (None, 0.2)}
    lines = found.lines()
    assert "+ red apple" in lines and "- white flower" in lines
    assert "~ temperature: none -> 0.2" in lines
    assert "~ green leaf: parent plant -> tree" in lines
    assert f"~ yellow straw: embedding turned, cosine {cosine:.4f}" in lines
    assert found.to_record()["turned"] == ({"label": "yellow straw", "cosine": found.turned[0].cosine},)


def test_packs_of_two_encoders_are_compared_by_words(old: LabelPack) -> None:
    other = replace(old, text_encoder="0" * 64, embeddings=-old.embeddings)
    found = compare(old, other)
    assert found and found.turned == () and not found.comparable
    assert any("embeddings were not compared" in line for line in found.lines())
    assert any(line.startswith("~ text_encoder: ") and len(line) < 60 for line in found.lines())


def test_what_it_is_adapted_to_is_told(old: LabelPack) -> None:
    rows = np.eye(16, dtype=np.float32)
    new, other = (replace(old, origin=Origin(0.5 * rows[row], 30, "c" * 64)) for row in range(2))
    assert new.offsets.shape == (5,)  # what was worked out is no difference
    assert not compare(new, replace(old, origin=new.origin))
    (line,) = compare(old, new).lines()
    assert line.startswith("~ origin: none -> 30 photos, ")
    (line,) = compare(new, other).lines()
    assert line.count("30 photos, ") == 2
    assert json.loads(json.dumps(compare(old, new).to_record()))["header"]["origin"][0] is None
