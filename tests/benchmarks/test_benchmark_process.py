"""Time and memory of whole processes, held against programs whose use is known."""

import sys
from pathlib import Path

import pytest

from benchmarks.process import run_process
from benchmarks.record import BenchmarkError

ALLOCATE = "data = bytearray({}); data[::4096] = bytes(len(data[::4096]))"


def run(program: str, **environment: str):
    return run_process(sys.executable, "-I", "-S", "-c", program, environment=environment)


def test_wall_and_cpu_time_are_told_apart() -> None:
    asleep = run("import time; time.sleep(0.3)")
    assert 0.3 <= asleep.wall_s < 3
    assert asleep.cpu_s < 0.25
    busy = run("import time\nwhile time.process_time() < 0.3: pass")
    assert busy.cpu_s >= 0.3


def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_measures() -> None:
    ballast = bytearray(150_000_000)
    ballast[::4096] = bytes(len(ballast[::4096]))  # this process is now larger than the first program
    small = run("pass").peak_mb
    large = run(ALLOCATE.format(60_000_000)).peak_mb
    assert small < 40
    assert 55 < large - small < 75
    del ballast


def test_output_is_kept_and_the_environment_is_passed_on() -> None:
    assert run("import os; print(os.environ['SIDE'], 'ü')", SIDE="left", PYTHONUTF8="1").output.split()[0] == "left"


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(BenchmarkError, match="ended with 3: no leaf here"):
        run("import sys; print('no leaf here', file=sys.stderr); sys.exit(3)")


def test_a_program_that_is_killed_is_told() -> None:
    with pytest.raises(BenchmarkError, match="ended with -9"):
        run("import os; os.kill(os.getpid(), 9)")


def test_a_missing_program_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"nowhere cannot be started: .*No such file"):
        run_process(tmp_path / "nowhere")
