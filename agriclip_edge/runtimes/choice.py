"""Which of a bundle's image encoders runs here: the fastest by a short measurement, remembered."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import RuntimeUnavailable, UsageError
from ..files import atomic_write, home
from . import RUNTIMES, Graph, open_graph
from .compiled import CompiledGraphs
from .cpu import cpu_name, features, why_not
from .cuda import has_nvidia_gpu
from .engines import PREPARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..bundle.manifest import SceneVariant, Variant
    from ..bundle.reader import Bundle

V = TypeVar("V", "Variant", "SceneVariant")
_ROUNDS = 7  # timed runs of each variant, in turn, after a warm-up
_GAIN = 1.1  # a later variant must be this much faster than an earlier one: noise must not choose
_REMEMBERED = 64  # choices kept on disk
_MEMORY = "choices.json"


@dataclass(frozen=True)
class ImageEncoder:
    """An image encoder that is loaded.

    Attributes:
        variant: its entry in the bundle's manifest.
        graph: it, ready to run.
        passed_over: why other variants of the bundle do not run, by their names.
        note: why this machine's GPU does not run it, in one line; None when it does, or there is none.
    """

    variant: Variant
    graph: Graph
    passed_over: dict[str, str] = field(default_factory=dict)
    note: str | None = None


def open_image_encoder(bundle: Bundle, runtime: str | None, threads: int) -> ImageEncoder:
    """Load the fastest of a bundle's image encoders that can run here.

    A TensorRT variant goes first where there is an NVIDIA GPU. When it cannot run there (no engine yet, a package
    missing), another runtime answers and the note says why. The first time that several others can run, they are
    measured in turn for some tenths of a second; the choice is kept in the user's data folder, by machine, bundle,
    threads and the runtimes' versions. Where nothing can be kept, the bundle's first variant is taken.

    Args:
        bundle: an open bundle.
        runtime: only variants of this runtime, or the variant of this name; None takes all.
        threads: cores to use.

    Raises:
        UsageError: the bundle has no such runtime or variant.
        RuntimeUnavailable: none of its variants can run here; the message says why.
        BundleError: a variant's graph is broken.
    """
    variants = _asked_for(bundle, runtime)
    others = [variant for variant in variants if variant.runtime != "tensorrt"]
    passed_over: dict[str, str] = {}
    if runtime is not None or not others or has_nvidia_gpu():
        for variant in variants:
            if variant.runtime == "tensorrt":
                try:
                    return ImageEncoder(variant, open_variant(bundle, variant, threads))
                except RuntimeUnavailable as reason:
                    passed_over[variant.name] = str(reason).replace(PREPARE, prepare_line(bundle, variant))
    note = _in_words(variants, passed_over)
    usable = sift(others, passed_over)
    fastest = _open_fastest(bundle, usable, threads, passed_over)
    if fastest is None:
        raise RuntimeUnavailable(_in_words(variants, passed_over))
    variant, graph = fastest
    return ImageEncoder(variant, graph, passed_over, f"ran on {variant.runtime}, since {note}" if note else None)


def _in_words(variants: list[Variant], passed_over: dict[str, str]) -> str:
    runtimes = {variant.name: variant.runtime for variant in variants}
    return "; ".join(f"{name} ({runtimes[name]}): {reason}" for name, reason in passed_over.items())


def _open_fastest(
    bundle: Bundle, usable: list[Variant], threads: int, passed_over: dict[str, str]
) -> tuple[Variant, Graph] | None:
    """The fastest of the variants that can run here: the remembered one, or measured now; None when none opens."""
    folder = _kept_in()
    if len(usable) < 2 or folder is None:
        return next(_opened(bundle, usable, threads, passed_over), None)
    memory = folder / _MEMORY
    key = _key(bundle, usable, threads)
    known = _read(memory)
    remembered = [variant for variant in usable if variant.name == known.get(key, {}).get("variant")]
    for found in _opened(bundle, remembered, threads, passed_over):
        return found
    graphs = list(_opened(bundle, usable, threads, passed_over))
    if len(graphs) < 2:
        return graphs[0] if graphs else None
    spent = _measure(graphs, bundle)
    chosen = _fastest(graphs, spent)
    known[key] = {"variant": chosen[0].name, "milliseconds": spent}
    _write(memory, dict(list(known.items())[-_REMEMBERED:]))
    return chosen


def _opened(
    bundle: Bundle, variants: list[Variant], threads: int, passed_over: dict[str, str]
) -> Iterator[tuple[Variant, Graph]]:
    """The variants that open; why a runtime refuses one goes into ``passed_over``."""
    for variant in variants:
        try:
            yield variant, open_variant(bundle, variant, threads)
        except RuntimeUnavailable as reason:
            passed_over[variant.name] = str(reason)


def _asked_for(bundle: Bundle, runtime: str | None) -> list[Variant]:
    bundle.for_photos()
    variants = bundle.manifest.image
    chosen = [variant for variant in variants if runtime in (None, variant.runtime, variant.name)]
    if not chosen:
        names = ", ".join(dict.fromkeys(name for variant in variants for name in (variant.runtime, variant.name)))
        raise UsageError(f"runtime {runtime!r}; the bundle {bundle.manifest.name} has: {names}")
    return chosen


def sift(variants: list[V], passed_over: dict[str, str]) -> list[V]:
    """Variants that can run on this CPU; why the others cannot goes into ``passed_over``, by their names."""
    usable = []
    for variant in variants:
        if variant.runtime not in RUNTIMES:
            reason: str | None = f"runtime {variant.runtime!r} is unknown to this version"
        elif find_spec(RUNTIMES[variant.runtime]) is None:
            reason = f'not installed: pip install "agriclip-edge[{variant.runtime}]"'
        elif variant.precision in ("int8", "int8-s8s8", "bf16"):  # reading the CPU's features costs a millisecond
            reason = why_not(variant.precision, platform.machine(), features())
        else:
            reason = None
        if reason is None:
            usable.append(variant)
        else:
            passed_over[variant.name] = reason
    return usable


def open_variant(bundle: Bundle, variant: Variant, threads: int) -> Graph:
    """Load one image encoder as it is run here, with what earlier starts have compiled.

    Raises:
        RuntimeUnavailable: its runtime cannot run it here.
        BundleError: its graph is broken.
    """
    data, folder = bundle.read(variant.file), _kept_in()
    compiled = CompiledGraphs(folder) if folder is not None else None
    return open_graph(
        variant.runtime,
        data,
        [variant.input],
        variant.output,
        threads,
        precision=variant.precision,
        compiled=compiled,
    )


def _measure(graphs: list[tuple[Variant, Graph]], bundle: Bundle) -> dict[str, float]:
    """Median milliseconds of one photo by variant; the variants take turns, so that all meet the same noise."""
    import statistics

    size = bundle.manifest.preprocessing.size
    photo = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    spent: dict[str, list[float]] = {variant.name: [] for variant, _ in graphs}
    for turn in range(_ROUNDS + 1):
        for variant, graph in graphs:
            start = time.perf_counter()
            graph.run({variant.input.name: photo})
            if turn > 0:
                spent[variant.name].append((time.perf_counter() - start) * 1e3)
    return {name: round(statistics.median(times), 3) for name, times in spent.items()}


def _fastest(graphs: list[tuple[Variant, Graph]], milliseconds: dict[str, float]) -> tuple[Variant, Graph]:
    best = graphs[0]
    for found in graphs[1:]:
        if milliseconds[found[0].name] * _GAIN < milliseconds[best[0].name]:
            best = found
    return best


def _key(bundle: Bundle, variants: list[Variant], threads: int) -> str:
    """Names everything that the choice depends on."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import; only a choice needs it

    versions = {}
    for runtime in {variant.runtime for variant in variants}:
        try:
            versions[runtime] = version(RUNTIMES[runtime])
        except PackageNotFoundError:  # a board's own build
            versions[runtime] = "unknown"
    names = [variant.name for variant in variants]
    facts = [bundle.sha256, names, cpu_name(), threads, sorted(versions.items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _kept_in() -> Path | None:
    """The user's data folder; None where nothing can be kept."""
    try:
        folder = home()
    except UsageError:  # a container's user without a home: photos are answered all the same
        return None
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return folder if existing.is_dir() and os.access(existing, os.W_OK) else None


def _read(path: Path) -> dict[str, Any]:
    """What was remembered; a broken file is as good as none."""
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    sound = isinstance(known, dict) and all(isinstance(choice, dict) for choice in known.values())
    return known if sound else {}


def _write(path: Path, known: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(known, indent=1).encode() + b"\n")
    except OSError:  # a full disk must not keep anyone from an answer; the next start measures again
        return


def prepare_line(bundle: Bundle, variant: Variant) -> str:
    """The command that builds a TensorRT variant's engine on this machine."""
    from ..bundle.reader import DEFAULT_BUNDLE

    words = PREPARE.split()
    if bundle.path != DEFAULT_BUNDLE:
        words += ["--bundle", str(bundle.path)]
    if variant.precision != "fp16":  # what the command builds when nobody chooses
        words += ["--precision", variant.precision]
    return shlex.join(words)
