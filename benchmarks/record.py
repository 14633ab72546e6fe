"""One measured figure with what a reader needs to judge it, as one JSON file."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agriclip_edge.errors import AgriclipError
from agriclip_edge.files import atomic_write

RECORDS = Path(__file__).resolve().parent / "records"

Cell = str | int | float


class BenchmarkError(AgriclipError):
    """A figure cannot be measured or a record cannot be read: the message says what to do about it."""


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on; memory in GB of 1e9 bytes."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Detail:
    """A table beside a figure.

    Attributes:
        title: what it shows.
        columns: each column's heading and the format of its numbers, as in ``format(value, ".1%")``.
        rows: one cell a column.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Measurement:
    """What measuring gave, before it is known when and where.

    Attributes:
        method: how it was measured, in a sentence or two.
        samples: all values of each quantity, in the order measured; the unit ends its name.
        intervals: low and high of quantities whose spread is not the smallest and largest sample.
        seeds: of every random draw.
        subject: what was measured, by name and sha256.
        packages: versions that matter.
        details: tables beside it.
    """

    method: str
    samples: Mapping[str, Sequence[float]]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    subject: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True)
class Record:
    """One figure as it is kept.

    Attributes:
        what: its name, also of its file and its command.
        command: what measured it.
        commit: of the code; ``+changes`` when files differed from it.
        date: UTC, ISO 8601.
        load: the system's load average over one minute when measuring began.
        machine: where.
        medians: of each quantity.
        spread: low and high of each quantity.

    The others are those of `Measurement`.
    """

    what: str
    command: str
    commit: str
    date: str
    load: float
    machine: Machine
    method: str
    subject: dict[str, str]
    seeds: dict[str, int]
    samples: dict[str, tuple[float, ...]]
    medians: dict[str, float]
    spread: dict[str, tuple[float, float]]
    details: tuple[Detail, ...] = ()


def complete(
    measured: Measurement, *, what: str, command: str, commit: str, date: str, load: float, machine: Machine
) -> Record:
    """Make a record of a measurement."""
    samples = {name: tuple(_significant(value) for value in values) for name, values in measured.samples.items()}
    spread = {name: (min(values), max(values)) for name, values in samples.items()}
    spread |= {name: (_significant(low), _significant(high)) for name, (low, high) in measured.intervals.items()}
    return Record(
        what=what,
        command=command,
        commit=commit,
        date=date,
        load=load,
        machine=machine,
        method=measured.method,
        subject=dict(measured.subject),
        seeds=dict(measured.seeds),
        samples=samples,
        medians={name: _significant(statistics.median(values)) for name, values in samples.items()},
        spread=spread,
        details=measured.details,
    )


def write_record(record: Record, folder: Path = RECORDS) -> Path:
    """Write ``<folder>/<what>.json``, whole or not at all, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.what}.json"
    with atomic_write(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    return path


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        BenchmarkError: the file is no record of this form.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{path.name} is no benchmark record: {error}; measure again: python -m benchmarks {path.stem}"
        raise BenchmarkError(message) from None


def _significant(value: float) -> float:
    """Six digits: more than any clock here is good for."""
    return float(f"{value:.6g}")
