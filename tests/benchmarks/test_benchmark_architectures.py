"""Architectures beside each other: runs with their own accuracy, others by latency alone, and one picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import torch

from agriclip_edge.errors import UsageError
from benchmarks import architectures, distil_ablation, pareto
from benchmarks.architectures import PICTURE, ArchitecturesConfig
from benchmarks.record import BenchmarkError, Measurement, Record
from training.checkpoint import write_checkpoint
from training.distil.ablation import BASE, DistilAblation, Row
from training.encoder import MODEL
from training.evaluate import Table, TaskResult
from training.image_tower import ImageTower
from training.results import Results, model_sha256

CONFIG = ArchitecturesConfig.tiny()


def write_run(folder: Path, accuracy: float | None) -> Path:
    torch.manual_seed(0)
    config = {"architecture": "test_efficientnet", "input_size": 32, "templates": ["{}"]}
    tensors = ImageTower(16, "test_efficientnet").state_dict()
    write_checkpoint(folder / MODEL, tensors, {"config": config, "photos": "", "collection": "alive-mini"})
    if accuracy is not None:
        table = Table((TaskResult("fruit", 3, 30, accuracy),))
        results = Results(model_sha256(folder), "alive-mini", "val", (), table, table, None)
        (folder / "results-alive-mini-val.json").write_bytes(msgspec.json.encode(results))
    return folder


def quiet(done: float, total: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    run = write_run(tmp_path_factory.mktemp("runs") / "student", 0.875)
    return architectures.measure([run], None, quiet, CONFIG, ["test_efficientnet", "test_convnext"])


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def test_a_run_has_its_accuracy_and_an_architecture_without_one_its_latency(measured: Measurement) -> None:
    table = measured.details[0]
    rows = [dict(zip([heading for heading, _ in table.columns], row)) for row in table.rows]
    # The run stands for its architecture: it is not measured a second time with random weights.
    assert [(row["encoder"], row["precision"]) for row in rows] == [
        ("student (test_efficientnet)", "fp32"),
        ("student (test_efficientnet)", "int8"),
        ("test_convnext", "fp32"),
        ("test_convnext", "int8"),
    ]
    assert [row["accuracy"] for row in rows] == [0.875, "–", "–", "–"]
    assert [row["weights"] for row in rows] == ["student", "student", "random", "random"]
    assert rows[0]["times as fast as the first in float32"] == 1 and rows[0]["million MACs"] > 0
    assert rows[1]["MB"] < rows[0]["MB"]
    assert all(len(values) == CONFIG.rounds and min(values) > 0 for values in measured.samples.values())
    assert len(measured.samples) == 4


def test_the_picture_shows_both(measured: Measurement, complete_measurement: Callable[..., Record]) -> None:
    shown = words(pareto.draw(complete_measurement(measured, what="architectures"), PICTURE))
    assert any(text.startswith("student (test_efficientnet): ") and text.endswith(", 87.5%") for text in shown)
    assert "test_convnext" in shown and PICTURE.title in shown


def test_labels_of_many_judged_encoders_stay_within_the_picture(
    measured: Measurement, complete_measurement: Callable[..., Record]
) -> None:
    table = measured.details[0]
    headings = [heading for heading, _ in table.columns]
    many = []
    for number in range(14):
        row = dict(zip(headings, table.rows[0])) | {"accuracy": 0.3 + number / 20, "p50 ms": 1.0 + number}
        many.append(tuple(row[heading] for heading in headings))
    record = complete_measurement(replace(measured, details=(replace(table, rows=tuple(many)),)), what="architectures")
    picture = ElementTree.fromstring(pareto.draw(record, PICTURE))
    texts = [element for element in picture.iter() if element.tag.endswith("text")]
    labels = [element for element in texts if (element.text or "").startswith("student (")]
    assert len(labels) == 14
    tops = sorted(float(label.attrib["y"]) for label in labels)
    assert min(below - above for above, below in itertools.pairwise(tops)) > 12  # pixels: no label on another
    assert tops[0] > 50 and tops[-1] < float(picture.attrib["height"]) - 50
    longest = max(len(label.text or "") for label in labels)
    assert max(float(label.attrib["x"]) for label in labels) + 6.5 * longest < float(picture.attrib["width"])


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="was not judged on alive-mini"):
        architectures.measure([write_run(tmp_path / "a", None)], None, quiet, CONFIG)
    with pytest.raises(UsageError, match="timm knows no architecture"):
        architectures.measure([], None, quiet, CONFIG, ["efficientnet_of_tomorrow"])
    with pytest.raises(BenchmarkError, match="nothing to measure"):
        architectures.measure([], None, quiet, CONFIG)


def test_an_ablation_becomes_a_table(tmp_path: Path) -> None:
    rows = tuple(Row(words, 0, {"val": share}) for words, share in (("all", 0.9), (BASE, 0.7), ("feature alone", 0.85)))
    record = DistilAblation("a", ("t",), ("c",), 10, (32,), (0,), {"task": 1.0, "feature": 1.0}, "0" * 64, rows)
    (tmp_path / "a.json").write_bytes(msgspec.json.encode(record))
    found = distil_ablation.measure(tmp_path / "a.json")
    table = found.details[0]
    assert found.samples["all-val_pct"] == pytest.approx((90.0,))
    assert table.rows[2][0] == "feature alone"
    assert table.rows[2][3:] == pytest.approx((15.0, -5.0))
