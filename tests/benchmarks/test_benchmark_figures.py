"""Every figure that needs no installed product, measured in small on the tiny bundle."""

import platform
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import environment, memory, size, throughput
from benchmarks.cli import ORDER, app
from benchmarks.record import BenchmarkError
from benchmarks.targets import TARGETS


def nothing(*_: object) -> None:
    """No progress."""


def test_throughput_measures_both_sides_over_the_same_photos(tiny_bundle: Path) -> None:
    config = throughput.ThroughputConfig(photos=3, rounds=2, size=(640, 480))
    measured = throughput.measure(tiny_bundle, nothing, config)
    samples = measured.samples
    assert len(samples["times_faster"]) == 2
    for ratio, ours, plain in zip(samples["times_faster"], samples["ours_photos_per_s"], samples["plain_photos_per_s"]):
        assert ratio == pytest.approx(ours / plain)
    assert samples["same_best_label"] == [1.0]
    assert [row[0] for row in measured.details[0].rows] == ["decode", "preprocess", "encode", "rank"]


def test_memory_is_read_in_the_process_that_classifies(tiny_bundle: Path) -> None:
    config = memory.MemoryConfig(checkpoints=(3, 12), distinct=4, short_side=(60, 120), runs=1)
    samples = memory.measure(tiny_bundle, nothing, config).samples
    assert samples["growth"][0] == pytest.approx(samples["after_12_mb"][0] / samples["after_3_mb"][0])
    assert 20 < samples["loaded_mb"][0] <= samples["peak_mb"][0] * 1.01 < 200


def test_size_adds_up_all_but_the_installers(tmp_path: Path) -> None:
    for name, content in {
        "numpy/a.py": b"1234",
        "numpy/__pycache__/a.pyc": b"12345",
        "one.py": b"1",
        "pip/b.py": b"x" * 99,
        "pip-24.0.dist-info/RECORD": b"x" * 99,
        "setuptools/c.py": b"x" * 99,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    sizes, on_disk = size.add_up(tmp_path)
    assert sizes == {"numpy": 9, "one.py": 1}
    assert on_disk >= 10


def test_a_machine_is_described_without_its_name_or_paths() -> None:
    machine = environment.machine({"numpy": "2"})
    assert machine.cores >= 1
    assert machine.memory_gb > 0.1
    assert machine.cpu
    assert platform.node() not in (machine.cpu, machine.system, machine.python)


def test_the_missing_product_is_told_with_the_line_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"holds 0 wheels.*make \.venv-runtime/\.ready"):
        environment.wheel(tmp_path)
    with pytest.raises(BenchmarkError, match=r"has no agriclip-edge.*make \.venv-runtime/\.ready"):
        environment.runtime("agriclip-edge", tmp_path)


def test_the_commit_tells_whether_the_code_is_that_of_the_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    assert environment.commit(tmp_path) == "uncommitted"
    (tmp_path / "code.py").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    clean = environment.commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "benchmarks" / "records").mkdir(parents=True)
    (tmp_path / "benchmarks" / "records" / "memory.json").write_text("{}")
    assert environment.commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert environment.commit(tmp_path) == f"{clean}+changes"


def test_every_target_has_its_command_and_all_runs_every_command() -> None:
    commands = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    of_runs = {"quantisation", "architectures", "distil-ablation", "ablation", "evaluations", "facts", "fewshot"}
    told = {"drift", "label-packs"}  # without a target
    assert set(ORDER) == commands - of_runs - told - {"all"}  # the others need what training left
    assert set(ORDER) <= {target.what for target in TARGETS} <= commands


def test_accuracy_without_data_is_wrong_use() -> None:
    result = CliRunner().invoke(app, ["accuracy"], env={"AGRICLIP_DATA": ""})
    assert result.exit_code == 2
