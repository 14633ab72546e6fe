"""Corruptions, drift and label packs through a small real bundle on small real tars of photos."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_benchmark_accuracy import FRUIT, WATER, write_task

from agriclip_edge import Bundle
from agriclip_edge.bundle.manifest import FactsEntry
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.labels.facts import Facts, encode_classes, encode_symptoms
from benchmarks import corruptions, drift, label_packs
from benchmarks.corruptions import CorruptionsConfig
from benchmarks.drift import DriftConfig
from benchmarks.record import BenchmarkError
from export.reference import make_reference
from export.writer import write_bundle
from training.distil.corruptions import KINDS


def quiet(*_: object) -> None:
    """No status line."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("alive-mini", "alive-plus"):
        root = tmp_path / name
        root.mkdir()
        tasks = [write_task(root, "fruit-colour", FRUIT), write_task(root, "water", WATER)]
        (root / "tasks.json").write_text(json.dumps({"name": name, "tasks": tasks}))
    return tmp_path


@pytest.fixture
def whole(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with statistics of two labels, and facts on one."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(0, 0.1, (40, 16)) + np.repeat(np.eye(16)[:2], 20, axis=0)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    label = np.repeat([0, 1], 20)
    reference = make_reference(vectors, label, label * 0, vectors, label * 0, np.eye(16, dtype=np.float32)[:2])
    opened = Bundle.open(tiny_bundle)
    files = {entry.path: opened.read(entry.path) for entry in opened.manifest.files}
    facts = [Facts(word, "thing", "fruit", ("a skin",), ("made",)) for word in ("red apple", "medlar")]
    manifest = msgspec.structs.replace(
        opened.manifest, reference="reference.safetensors", facts=FactsEntry("facts.json.gz", "symptoms.int8")
    )
    files |= {"facts.json.gz": encode_classes(facts), "symptoms.int8": encode_symptoms(np.eye(16)[:2])}
    write_bundle(tmp_path / "bundle", manifest, {**files, "reference.safetensors": reference.to_bytes()})
    assert list(verify_bundle(tmp_path / "bundle"))
    return tmp_path / "bundle"


def test_corruptions_are_told_by_kind_and_over_clean(data: Path, tiny_bundle: Path) -> None:
    measured = corruptions.measure(data, tiny_bundle, quiet, CorruptionsConfig(strengths=(0.5, 1.0)))
    rows = measured.details[0].rows
    assert [row[0] for row in rows] == ["none", *KINDS]
    assert measured.samples["clean"] == (rows[0][-1],)
    means = [float(row[-1]) for row in rows[1:]]
    assert measured.samples["over_clean"][0] == pytest.approx(np.mean(means) / float(rows[0][-1]))
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[1:])
    few = corruptions.measure(data, tiny_bundle, quiet, CorruptionsConfig.tiny())
    assert len(few.details[0].rows[0]) == 3


def test_drift_is_asked_for_in_samples_of_each_task(data: Path, whole: Path, tiny_bundle: Path) -> None:
    config = DriftConfig(others=(("alive-plus", "val"),), sample=4, spoilt=1)
    measured = drift.measure(data, whole, quiet, config)
    rows = measured.details[0].rows
    assert [row[0] for row in rows] == ["alive-mini, val", "alive-plus, val", *KINDS]
    assert all(sum(float(cell) for cell in row[4:]) == pytest.approx(1) for row in rows)
    assert len(measured.samples["spoilt_left"]) == len(KINDS) and len(measured.samples["known_as_known"]) == 1
    assert rows[0][1] == 10
    with pytest.raises(BenchmarkError, match="no reference statistics"):
        drift.measure(data, tiny_bundle, quiet, config)


def test_label_packs_tell_each_way_of_embedding(data: Path, whole: Path, tiny_bundle: Path) -> None:
    measured = label_packs.measure(data, whole, quiet, ("alive-mini",))
    table = measured.details[0]
    assert [row[:2] for row in table.rows[:2]] == [("names", "left"), ("names", "taken off")]
    assert len(table.rows) == 6 and "1 of 5 labels with facts" in table.title
    assert measured.samples["alive-mini_names_pct"] == (100 * float(table.rows[0][2]),)
    with pytest.raises(BenchmarkError, match="no facts library"):
        label_packs.measure(data, tiny_bundle, quiet)
