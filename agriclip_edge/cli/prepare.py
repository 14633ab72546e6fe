"""``agriclip-edge prepare``: build the TensorRT engine of a bundle on the device that is to run it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .exits import DONE

if TYPE_CHECKING:
    from ..bundle.manifest import Variant
    from ..bundle.reader import Bundle
    from ..runtimes.cuda import Device

EXAMPLES = """\b
Examples:
  agriclip-edge prepare
  agriclip-edge prepare --bundle my-model.zip --max-batch 4
  agriclip-edge prepare --precision int8 --force"""

_WORKSPACE_SHARE = 4  # at most a quarter of the memory that is free: a Jetson's CPU lives in the same


class Precision(str, Enum):
    """What an engine computes in."""

    fp16 = "fp16"
    int8 = "int8"


def prepare(
    bundle: options.BundlePath = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="What the engine computes in; both must be in the bundle.")
    ] = Precision.fp16,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, max=256, metavar="N", help="Photos that one run may take.")
    ] = 16,
    force: Annotated[bool, typer.Option("--force", help="Build again what is there.")] = False,
) -> int:
    """Build the TensorRT engine of a bundle for this device's GPU: once, in minutes; photos are then answered by it.

    An engine that is there already is kept. What an interrupted build has measured makes the next one shorter.
    """
    from ..bundle.reader import Bundle
    from ..errors import UsageError
    from ..runtimes.cuda import device
    from ..runtimes.tensorrt_api import version

    opened = Bundle.open(bundle)
    opened.for_photos()
    variants = [variant for variant in opened.manifest.image if variant.runtime == "tensorrt"]
    chosen = [variant for variant in variants if variant.precision == precision.value]
    if not chosen:
        there = ", ".join(variant.precision for variant in variants) or "none"
        message = f"the bundle {opened.manifest.name} has no TensorRT variant of precision {precision.value}"
        raise UsageError(f"{message}; it has: {there}")
    here, gpu = version(), device()
    for variant in chosen:
        typer.echo(f"{variant.name}  {here} on {gpu.name} (compute capability {gpu.compute_capability})")
        _prepare(opened, variant, gpu, max_batch, force)
    return DONE


def _prepare(bundle: Bundle, variant: Variant, gpu: Device, max_batch: int, force: bool) -> None:
    import numpy as np

    from ..errors import BundleError, BundleFault
    from ..files import atomic_write
    from ..runtimes import check_unit
    from ..runtimes.engines import EngineStore
    from ..runtimes.tensorrt import TensorrtGraph
    from ..runtimes.tensorrt_build import WORKSPACE_BYTES, build, engine_key

    store, graph = EngineStore(), bundle.read(variant.file)
    key = engine_key(graph, variant.precision, gpu, max_batch)
    if not force and store.read(key) is not None:
        typer.echo(f"{variant.name}  is built already: {store.path(key)}")
        return
    timings = store.timing_cache(key)
    workspace = min(WORKSPACE_BYTES, gpu.free_bytes // _WORKSPACE_SHARE)

    def keep(data: bytes) -> None:
        timings.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(timings) as file:
            file.write(data)

    with _bar() as progress:
        built = build(
            graph,
            max_batch=max_batch,
            workspace=workspace,
            timing_cache=timings.read_bytes() if timings.is_file() else b"",
            keep_timings=keep,
            progress=progress,
        )
    if built.precision != variant.precision:
        message = f"variant {variant.name} is listed as {variant.precision}; its graph computes in {built.precision}"
        raise BundleError(BundleFault.GRAPH_MISMATCH, message)
    size, dim = bundle.manifest.preprocessing.size, bundle.manifest.embedding_dim
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    engine = TensorrtGraph(built.engine, [variant.input], variant.output, 1, max_batch=max_batch)
    check_unit(engine.run({variant.input.name: pictures}), dim, f"engine of {variant.name}")
    path = store.add(key, built.engine, device=gpu.name, seconds=built.seconds)
    typer.echo(f"{variant.name}  built in {built.seconds:.0f} s, {len(built.engine) / 1e6:.1f} MB: {path}")


@contextmanager
def _bar() -> Iterator[Callable[[float], None] | None]:
    """Show a build's share and the time left, on a terminal; an estimate, since the builder's steps are not alike."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task, start, best = bar.add_task("", total=1.0), time.monotonic(), 0.0

        def show(share: float) -> None:
            nonlocal best
            best = max(best, share)  # a phase that ends does not take back what was shown
            elapsed = time.monotonic() - start
            bar.update(task, completed=best, description=f"{time_left(elapsed, best)} left" if best > 0 else "")

        yield show


def time_left(elapsed: float, share: float) -> str:
    """How long the rest takes when it goes on as before.

    Args:
        elapsed: seconds so far.
        share: of the work that is done, above 0, at most 1.

    Example:
        >>> time_left(30, 0.25)
        'about 2 min'
        >>> time_left(9, 0.9)
        'about 1 s'
    """
    seconds = elapsed * (1 - share) / share
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
