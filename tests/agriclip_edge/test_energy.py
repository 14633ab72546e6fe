"""Joules are read from the kernel's counters, and from what tegrastats prints."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agriclip_edge.energy import Rapl, Tegrastats, find_meter


def package(powercap: Path, number: int, microjoules: int, name: str = "package-0", limit: int = 1_000_000) -> Path:
    folder = powercap / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder


def tegrastats(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    program = folder / "tegrastats"
    program.write_text(f'#!/bin/sh\nwhile true; do echo "{line}"; sleep 0.05; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    first, second = package(tmp_path, 0, 100), package(tmp_path, 1, 200)
    package(tmp_path, 2, 0, name="dram")
    meter, words = find_meter(tmp_path)
    assert isinstance(meter, Rapl)
    assert words.startswith("RAPL")

    def work() -> None:
        (first / "energy_uj").write_text("500100\n")
        (second / "energy_uj").write_text("1000200\n")

    assert meter.joules(work) == pytest.approx(1.5)


def test_a_counter_that_runs_over_is_read_rightly(tmp_path: Path) -> None:
    folder = package(tmp_path, 0, 999_999, limit=1_000_000)
    meter = Rapl([folder])
    assert meter.joules(lambda: (folder / "energy_uj").write_text("9\n")) == pytest.approx(11e-6)


def test_without_counters_the_reason_is_said(tmp_path: Path) -> None:
    meter, words = find_meter(tmp_path)
    assert meter is None
    assert words.startswith("not readable: ")


def test_a_counter_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    (package(tmp_path, 0, 1) / "energy_uj").unlink()
    meter, words = find_meter(tmp_path)
    assert meter is None
    assert "root" in words


@pytest.mark.parametrize(
    "line",
    [
        "RAM 2448/7620MB CPU [5%@729] VDD_IN 5000mW/4900mW VDD_CPU_GPU_CV 600mW/600mW",
        "RAM 900/3956MB POM_5V_IN 5000/4900 POM_5V_GPU 40/40",
    ],
)
def test_tegrastats_tells_the_boards_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    tegrastats(tmp_path, monkeypatch, line)
    meter, words = find_meter(tmp_path)
    assert isinstance(meter, Tegrastats)
    assert words.startswith("tegrastats")
    start = time.perf_counter()
    joules = meter.joules(lambda: time.sleep(0.3))
    seconds = time.perf_counter() - start
    assert joules is not None
    assert 5 * 0.3 <= joules <= 5 * seconds


def test_a_board_that_tells_no_input_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tegrastats(tmp_path, monkeypatch, "RAM 2448/7620MB")
    assert Tegrastats().joules(lambda: time.sleep(0.2)) is None
