"""The results page shows what the records say, and says so where there is none."""

from pathlib import Path

import pytest

from benchmarks.record import BenchmarkError, Detail, Measurement, write_record
from benchmarks.report import render
from benchmarks.targets import TARGETS

THROUGHPUT = Measurement(
    method="Counted by hand.",
    samples={"times_faster": [2.0, 2.5, 3.5]},
    seeds={"photos": 3},
    subject={"bundle": "tiny 1", "bundle sha256": "ab" * 32},
    packages={"numpy": "2.4.6"},
    details=(Detail("Where time goes", (("step", ""), ("ms", ".1f")), (("decode", 41.26), ("all", 50))),),
)


def row_of(page: str, title: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_without_records_every_figure_is_not_measured(tmp_path: Path) -> None:
    page = render(tmp_path)
    assert page == render(tmp_path / "nowhere")
    for target in TARGETS:
        row = row_of(page, target.title)
        assert row[3] == "not measured"
        assert row[6] == f"`python -m benchmarks {target.what}`"
    assert "## Machine" not in page


def test_a_record_fills_its_row_and_its_section(tmp_path: Path, complete_measurement) -> None:
    write_record(complete_measurement(THROUGHPUT, what="throughput"), tmp_path)
    page = render(tmp_path)
    row = row_of(page, "throughput")
    assert row[1:6] == ["≥ 1.50×", "≥ 3.00×", "**2.50×**", "2.00× to 3.50×", "meets the floor"]
    assert row[6] == "`python -m benchmarks throughput`"
    assert "Counted by hand." in page
    assert "seed of photos 3" in page
    assert "bundle sha256 abababababab" in page
    assert "| decode | 41.3 |" in page
    assert "- throughput: a processor, 2 cores, 16.5 GB, Linux x86_64, Python 3.11.7" in page
    assert "Packages: numpy 2.4.6." in page


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.02, "meets the aim"), (1.05, "meets the floor"), (1.051, "**misses the floor**"), (0.9, "meets the aim")],
)
def test_verdict_where_less_is_better(tmp_path: Path, complete_measurement, value: float, verdict: str) -> None:
    write_record(complete_measurement(Measurement("", {"growth": [value]}), what="memory"), tmp_path)
    assert row_of(render(tmp_path), "memory after 20,000")[5] == verdict


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.86, "meets the aim"), (0.828, "meets the floor"), (0.827, "**misses the floor**")]
)
def test_verdict_where_more_is_better(tmp_path: Path, complete_measurement, value: float, verdict: str) -> None:
    write_record(complete_measurement(Measurement("", {"alive-mini": [value]}), what="accuracy"), tmp_path)
    assert row_of(render(tmp_path), "mean over the 23")[5] == verdict


def test_the_same_records_give_the_same_page(tmp_path: Path, complete_measurement) -> None:
    write_record(complete_measurement(THROUGHPUT, what="throughput"), tmp_path)
    write_record(complete_measurement(THROUGHPUT, what="something-new"), tmp_path)
    page = render(tmp_path)
    assert page == render(tmp_path)
    assert page.index("## Throughput") < page.index("## something-new")
    assert page.endswith("|\n")
    assert not page.endswith("\n\n")


def test_figures_of_one_machine_stand_together(tmp_path: Path, complete_measurement) -> None:
    for what in ("memory", "throughput"):
        write_record(complete_measurement(THROUGHPUT, what=what), tmp_path)
    assert "- throughput, memory: a processor" in render(tmp_path)


def test_a_broken_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("{")
    with pytest.raises(BenchmarkError, match=r"memory\.json is no benchmark record"):
        render(tmp_path)
