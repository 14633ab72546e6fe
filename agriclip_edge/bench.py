"""A bundle's image encoders measured on this machine: variants by threads by batch, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .energy import Meter, find_meter
from .errors import RuntimeUnavailable, UsageError
from .worker import Prepare, Run, Worker, serve

if TYPE_CHECKING:
    from .bundle.reader import Bundle

ROUNDS = 5
TOLERANCE = 0.3  # a reference figure may differ this much: other load, another temperature
CHECKED = ("p50_ms", "peak_mb")
_ENERGY_SECONDS = 2.0  # a counter that ticks each millisecond, or ten lines a second, is read well in this time


def main(bundle: str, variant: str, threads: str) -> None:
    """A `Worker`'s process for one variant of a bundle."""
    import numpy as np

    from .bundle.reader import Bundle
    from .runtimes.choice import open_image_encoder

    opened = Bundle.open(bundle)
    size = opened.manifest.preprocessing.size

    def load() -> Prepare:
        encoder = open_image_encoder(opened, variant, int(threads))
        name, graph = encoder.variant.input.name, encoder.graph

        def prepare(batch: int) -> Run:
            photos = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
            return lambda: graph.run({name: photos})

        return prepare

    import importlib

    from .runtimes import RUNTIMES

    runtime = next(entry.runtime for entry in opened.manifest.image if entry.name == variant)
    if runtime != "tensorrt":  # so that the import counts as the process's start
        try:
            importlib.import_module(RUNTIMES[runtime])
        except (ImportError, KeyError):  # loading says it better
            pass
    serve(load)


@dataclass(frozen=True)
class Row:
    """One cell of the grid: a variant, threads and a batch.

    Attributes:
        variant: its name in the bundle.
        runtime: that ran it.
        precision: that it computes in.
        threads: cores that it may use.
        batch: photos a run.
        runs: how many were measured.
        process_ms, load_ms, first_ms: its cold start: interpreter and imports, the graph, the first answer.
        p50_ms, p95_ms, p99_ms: percentiles of a run's time.
        photos_per_s: the batch over the median.
        peak_mb: peak memory of its process, which has run smaller batches before; None where it cannot be read.
        joules_per_photo: of the whole processor or board; None where it cannot be read.
        accuracy: the gate's, from the bundle; None when the bundle has none.
    """

    variant: str
    runtime: str
    precision: str
    threads: int
    batch: int
    runs: int
    process_ms: float
    load_ms: float
    first_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    photos_per_s: float
    peak_mb: float | None
    joules_per_photo: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Report:
    """What was measured, and where.

    Attributes:
        machine: processor, cores, system, versions, load.
        bundle: its name and version.
        energy: what read it, or why nothing could.
        rows: one a cell.
        passed_over: why other variants were not measured, by name.
    """

    machine: dict[str, str]
    bundle: str
    energy: str
    rows: list[Row]
    passed_over: dict[str, str]

    def to_record(self) -> dict[str, Any]:
        """It as plain values, for JSON."""
        return asdict(self)


def measure(
    bundle: Bundle,
    threads: Sequence[int],
    batches: Sequence[int],
    seconds: float,
    step: Callable[[], None] = lambda: None,
) -> Report:
    """Measure every variant that runs here, in turn, so that what else the machine does falls on all alike.

    Args:
        bundle: an open bundle.
        threads: numbers of cores to try.
        batches: photos a run to try.
        seconds: time for the runs altogether; loading and energy come on top.
        step: is called after each of `steps` steps.

    Raises:
        RuntimeUnavailable: none of the bundle's variants runs here; the message says why.
        BundleError: a graph is broken.

    Example:
        >>> from agriclip_edge import Bundle
        >>> [row.batch for row in measure(Bundle.open(), [1], [1, 2], 0.1).rows][:2]
        [1, 2]
    """
    import numpy as np

    meter, energy = find_meter()
    sizes, rows = sorted(set(batches)), []
    with ExitStack() as stack:
        workers, passed_over = _start(bundle, sorted(set(threads)), stack, step)
        cells = [(key, size) for key in workers for size in sizes]
        spent: dict[Any, list[float]] = {cell: [] for cell in cells}
        peaks = {}
        for turn in range(ROUNDS + 1):  # the first warms up
            for cell in cells:
                (key, size) = cell
                block = workers[key].run(size, seconds / ROUNDS / len(cells) if turn else 0)
                if turn:
                    spent[cell] += block.milliseconds
                else:
                    peaks[cell] = block.peak_mb
                step()
        for cell in cells:
            (variant, cores), size = cell
            worker = workers[variant, cores]
            p50, p95, p99 = (float(value) for value in np.percentile(spent[cell], (50, 95, 99)))
            entry = next(entry for entry in bundle.manifest.image if entry.name == variant)
            rows.append(
                Row(
                    variant=variant,
                    runtime=entry.runtime,
                    precision=entry.precision,
                    threads=cores,
                    batch=size,
                    runs=len(spent[cell]),
                    process_ms=worker.process_ms,
                    load_ms=worker.load_ms,
                    first_ms=worker.first_ms,
                    p50_ms=p50,
                    p95_ms=p95,
                    p99_ms=p99,
                    photos_per_s=size / p50 * 1e3,
                    peak_mb=peaks[cell],
                    joules_per_photo=joules_per_photo(meter, worker, size),
                    accuracy=entry.figures.get("accuracy"),
                )
            )
    name = f"{bundle.manifest.name} {bundle.manifest.version}"
    return Report(_machine(bundle), name, energy, rows, passed_over)


def joules_per_photo(meter: Meter | None, worker: Worker, batch: int) -> float | None:
    """Energy of the whole processor or board for a photo, measured in runs of their own; None without a meter."""
    if meter is None:
        return None
    runs = 0

    def work() -> None:
        nonlocal runs
        runs = len(worker.run(batch, _ENERGY_SECONDS).milliseconds)

    used = meter.joules(work)
    return None if used is None else used / runs / batch


def steps(bundle: Bundle, threads: Sequence[int], batches: Sequence[int]) -> int:
    """How many steps `measure` takes when every variant runs."""
    workers = len(bundle.manifest.image) * len(set(threads))
    return workers * (1 + len(set(batches)) * (ROUNDS + 1))


def _start(
    bundle: Bundle, threads: Sequence[int], stack: ExitStack, step: Callable[[], None]
) -> tuple[dict[tuple[str, int], Worker], dict[str, str]]:
    """One process for each variant and number of threads, and why some variants have none."""
    workers: dict[tuple[str, int], Worker] = {}
    passed_over: dict[str, str] = {}
    for variant in bundle.manifest.image:
        bundle.read(variant.file)  # a broken file is told here, before any process
        for cores in threads:
            if variant.name not in passed_over:
                try:
                    worker = Worker(__name__, str(bundle.path), variant.name, str(cores))
                    workers[variant.name, cores] = stack.enter_context(closing(worker))
                except RuntimeUnavailable as reason:
                    passed_over[variant.name] = str(reason).removeprefix(f"{variant.name} ({variant.runtime}): ")
            step()
    workers = {key: worker for key, worker in workers.items() if key[0] not in passed_over}
    if not workers:
        raise RuntimeUnavailable("; ".join(f"{name}: {reason}" for name, reason in passed_over.items()))
    return workers, passed_over


def _machine(bundle: Bundle) -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from . import __version__
    from .runtimes import RUNTIMES, available_cores
    from .runtimes.cpu import cpu_name

    versions = {}
    for runtime in dict.fromkeys(variant.runtime for variant in bundle.manifest.image):
        try:
            versions[runtime] = version(RUNTIMES.get(runtime, runtime))
        except PackageNotFoundError:  # not installed, or a board's own build
            continue
    try:
        load = f"{os.getloadavg()[0]:.2f}"
    except (AttributeError, OSError):  # Windows
        load = "unknown"
    return {
        "cpu": cpu_name(),
        "cores": str(available_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "agriclip-edge": __version__,
        **versions,
        "load average": load,
    }


def reference_csv(report: Report) -> str:
    """A report as the file that `compare` reads: one row a cell, with the processor in each."""
    import csv
    import io

    names = [field.name for field in fields(Row)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cpu", "cores", "bundle", *names])
    for row in report.rows:
        values = [_rounded(getattr(row, name)) for name in names]
        writer.writerow([report.machine["cpu"], report.machine["cores"], report.bundle, *values])
    return text.getvalue()


def _rounded(value: Any) -> Any:
    return "" if value is None else float(f"{value:.4g}") if isinstance(value, float) else value


def compare(report: Report, reference: Path, tolerance: float = TOLERANCE) -> list[str]:
    """Hold a report against the figures that such a board gave before.

    Args:
        report: measured now.
        reference: what `reference_csv` wrote.
        tolerance: share by which median time and peak memory may differ, up or down.

    Returns:
        one line for each figure that differs by more, or could not be measured; none when all is as it was.

    Raises:
        UsageError: the file is no such table, of another processor, or has no cell in common with the report.
    """
    import csv

    try:
        with open(reference, encoding="utf-8", newline="") as file:
            kept = list(csv.DictReader(file))
        machines = {(row["cpu"], row["cores"]) for row in kept}
        cells = {(row["variant"], int(row["threads"]), int(row["batch"])): row for row in kept}
        figures = {cell: {name: float(row[name]) for name in CHECKED if row[name] != ""} for cell, row in cells.items()}
    except (ValueError, KeyError, TypeError) as error:
        wanted = "a table that agriclip-edge bench --format csv wrote"
        raise UsageError(f"{reference}: {type(error).__name__} {error}; accepted: {wanted}") from None
    here = (report.machine["cpu"], report.machine["cores"])
    if machines - {here}:
        other = ", ".join(f"{cpu} with {cores} cores" for cpu, cores in sorted(machines - {here}))
        raise UsageError(f"{reference} is of {other}; this is {here[0]} with {here[1]} cores")
    measured = {(row.variant, row.threads, row.batch): row for row in report.rows}
    tried = {(cores, size) for _, cores, size in measured}
    due = {cell: values for cell, values in figures.items() if cell[1:] in tried}
    if not due:
        raise UsageError(f"{reference} has no cell with these --threads and --batch")
    lines = []
    for cell, values in due.items():
        where = f"{cell[0]}, {cell[1]} threads, batch {cell[2]}"
        if cell not in measured:
            lines.append(f"{where}: not measured: {report.passed_over.get(cell[0], 'the bundle has no such variant')}")
            continue
        for name, before in values.items():
            now = getattr(measured[cell], name)
            if now is None or abs(now / before - 1) > tolerance:
                change = "cannot be read" if now is None else f"{now:.4g}, {now / before - 1:+.0%}"
                lines.append(f"{where}: {name} was {before:.4g}, is {change}")
    return lines
