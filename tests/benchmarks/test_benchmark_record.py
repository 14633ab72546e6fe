"""A record keeps what was measured, and refuses what is no record."""

from pathlib import Path

import pytest

from benchmarks.record import BenchmarkError, Detail, Machine, Measurement, complete, read_record, write_record

MACHINE = Machine("a processor", 2, 16.5, "Linux x86_64", "3.11.7", {"numpy": "2.4.6"})
MEASURED = Measurement(
    method="counted",
    samples={"wall_s": [0.3, 0.1, 0.2], "accuracy": (0.86,)},
    intervals={"accuracy": (0.84, 0.88)},
    seeds={"draws": 7},
    subject={"bundle": "tiny 1"},
    details=(Detail("parts", (("part", ""), ("ms", ".1f")), (("decode", 4.25), ("encode", 1))),),
)


def make(measured: Measurement = MEASURED):
    return complete(
        measured,
        what="sample",
        command="python -m benchmarks sample",
        commit="0123456789ab",
        date="2026-01-02T03:04:05Z",
        load=0.1,
        machine=MACHINE,
    )


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    record = make()
    path = write_record(record, tmp_path / "records")
    assert path.name == "sample.json"
    assert read_record(path) == record
    assert [entry.name for entry in path.parent.iterdir()] == ["sample.json"]


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    assert write_record(make(), tmp_path / "a").read_bytes() == write_record(make(), tmp_path / "b").read_bytes()


def test_medians_and_spread_come_from_the_samples_unless_an_interval_is_given() -> None:
    record = make()
    assert record.medians == {"wall_s": 0.2, "accuracy": 0.86}
    assert record.spread == {"wall_s": (0.1, 0.3), "accuracy": (0.84, 0.88)}


def test_samples_keep_their_order_and_six_digits() -> None:
    record = make(Measurement(method="", samples={"x": [2.0, 1.23456789]}))
    assert record.samples["x"] == (2.0, 1.23457)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"what": 3}', b"\xff"])
def test_another_file_is_refused_with_the_command_that_makes_it_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "memory.json"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=r"memory\.json is no benchmark record.*python -m benchmarks memory"):
        read_record(path)
