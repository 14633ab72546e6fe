"""The bundle's encoders beside what people would pick today at its best, in one interleaved run."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agriclip_edge.bench import joules_per_photo
from agriclip_edge.bundle.manifest import Variant
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.energy import find_meter
from agriclip_edge.errors import RuntimeUnavailable
from agriclip_edge.worker import Block, Worker

from . import int8_peak, towers
from .camera import CAMERA_SIZE, make_folder
from .environment import describe, versions
from .layers import Share, count_macs, profile
from .process import run_process
from .record import BenchmarkError, Detail, Measurement
from .rounds import Step, interleave, ratios
from .towers import FLOAT, NNCF_INT8, ORT_INT8, TORCH, Tower, graph_path

_SOAK = Path(__file__).with_name("soak.py")
_PEAK = "INT8 peak"
_OURS = "agriclip-edge"
COLUMNS = (
    ("encoder", ""),
    ("runtime", ""),
    ("precision", ""),
    ("p50 ms", ".2f"),
    ("p95 ms", ".2f"),
    ("p99 ms", ".2f"),
    ("photos/s", ".0f"),
    ("times eager ViT-B-32", ".1f"),
    ("process ms", ".0f"),
    ("load ms", ".0f"),
    ("first ms", ".1f"),
    ("peak MB", ".0f"),
    ("J/photo", ".3f"),
    ("accuracy", ".1%"),
    ("least cosine", ".4f"),
)
TABLE = "One photo at a time, two threads"


@dataclass(frozen=True)
class PeersConfig:
    """What is measured, and for how long.

    Attributes:
        towers: the peers; the first one, in PyTorch, is what ratios are of.
        rounds: that count.
        seconds: of one side in one round.
        threads: of all sides of the comparison.
        grid_threads, grid_batches: tried with the bundle's own encoders besides.
        peak_side: of the large product's matrices.
        profiled: runs under the profiler.
        photos: from a 12-megapixel camera, for the memory of a running classifier; photo_size in pixels.
    """

    towers: tuple[Tower, ...] = towers.TOWERS
    rounds: int = 12
    seconds: float = 0.4
    threads: int = 2
    grid_threads: tuple[int, ...] = (1, 2)
    grid_batches: tuple[int, ...] = (1, 8)
    peak_side: int = int8_peak.SIDE
    profiled: int = 50
    photos: int = 20
    photo_size: tuple[int, int] = CAMERA_SIZE

    @classmethod
    def tiny(cls) -> PeersConfig:
        """One short round; the graphs of all towers are made all the same, in minutes, when it is the first time."""
        return cls(rounds=1, seconds=0.05, profiled=3, photos=4)


@dataclass(frozen=True)
class Side:
    """One encoder in one runtime.

    Attributes:
        encoder: whose.
        runtime, precision: that run it.
        start: gives its process.
        variant: its entry in the bundle, when it is ours.
    """

    encoder: str
    runtime: str
    precision: str
    start: Callable[[], Worker]
    variant: Variant | None = None

    @property
    def name(self) -> str:
        """As progress and the picture call it."""
        return f"{self.encoder}, {self.runtime} {self.precision}"


def measure(
    bundle: Path | None, step: Step, config: PeersConfig = PeersConfig(), cache: Path | None = None
) -> Measurement:
    """Make what graphs are missing, then measure all sides in turn.

    Args:
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: what and for how long.
        cache: folder of the peers' graphs; None takes the user's cache folder.

    Raises:
        BenchmarkError: a side cannot be measured.
        RuntimeUnavailable: none of the bundle's variants runs here.
    """
    opened = Bundle.open(bundle)
    theirs = peer_sides(config, cache or towers.default_cache(), step)
    meter, energy = find_meter()
    classifier = _classifier_memory(opened, step, config)
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        passed_over = {}
        sides = [*_own_sides(opened, config), *theirs]
        for number, side in enumerate(sides):
            step(number, len(sides) + 1, f"loading {side.name}")
            try:
                workers[side.name] = stack.enter_context(closing(side.start()))
            except RuntimeUnavailable as reason:
                if side.variant is None:
                    raise BenchmarkError(f"{side.name}: {reason}") from None
                passed_over[side.variant.name] = str(reason)
        sides = [side for side in sides if side.name in workers]
        own = [side for side in sides if side.variant is not None]
        if not own:
            raise RuntimeUnavailable("; ".join(f"{name}: {reason}" for name, reason in passed_over.items()))
        peak = stack.enter_context(closing(Worker(int8_peak.__name__, str(config.threads), str(config.peak_side))))
        step(len(sides) + 1, len(sides) + 1, "loaded")
        grid, peaks_mb = _grid(opened, own, config, stack)
        turns: dict[str, Callable[[], Block]] = {
            name: partial(worker.run, 1, config.seconds) for name, worker in workers.items()
        }
        turns[_PEAK] = partial(peak.run, 1, config.seconds)
        blocks = interleave(turns | grid, config.rounds, step)
        joules = {side.name: joules_per_photo(meter, workers[side.name], 1) for side in sides}
    rounds = {name: [statistics.median(block.milliseconds) for block in found] for name, found in blocks.items()}
    eager = theirs[0].name
    rows = [_row(side, workers[side.name], blocks[side.name], rounds[eager], joules[side.name]) for side in sides]
    shown = _profiled(own)
    graph = opened.read(shown.file)
    macs = sum(layer.macs for layer in count_macs(graph).values())
    peaks = [int8_peak.operations(config.peak_side) / min(block.milliseconds) / 1e6 for block in blocks[_PEAK]]
    shares = profile(graph, opened.manifest.preprocessing.size, config.threads, config.profiled)
    return Measurement(
        method=f"Batch 1, {config.threads} threads; each side loaded in a process of its own, then {config.rounds} "
        f"rounds in turn of {config.seconds:g} s a side after a warm-up; ratios are those of one round's medians. "
        "Peers have random weights and take normalised float pictures, so that neither decoding nor normalisation "
        "counts for them; ours take uint8 and normalise in the graph. PyTorch: eager, inference mode, channels_last "
        "for convolutions. ONNX Runtime: default options, INT8 as static QDQ with one scale a channel. OpenVINO: "
        "latency hint, INT8 by NNCF. MobileCLIP2's towers are those of MobileCLIP, reparameterised. fastembed's CLIP "
        "graph is transformers' ViT-B/32 image tower in ONNX Runtime: the same architecture, exported here, as its own "
        "file needs a download. Peak memory: of the process after its runs. Process, load, first: cold start, once. "
        f"Energy: {energy}. INT8 peak: the fastest uint8 by int8 product of {config.peak_side}² matrices in a round, "
        f"oneDNN through OpenVINO; the student has {macs / 1e6:.1f} million multiplications. A running classifier: "
        f"its own process, {config.photos} photos of {config.photo_size[0]}×{config.photo_size[1]} one after the "
        f"other, one thread, variant {_lean(opened).name}.",
        samples={
            **_ratios(sides, rounds, eager, theirs),
            **{f"{name}_ms": rounds[side.name] for name, side in _named(own).items()},
            "eager_ms": rounds[eager],
            "int8_peak_gops": peaks,
            **_share_of_peak(own, rounds, macs, peaks),
            **classifier,
            **_cosines(opened),
        },
        seeds={"weights": 0, "pictures": 0},
        subject=describe(opened),
        packages=versions(
            "numpy", "onnxruntime", "openvino", "nncf", "torch", "timm", "open_clip_torch", "transformers"
        ),
        details=(
            Detail(TABLE, COLUMNS, tuple(rows)),
            _grid_table(peaks_mb, blocks),
            _layer_table(shown, shares, statistics.median(peaks)),
            *(_passed_over(passed_over)),
        ),
    )


def peer_sides(config: PeersConfig, cache: Path, step: Step) -> list[Side]:
    """Every tower in every runtime, the first of `PeersConfig.towers` in PyTorch leading; missing graphs are made."""
    plan: list[tuple[str, Tower, str, str, str]] = []
    for tower in config.towers:
        layout = "fp32" if tower.transformer else "fp32 channels_last"
        plan.append((tower.name, tower, "torch", layout, TORCH))
        if tower.name == towers.TRANSFORMERS.name:  # in the other runtimes it is open_clip's ViT-B-32 once more
            plan.append(("fastembed CLIP ViT-B-32", tower, "onnxruntime", "fp32", FLOAT))
            continue
        plan += [
            (tower.name, tower, "onnxruntime", "fp32", FLOAT),
            (tower.name, tower, "onnxruntime", "int8", ORT_INT8),
            (tower.name, tower, "openvino", "fp32", FLOAT),
            (tower.name, tower, "openvino", "int8", NNCF_INT8),
        ]
        if _computes_bf16():
            plan.append((tower.name, tower, "openvino", "bf16", FLOAT))
    sides = []
    for number, (name, tower, runtime, precision, form) in enumerate(plan):
        step(number, len(plan), f"{name}: {form} (made once)")
        path = graph_path(tower, form, cache)
        arguments = (runtime, precision, str(path), str(tower.size), str(config.threads))
        sides.append(Side(name, runtime, precision, partial(Worker, "benchmarks.peer_worker", *arguments)))
    step(len(plan), len(plan), "the peers' graphs are there")
    return sides


def _computes_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _own_sides(bundle: Bundle, config: PeersConfig) -> list[Side]:
    return [
        Side(_OURS, variant.runtime, variant.precision, _own(bundle, variant, config.threads), variant)
        for variant in bundle.manifest.image
    ]


def _own(bundle: Bundle, variant: Variant, threads: int) -> Callable[[], Worker]:
    return partial(Worker, "agriclip_edge.bench", str(bundle.path), variant.name, str(threads))


def _grid(
    bundle: Bundle, own: Sequence[Side], config: PeersConfig, stack: ExitStack
) -> tuple[dict[str, Callable[[], Block]], dict[str, float | None]]:
    """Each of our variants by threads and batch, half as long as the comparison; and its process's peak memory."""
    turns: dict[str, Callable[[], Block]] = {}
    peaks_mb: dict[str, float | None] = {}
    for side in own:
        assert side.variant is not None
        for threads in config.grid_threads:
            worker = stack.enter_context(closing(_own(bundle, side.variant, threads)()))
            for batch in sorted(config.grid_batches):
                name = f"{side.variant.name}; {threads}; {batch}"
                turns[name] = partial(worker.run, batch, config.seconds / 2)
                peaks_mb[name] = worker.run(batch, 0).peak_mb  # before any larger batch
    return turns, peaks_mb


def _row(
    side: Side, worker: Worker, blocks: Sequence[Block], eager: Sequence[float], joules: float | None
) -> tuple[str | float, ...]:
    spent = [value for block in blocks for value in block.milliseconds]
    p50, p95, p99 = (float(value) for value in np.percentile(spent, (50, 95, 99)))
    medians = [statistics.median(block.milliseconds) for block in blocks]
    peak = blocks[-1].peak_mb
    figures = side.variant.figures if side.variant is not None else {}
    return (
        side.encoder if side.variant is None else f"**{_OURS} {side.variant.name}**",
        side.runtime,
        side.precision,
        *(p50, p95, p99, 1e3 / p50),
        statistics.median(ratios(eager, medians)),
        *(worker.process_ms, worker.load_ms, worker.first_ms),
        *("–" if value is None else value for value in (peak, joules)),
        *(figures.get(name, "–") for name in ("accuracy", "least_cosine")),
    )


def _fastest(sides: Sequence[Side], rounds: Mapping[str, list[float]]) -> list[float]:
    """The rounds of the side with the least median."""
    return min((rounds[side.name] for side in sides), key=statistics.median)


def _share_of_peak(
    own: Sequence[Side], rounds: Mapping[str, list[float]], macs: int, peaks: Sequence[float]
) -> dict[str, Sequence[float]]:
    """What part of the machine's INT8 operations the fastest INT8 variant uses; nothing when there is none."""
    int8 = [side for side in own if side.precision == "int8"]
    if not int8:
        return {}
    gops = [2 * macs / milliseconds / 1e6 for milliseconds in _fastest(int8, rounds)]
    return {"share_of_int8_peak": ratios(gops, peaks)}


def _ratios(
    sides: Sequence[Side], rounds: Mapping[str, list[float]], eager: str, theirs: Sequence[Side]
) -> dict[str, Sequence[float]]:
    """How many times faster ours are: what the table of figures asks for."""
    own = [side for side in sides if side.variant is not None]
    first = theirs[0].encoder
    int8 = [side for side in own if (side.runtime, side.precision) == ("onnxruntime", "int8")]
    openvino = [side for side in own if side.runtime == "openvino"]
    found: dict[str, Sequence[float]] = {}
    if int8:
        found["onnxruntime_int8_times_eager"] = ratios(rounds[eager], _fastest(int8, rounds))
    if openvino:
        found["openvino_best_times_eager"] = ratios(rounds[eager], _fastest(openvino, rounds))
    own_best = _fastest([side for side in theirs if side.encoder == first], rounds)
    found["best_times_eager"] = ratios(rounds[eager], _fastest(own, rounds))
    found["best_times_its_best"] = ratios(own_best, _fastest(own, rounds))
    found["eager_times_its_best"] = ratios(rounds[eager], own_best)
    return found


def _named(own: Sequence[Side]) -> dict[str, Side]:
    return {side.variant.name.replace("-", "_"): side for side in own if side.variant is not None}


def _cosines(bundle: Bundle) -> dict[str, Sequence[float]]:
    """The worst photo's cosine of the INT8 variants, as the bundle's gate found it."""
    found: dict[str, Sequence[float]] = {}
    for name, runtimes in {"cpu": ("onnxruntime", "openvino"), "tensorrt": ("tensorrt",)}.items():
        cosines = [
            variant.figures["least_cosine"]
            for variant in bundle.manifest.image
            if variant.precision == "int8" and variant.runtime in runtimes and "least_cosine" in variant.figures
        ]
        if cosines:
            found[f"least_cosine_{name}_int8"] = [min(cosines)]
    return found


def _lean(bundle: Bundle) -> Variant:
    """What answers where only the package's own dependencies are installed: ONNX Runtime's, in INT8 if there is one."""
    variants = [variant for variant in bundle.manifest.image if variant.runtime == "onnxruntime"]
    if not variants:
        raise BenchmarkError(f"the bundle {bundle.manifest.name} has no variant for ONNX Runtime")
    return next((variant for variant in variants if variant.precision == "int8"), variants[0])


def _profiled(own: Sequence[Side]) -> Variant:
    """The variant whose layers are explained: ONNX Runtime's, in INT8 if there is one."""
    variants = [side.variant for side in own if side.variant is not None and side.runtime == "onnxruntime"]
    if not variants:
        raise BenchmarkError("none of the bundle's variants runs in ONNX Runtime, whose profiler explains the layers")
    return next((variant for variant in variants if variant.precision == "int8"), variants[0])


def _classifier_memory(bundle: Bundle, step: Step, config: PeersConfig) -> dict[str, Sequence[float]]:
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), [config.photo_size] * config.photos, 0, step)
        arguments = (folder, str(config.photos), "1", str(bundle.path.resolve()), _lean(bundle).name)
        used = json.loads(run_process(sys.executable, "-I", _SOAK, *arguments).output)
    return {
        "classifier_peak_mb": [used["peak"]],
        "classifier_loaded_mb": [used["loaded"]],
        "classifier_resident_mb": [used["after"][str(config.photos)]],
    }


def _grid_table(peaks_mb: Mapping[str, float | None], blocks: Mapping[str, Sequence[Block]]) -> Detail:
    rows = []
    for name, peak in peaks_mb.items():
        variant, threads, batch = name.split("; ")
        p50, p95, p99 = np.percentile([ms for block in blocks[name] for ms in block.milliseconds], (50, 95, 99))
        cells = (float(p50), float(p95), float(p99), int(batch) / float(p50) * 1e3, "–" if peak is None else peak)
        rows.append((variant, int(threads), int(batch), *cells))
    columns = (("variant", ""), ("threads", "d"), ("batch", "d"), *COLUMNS[3:7], ("peak MB", ".0f"))
    return Detail(
        "The bundle's variants by threads and batch (a run's time; peak of the process)", columns, tuple(rows)
    )


def _layer_table(variant: Variant, shares: Sequence[Share], peak_gops: float) -> Detail:
    whole = sum(share.milliseconds for share in shares)
    rows: list[tuple[str | float, ...]] = []
    for share in shares:
        gops = 2 * share.macs / share.milliseconds / 1e6 if share.milliseconds else 0.0
        cells = (share.macs / 1e6, gops, gops / peak_gops) if share.macs else ("–", "–", "–")
        rows.append((share.kind, share.nodes, share.milliseconds, share.milliseconds / whole, *cells))
    title = (
        f"Where the time of {variant.name} goes, by ONNX Runtime's profile (multiplications as run, padding counted)"
    )
    columns = (
        ("kind", ""),
        ("nodes", "d"),
        ("ms", ".3f"),
        ("share of time", ".1%"),
        ("million MACs", ".1f"),
        ("GOPS", ".0f"),
        ("share of the INT8 peak", ".1%"),
    )
    return Detail(title, columns, tuple(rows))


def _passed_over(reasons: Mapping[str, str]) -> list[Detail]:
    rows = tuple(reasons.items())
    return [Detail("Variants that did not run here", (("variant", ""), ("why", "")), rows)] if rows else []
