"""What a student's architecture costs and gives: latency in float32 and INT8, and accuracy where there is a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.utils.model import reparameterize_model

from agriclip_edge.errors import UsageError
from export.graphs import IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.parity import open_session
from export.quantise import QuantiseConfig, quantise
from export.tracing import trace
from export.variants import squares_of, stratified
from training.data import Collection, Photos, read_collection, read_photos
from training.distil.start import architecture_of
from training.encoder import load_tower, vectors_of
from training.evaluate import Table, judge
from training.image_tower import ImageTower
from training.results import model_sha256, read_results
from training.text_tower import TextTower, minilm_folder

from .environment import versions
from .layers import count_macs
from .pareto import Picture
from .record import BenchmarkError, Cell, Detail, Measurement
from .rounds import Step, interleave, ratios

TABLE = "Architectures, one photo at a time, one thread of ONNX Runtime"
COLUMNS = (
    ("encoder", ""),
    ("runtime", ""),
    ("precision", ""),
    ("px", "d"),
    ("p50 ms", ".2f"),
    ("times as fast as the first in float32", ".2f"),
    ("MB", ".2f"),
    ("million MACs", ".0f"),
    ("accuracy", ".1%"),
    ("weights", ""),
)
PICTURE = Picture(
    "architectures",
    TABLE,
    "Students: accuracy by latency, one photo, one thread",
    "not judged: random weights",
    "no run was judged",
)
_RANDOM = "random"
_PER_CLASS = 2  # calibration photos, as the export takes them


@dataclass(frozen=True)
class ArchitecturesConfig:
    """What is measured.

    Attributes:
        names: timm's, of those that are measured without a run.
        size: side of their photos in pixels.
        dim: size of their embedding.
        rounds: that count.
        photos: of one side in one round.
        calibration: photos made of chance, for INT8 where there are no data.
    """

    names: tuple[str, ...] = (
        "efficientnet_lite0",
        "efficientnet_lite2",
        "mobilenetv4_conv_small",
        "mobilenetv4_conv_medium",
        "mobileone_s0",
    )
    size: int = 224
    dim: int = 384
    rounds: int = 30
    photos: int = 5
    calibration: int = 16

    @classmethod
    def tiny(cls) -> ArchitecturesConfig:
        """A net of 100,000 weights, to see that it runs."""
        return cls(names=("test_efficientnet",), size=32, dim=16, rounds=2, photos=2, calibration=2)


@dataclass(frozen=True)
class Candidate:
    """An encoder to measure.

    Attributes:
        name: of its architecture, and of its run.
        tower: the encoder.
        size: side of its photos in pixels.
        weights: name of the run, or ``random``.
        run: its folder.
        collection: that it was judged on.
        recipe: that it was trained with.
        accuracy: of its stored results in float32, 0 to 1.
    """

    name: str
    tower: ImageTower
    size: int
    weights: str = _RANDOM
    run: Path | None = None
    collection: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    accuracy: float | None = None


@dataclass(frozen=True)
class _Side:
    """One candidate in one precision."""

    candidate: Candidate
    precision: str
    graph: bytes
    accuracy: float | None

    @property
    def name(self) -> str:
        return f"{self.candidate.name} {self.precision}"


def measure(
    runs: Sequence[Path],
    data: Path | None,
    step: Step,
    config: ArchitecturesConfig = ArchitecturesConfig(),
    names: Sequence[str] = (),
) -> Measurement:
    """Measure runs, and architectures that have none with random weights: for these the latency alone.

    Args:
        runs: folders of training runs, each judged on ``val``.
        data: root of the data, to calibrate and judge the runs in INT8; None leaves that out.
        step: tells how far it is.
        config: how much is measured.
        names: timm's, of those without a run; those that have one are left out.

    Raises:
        BenchmarkError: a run was not judged.
        DataError: the data are incomplete.
        UsageError: a run is not finished, or timm does not know a name.
    """
    judged = [_of_run(run) for run in runs]
    known = {candidate.tower.backbone.default_cfg["architecture"] for candidate in judged}
    candidates = judged + [_random(name, config) for name in names if architecture_of(name) not in known]
    if len({candidate.name for candidate in candidates}) < max(1, len(candidates)):
        raise BenchmarkError("two runs have one name, or there is nothing to measure; accepted: different names")
    sides: list[_Side] = []
    photos = lru_cache(maxsize=1)(partial(_photos, data)) if data is not None else None
    for number, candidate in enumerate(candidates):
        step(number, len(candidates), f"making the graphs of {candidate.name}")
        sides += _sides(candidate, photos, config)
    step(len(candidates), len(candidates), "the graphs are there")
    turns = {side.name: _timed(side, config) for side in sides}
    rounds = interleave(turns, config.rounds, step)
    first = rounds[sides[0].name]
    rows = [_row(side, rounds[side.name], first) for side in sides]
    return Measurement(
        method=f"ONNX Runtime, one thread, one photo at a time, {config.rounds} rounds in turn of {config.photos} "
        "photos a side after a warm-up; INT8 as exported for x86. Branches that are one convolution at run time "
        "(MobileOne) were joined. Accuracy: mean over tasks on val, of float32 from the run's stored results, of INT8 "
        "where data were given. An architecture without a run has random weights, so that its latency alone is told.",
        samples={f"{_slug(name)}_ms": values for name, values in rounds.items()},
        seeds={"weights": 0, "photos": 0},
        subject={f"{c.weights} sha256": model_sha256(c.run) for c in candidates if c.run is not None},
        packages=versions("onnxruntime", "timm", "torch"),
        details=(Detail(TABLE, COLUMNS, tuple(rows)),),
    )


def _of_run(run: Path) -> Candidate:
    tower, description = load_tower(run)
    recipe = description["config"]
    name, collection = str(recipe["architecture"]), str(description["collection"])
    found = [record for record in read_results(run) if (record.collection, record.split) == (collection, "val")]
    if not found:
        raise BenchmarkError(
            f"{run} was not judged on {collection}; run: python -m training evaluate --checkpoint {run}"
        )
    size, accuracy = int(recipe["input_size"]), found[0].table.mean
    return Candidate(f"{run.name} ({name})", tower, size, run.name, run, collection, recipe, accuracy)


def _random(name: str, config: ArchitecturesConfig) -> Candidate:
    known = architecture_of(name)
    if not timm.is_model(known):
        raise UsageError(f"timm knows no architecture {name!r}; accepted: a name of timm.list_models()")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Candidate(name, ImageTower(config.dim, known).eval(), config.size)


def _photos(data: Path, name: str) -> tuple[Collection, Photos, Photos]:
    """A collection, its photos to calibrate on and those to judge by."""
    collection = read_collection(data / name)
    train = read_photos(collection, "train")
    return collection, train.take(stratified(train, _PER_CLASS)), read_photos(collection, "val")


def _sides(
    candidate: Candidate,
    photos: Callable[[str], tuple[Collection, Photos, Photos]] | None,
    config: ArchitecturesConfig,
) -> list[_Side]:
    """A candidate in float32 and in INT8."""
    tower = candidate.tower
    tower.backbone = reparameterize_model(tower.backbone)
    made = made_photos(config.calibration, candidate.size)
    exact = graph_bytes(trace(tower, {IMAGES: torch.from_numpy(made[:2])}, {IMAGES: {0: "N"}}), {}, {})
    if photos is None or candidate.run is None:
        rounded, accuracy = quantise(exact, made, QuantiseConfig()), None
    else:
        collection, train, val = photos(candidate.collection)
        rounded = quantise(exact, squares_of(train, candidate.size), QuantiseConfig())
        texts = vectors_of(candidate.recipe, TextTower(minilm_folder()), collection, tower.words)
        vectors = _embed(rounded, val, candidate.size)
        table: Table = judge(vectors, texts, collection, val)
        accuracy = table.mean
    return [_Side(candidate, "fp32", exact, candidate.accuracy), _Side(candidate, "int8", rounded, accuracy)]


def _embed(graph: bytes, photos: Photos, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    session, parts = open_session(graph, 1), []
    for start in range(0, len(photos), 16):
        some = photos.take(np.arange(start, min(start + 16, len(photos))))
        parts.append(session.run(None, {IMAGES: squares_of(some, size)})[0])
    return np.concatenate(parts)


def _timed(side: _Side, config: ArchitecturesConfig) -> Callable[[], float]:
    """A function that runs some photos and gives the median time of one in milliseconds."""
    session, photo = open_session(side.graph, 1), made_photos(1, side.candidate.size)
    return partial(_milliseconds, partial(session.run, None, {IMAGES: photo}), config.photos)


def _milliseconds(run: Callable[[], object], photos: int) -> float:
    spent = []
    for _ in range(photos):
        start = time.perf_counter()
        run()
        spent.append(1e3 * (time.perf_counter() - start))
    return statistics.median(spent)


def _row(side: _Side, rounds: Sequence[float], first: Sequence[float]) -> tuple[Cell, ...]:
    macs = sum(layer.macs for layer in count_macs(side.graph).values()) if side.precision == "fp32" else 0
    return (
        side.candidate.name,
        "onnxruntime",
        side.precision,
        side.candidate.size,
        statistics.median(rounds),
        statistics.median(ratios(first, rounds)),
        len(side.graph) / 1e6,
        macs / 1e6 if macs else "–",
        "–" if side.accuracy is None else side.accuracy,
        side.candidate.weights,
    )


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_").replace("__", "_")
