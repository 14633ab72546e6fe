"""How far answers can be trusted, through a small real bundle on small real tars of photos."""

import json
from pathlib import Path

import pytest
from test_benchmark_accuracy import FRUIT, WATER, write_task

from benchmarks.answers import RELIABILITY, RISK, AnswersConfig, measure
from benchmarks.answers_picture import render_coverage_risk, render_reliability

CONFIG = AnswersConfig(typed=(("alive-plus", "val"), ("downstream", "val")), every=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("alive-mini", "alive-plus", "downstream"):
        root = tmp_path / name
        root.mkdir()
        tasks = [write_task(root, "fruit-colour", FRUIT), write_task(root, "water", WATER)]
        (root / "tasks.json").write_text(json.dumps({"name": name, "tasks": tasks}))
    return tmp_path


def test_every_figure_is_there_and_possible(data: Path, tiny_bundle: Path) -> None:
    measured = measure(data, tiny_bundle, lambda *_: None, CONFIG)
    tables = {detail.title: detail for detail in measured.details}
    packs = measured.details[0]
    assert [row[:2] for row in packs.rows] == [("fruit-colour", 7), ("water", 3), ("mean over packs", 10)]
    for row in packs.rows:
        assert all(0 <= value <= 1 for value in row[2:])
    assert packs.rows[0][5] == pytest.approx(6 / 7)  # the yellow banana that is red
    assert measured.samples["auroc_int8"][0] == packs.rows[-1][4]
    assert 0 <= measured.samples["unbiased_calibration_error_int8"][0] <= 1
    assert sum(row[2] for row in tables[RELIABILITY].rows) == 10
    assert tables[RISK].rows[-1] == (1.0, pytest.approx(1 - packs.rows[0][5] * 0.7 - packs.rows[1][5] * 0.3))
    for kind in ("typed", "unseen"):
        assert measured.samples[f"lost_{kind}"] == (0,)  # the tiny bundle has no least cosine
        assert 0 <= measured.samples[f"auroc_{kind}"][0] <= 1
    spoilt = {row[0]: row[2:] for row in measured.details[-1].rows}
    assert spoilt["an eighth of the light"][0] > spoilt["as they are"][0]


def test_the_same_photos_give_the_same_measurement(data: Path, tiny_bundle: Path) -> None:
    assert measure(data, tiny_bundle, lambda *_: None, CONFIG) == measure(data, tiny_bundle, lambda *_: None, CONFIG)


def test_without_a_record_the_pictures_are_empty(tmp_path: Path) -> None:
    assert "<circle" not in render_reliability(tmp_path) + render_coverage_risk(tmp_path)
