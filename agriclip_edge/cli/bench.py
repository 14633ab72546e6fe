"""``agriclip-edge bench``: how fast, how large and how frugal a bundle's image encoders are on this device."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .exits import DONE, SOME_PHOTOS_FAILED, complain

if TYPE_CHECKING:
    from ..bench import Report

EXAMPLES = """\b
Examples:
  agriclip-edge bench
  agriclip-edge bench --threads 1,4 --batch 1,8 --seconds 60 --output orin.json
  agriclip-edge bench --output this-board.csv
  agriclip-edge bench --check this-board.csv"""

_MOST = 1024  # threads, and photos a batch: beyond it someone has mistyped


class Form(str, Enum):
    """How the table is written."""

    table = "table"
    json = "json"
    csv = "csv"


def bench(
    bundle: options.BundlePath = None,
    threads: Annotated[
        str | None,
        typer.Option("--threads", metavar="N,...", help="Cores to try; by default one, and all that there are."),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", metavar="N,...", help="Photos a run to try.")] = "1,8",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=86400, help="Time for the runs; loading comes on top.")
    ] = 30,
    form: Annotated[
        Form | None, typer.Option("--format", help="By default that of the output's suffix, else a table.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write there, not to stdout.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="FILE", help="Compare with this CSV of the same board; exit code 1 beyond 30 %."
        ),
    ] = None,
) -> int:
    """Measure a bundle on this device: every variant that runs here, by threads and batch.

    Each has a process of its own; they take turns. Told are cold start (process, load, first answer), percentiles of a
    run's time, photos a second, peak memory, and energy where the machine reports it.
    """
    from ..bench import compare, measure, steps
    from ..bundle.reader import Bundle
    from ..errors import UsageError
    from ..files import atomic_write
    from ..runtimes import available_cores
    from .progress import progress

    cores = [1, available_cores()] if threads is None else _numbers("--threads", threads)
    sizes = _numbers("--batch", batch)
    if check is not None and not check.is_file():
        raise UsageError(f"--check {check}: no such file")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"--output {output}: no such folder")
    opened = Bundle.open(bundle)
    opened.for_photos()
    with progress(steps(opened, cores, sizes), "steps") as step:
        report = measure(opened, cores, sizes, seconds, step)
    text = _write(report, form or _form_of(output))
    if output is None:
        sys.stdout.write(text)
    else:
        with atomic_write(output) as file:
            file.write(text.encode())
    deviations = [] if check is None else compare(report, check)
    for line in deviations:
        complain(line)
    return SOME_PHOTOS_FAILED if deviations else DONE


def _numbers(option: str, text: str) -> list[int]:
    """The numbers between the commas.

    Raises:
        UsageError: something else, or out of range.
    """
    from ..errors import UsageError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= _MOST for word in words):
        raise UsageError(f"{option} {text}; accepted: numbers from 1 to {_MOST} with commas between them")
    return sorted({int(word) for word in words})


def _form_of(output: Path | None) -> Form:
    suffix = output.suffix.lower().lstrip(".") if output is not None else ""
    return Form(suffix) if suffix in ("json", "csv") else Form.table


def _write(report: Report, form: Form) -> str:
    import json

    from ..bench import reference_csv

    if form is Form.csv:
        return reference_csv(report)
    if form is Form.json:
        return json.dumps(report.to_record(), indent=2, ensure_ascii=False) + "\n"
    return _table(report)


def _table(report: Report) -> str:
    """The machine, then a line a cell."""
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    lines = [f"{report.bundle} on {machine}", f"energy: {report.energy}", ""]
    heads = "threads batch process,ms load,ms first,ms p50,ms p95,ms p99,ms photos/s peak,MB J/photo accuracy".split()
    rows = [("variant", *heads)]
    for row in report.rows:
        rows.append(
            (
                row.variant,
                str(row.threads),
                str(row.batch),
                *(f"{value:.0f}" for value in (row.process_ms, row.load_ms, row.first_ms)),
                *(f"{value:.2f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms)),
                f"{row.photos_per_s:.0f}",
                "–" if row.peak_mb is None else f"{row.peak_mb:.0f}",
                "–" if row.joules_per_photo is None else f"{row.joules_per_photo:.3f}",
                "–" if row.accuracy is None else f"{row.accuracy:.1%}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads) + 1)]
    for first, *others in rows:
        lines.append("  ".join([first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:]))]))
    lines += [f"{name}  not measured: {reason}" for name, reason in report.passed_over.items()]
    return "\n".join(lines) + "\n"
