"""Encoders measured in processes of their own, and held against the figures that a board gave before."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agriclip_edge import Bundle, BundleError, RuntimeUnavailable, UsageError
from agriclip_edge.bench import ROUNDS, Report, Row, compare, measure, reference_csv, steps
from agriclip_edge.worker import Worker


@pytest.fixture(scope="module")
def report(tiny_bundle: Path) -> Report:
    return measure(Bundle.open(tiny_bundle), [1], [4, 1], 0.2)


def changed(report: Report, **figures: float) -> Report:
    return replace(report, rows=[replace(report.rows[0], **figures), *report.rows[1:]])


def test_every_cell_is_measured(report: Report) -> None:
    assert [(row.variant, row.threads, row.batch) for row in report.rows] == [("fp32", 1, 1), ("fp32", 1, 4)]
    for row in report.rows:
        assert row.runs >= 3 * ROUNDS
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms
        assert row.photos_per_s == pytest.approx(row.batch / row.p50_ms * 1e3)
        assert row.process_ms > row.p50_ms
        assert row.load_ms > 0 < row.first_ms
        assert row.peak_mb is None or 20 < row.peak_mb < 300
    assert report.passed_over == {}
    assert report.bundle == "agriclip-tiny 1"


def test_progress_takes_as_many_steps_as_it_says(tiny_bundle: Path) -> None:
    taken: list[None] = []
    opened = Bundle.open(tiny_bundle)
    measure(opened, [1], [1], 0.01, lambda: taken.append(None))
    assert len(taken) == steps(opened, [1], [1])


def test_memory_is_that_of_the_encoders_process(tiny_bundle: Path) -> None:
    ballast = bytearray(400_000_000)
    ballast[::4096] = bytes(len(ballast[::4096]))  # this process is now larger than the encoder's
    with closing(Worker("agriclip_edge.bench", str(tiny_bundle), "fp32", "1")) as worker:
        peak = worker.run(1, 0).peak_mb
    assert peak is None or peak < 300
    del ballast


def test_an_encoder_that_is_gone_is_told(tiny_bundle: Path) -> None:
    with closing(Worker("agriclip_edge.bench", str(tiny_bundle), "fp32", "1")) as worker:
        worker._process.kill()
        with pytest.raises(RuntimeUnavailable, match="its process ended with -9"):
            worker.run(1, 0)


def test_a_process_that_cannot_begin_is_told_with_its_last_words(tiny_bundle: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="StopIteration"):
        Worker("agriclip_edge.bench", str(tiny_bundle), "no-such-variant", "1")


def test_a_broken_graph_is_refused_before_anything_is_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    graph = folder / Bundle.open(folder).manifest.image[0].file
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match="size-mismatch"):
        measure(Bundle.open(folder), [1], [1], 0.1)


def test_the_same_figures_agree(report: Report, tmp_path: Path) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(reference_csv(report))
    assert compare(report, reference) == []


@pytest.mark.parametrize("factor", [1.29, 0.72])
def test_within_30_percent_is_the_same(report: Report, tmp_path: Path, factor: float) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(reference_csv(report))
    assert compare(changed(report, p50_ms=report.rows[0].p50_ms * factor), reference) == []


@pytest.mark.parametrize(("factor", "words"), [(1.4, "+40%"), (0.6, "-40%")])
def test_beyond_30_percent_is_told_either_way(report: Report, tmp_path: Path, factor: float, words: str) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(reference_csv(report))
    [line] = compare(changed(report, p50_ms=report.rows[0].p50_ms * factor), reference)
    assert line.startswith("fp32, 1 threads, batch 1: p50_ms was ")
    assert words in line


def test_a_variant_that_no_longer_runs_is_told(report: Report, tmp_path: Path) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(reference_csv(report))
    other = replace(report, rows=[replace(row, variant="int8") for row in report.rows], passed_over={"fp32": "no AVX"})
    assert compare(other, reference)[0] == "fp32, 1 threads, batch 1: not measured: no AVX"


def test_figures_of_another_processor_are_refused(report: Report, tmp_path: Path) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(reference_csv(report))
    elsewhere = replace(report, machine={**report.machine, "cpu": "another one"})
    with pytest.raises(UsageError, match="this is another one with"):
        compare(elsewhere, reference)


def test_a_table_without_a_common_cell_is_refused(report: Report, tmp_path: Path) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(reference_csv(report))
    others = [replace(row, threads=7) for row in report.rows]
    with pytest.raises(UsageError, match="has no cell with these --threads and --batch"):
        compare(replace(report, rows=others), reference)


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "cpu,cores,variant,threads,batch,p50_ms,peak_mb\nx,2,v,one,1,,\n"]
)
def test_another_file_is_refused(report: Report, tmp_path: Path, content: str) -> None:
    reference = tmp_path / "board.csv"
    reference.write_text(content)
    with pytest.raises(UsageError):
        compare(report, reference)


def test_rows_have_the_columns_of_the_reference(report: Report) -> None:
    head = reference_csv(report).splitlines()[0].split(",")
    assert head == ["cpu", "cores", "bundle", *Row.__dataclass_fields__]
