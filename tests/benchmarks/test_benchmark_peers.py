"""The comparison in small: one tiny tower in every runtime beside the tiny bundle; and its picture."""

import json
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import pytest

from benchmarks import pareto, peers
from benchmarks.peers import PeersConfig, Side
from benchmarks.record import write_record
from benchmarks.targets import TARGETS
from benchmarks.towers import FLOAT, TORCH, Tower, graph_path, timm_tower

TINY = Tower("tiny ViT", 160, partial(timm_tower, "test_vit"), transformer=True)
CONFIG = PeersConfig(
    towers=(TINY,),
    rounds=2,
    seconds=0.01,
    grid_threads=(1,),
    grid_batches=(1, 2),
    peak_side=64,
    profiled=2,
    photos=2,
    photo_size=(320, 240),
)


def nothing(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path):
    return peers.measure(tiny_bundle, nothing, CONFIG, tmp_path_factory.mktemp("cache"))


def test_every_runtime_runs_the_tower_and_the_bundles_variants(measured) -> None:
    table = next(detail for detail in measured.details if detail.title == peers.TABLE)
    sides = {row[:3] for row in table.rows}
    assert {("**agriclip-edge fp32**", "onnxruntime", "fp32"), ("tiny ViT", "torch", "fp32")} <= sides
    assert {
        ("tiny ViT", runtime, precision) for runtime in ("onnxruntime", "openvino") for precision in ("fp32", "int8")
    } <= sides
    for row in table.rows:
        assert len(row) == len(peers.COLUMNS)
        p50, p95, p99 = row[3:6]
        assert 0 < p50 <= p95 <= p99


def test_ratios_are_those_of_a_rounds_medians(measured) -> None:
    samples = measured.samples
    assert len(samples["eager_ms"]) == CONFIG.rounds
    for ratio, eager, ours in zip(samples["best_times_eager"], samples["eager_ms"], samples["fp32_ms"]):
        assert ratio == pytest.approx(eager / ours)
    for whole, its, best in zip(
        samples["best_times_eager"], samples["eager_times_its_best"], samples["best_times_its_best"]
    ):
        assert whole == pytest.approx(its * best)
    assert "onnxruntime_int8_times_eager" not in samples  # the tiny bundle has no INT8: nothing stands in for it


def test_share_of_the_peak_comes_from_the_same_round(measured) -> None:
    assert all(limit > 0 for limit in measured.samples["int8_peak_gops"])
    assert "share_of_int8_peak" not in measured.samples  # as above
    own = [Side("ours", "onnxruntime", precision, print) for precision in ("fp32", "int8")]
    rounds = {own[0].name: [1.0, 1.0], own[1].name: [4.0, 8.0]}
    shares = peers._share_of_peak(own, rounds, macs=400_000_000, peaks=[1000.0, 500.0])
    assert shares == {"share_of_int8_peak": (0.2, 0.2)}  # 0.8e9 operations in 4 ms of 1e12 a second


def test_a_running_classifier_is_measured_in_its_own_process(measured) -> None:
    samples = measured.samples
    assert 20 < samples["classifier_loaded_mb"][0] <= samples["classifier_peak_mb"][0] * 1.01 < 300


def test_the_grid_has_every_cell_and_the_profile_all_of_the_time(measured) -> None:
    grid, layers = measured.details[1:3]
    assert [row[:3] for row in grid.rows] == [("fp32", 1, 1), ("fp32", 1, 2)]
    assert sum(row[3] for row in layers.rows) == pytest.approx(1)


def test_a_graph_is_made_once(tmp_path: Path) -> None:
    path = graph_path(TINY, FLOAT, tmp_path)
    made = path.stat().st_mtime_ns
    assert graph_path(TINY, FLOAT, tmp_path) == path
    assert path.stat().st_mtime_ns == made
    assert {file.name for file in path.parent.iterdir()} == {FLOAT, TORCH}


def test_every_target_of_the_peers_is_a_quantity_of_its_record() -> None:
    own = [Side("agriclip-edge", runtime, "int8", print, variant=object()) for runtime in ("onnxruntime", "openvino")]
    theirs = [Side("tiny ViT", "torch", "fp32", print)]
    rounds = {side.name: [1.0] for side in (*own, *theirs)}
    found = set(peers._ratios([*own, *theirs], rounds, theirs[0].name, theirs))
    found |= {"share_of_int8_peak", "classifier_peak_mb", "least_cosine_cpu_int8", "least_cosine_tensorrt_int8"}
    assert {target.quantity for target in TARGETS if target.what == "peers"} <= found


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def test_the_picture_shows_every_peer_and_is_the_same_for_the_same_record(
    measured, complete_measurement, tmp_path: Path
) -> None:
    record = complete_measurement(measured, what="peers")
    write_record(record, tmp_path)
    svg = pareto.render(tmp_path)
    assert svg == pareto.draw(record)
    shown = words(svg)
    assert "tiny ViT" in shown
    assert "the bundle has no accuracy" in shown
    assert "prefers-color-scheme: dark" in svg


def test_accuracy_and_latency_place_a_variant(measured, complete_measurement) -> None:
    record = complete_measurement(measured, what="peers")
    table = record.details[0]
    at = [heading for heading, _ in table.columns].index("accuracy")
    rows = [list(row) for row in table.rows]
    rows[0][at] = 0.925
    changed = json.loads(json.dumps({"rows": rows}))["rows"]
    detail = type(table)(table.title, table.columns, tuple(tuple(row) for row in changed))
    drawn = words(pareto.draw(type(record)(**{**vars(record), "details": (detail, *record.details[1:])})))
    assert any(text.startswith("agriclip-edge fp32: ") and text.endswith(", 92.5%") for text in drawn)


def test_without_a_record_the_picture_says_so(tmp_path: Path) -> None:
    assert words(pareto.render(tmp_path)) == ["not measured"]
