"""The image encoder's variants: each made its way, each through its gate on photos that calibrated nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from agriclip_edge.bundle.manifest import TensorSpec, Variant
from agriclip_edge.errors import RuntimeUnavailable, UsageError
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.runtimes import open_graph
from training.data import Collection, Photos, read_collection, read_photos
from training.evaluate import judge

from .gate import (
    Accuracies,
    Encode,
    Figures,
    Squares,
    Vectors,
    measure,
    read_budget,
    require,
    speed_ratio,
)
from .graphs import EMBEDDINGS, IMAGES, graph_bytes
from .quantise import QuantiseConfig, blame, quantise

_BATCH = 16  # photos a run when embeddings are compared
_BLAMED = 16  # photos that a failing variant's layers are compared on


@dataclass(frozen=True)
class Plan:
    """One variant to make.

    Attributes:
        name: in the manifest.
        runtime: that runs it.
        precision: that it computes in; also the name of its budget.
        file: its graph in the bundle; variants of several runtimes may share one.
        config: how its graph is quantised; None for the graph with float16 weights.
    """

    name: str
    runtime: str
    precision: str
    file: str
    config: QuantiseConfig | None = None


FLOAT_FILE = "image/encoder.onnx"
INT8_FILE = "image/encoder-int8.onnx"
INT8 = QuantiseConfig()
PLANS = (
    Plan("cpu-int8", "onnxruntime", "int8", INT8_FILE, INT8),
    Plan("cpu-float", "onnxruntime", "fp16-weights", FLOAT_FILE),
    Plan("openvino-int8", "openvino", "int8", INT8_FILE, INT8),
    Plan("openvino-bf16", "openvino", "bf16", FLOAT_FILE),
)


def choose(names: Sequence[str]) -> tuple[Plan, ...]:
    """The plans of these names, in the order of `PLANS`; all of them when there is no name.

    Raises:
        UsageError: no such variant.
    """
    known = [plan.name for plan in PLANS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no variant is called {unknown[0]!r}; accepted: {', '.join(known)}")
    return tuple(plan for plan in PLANS if not names or plan.name in names)


@dataclass(frozen=True)
class GatePhotos:
    """The photos that decide: some to calibrate on, others to judge by.

    Attributes:
        calibration: preprocessed, uint8 (K, S, S, 3).
        hashes: sha256 over the calibration photos' pixels, in order.
        judged: preprocessed, uint8 (N, S, S, 3); none of them calibrates.
        accuracies: from their embeddings to the accuracy of each task.
    """

    calibration: Squares
    hashes: str
    judged: Squares
    accuracies: Callable[[Vectors], Accuracies]


@dataclass(frozen=True)
class Made:
    """Variants that passed, and the files that they need."""

    variants: list[Variant] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    figures: dict[str, Figures] = field(default_factory=dict)


def make_variants(
    exact: bytes,
    half: bytes,
    size: int,
    dim: int,
    photos: GatePhotos,
    plans: Sequence[Plan],
    budget: Path,
    metadata: Mapping[str, str],
    say: Callable[[str], None],
) -> Made:
    """Make all variants and let each through its gate.

    Args:
        exact: the graph with float32 weights.
        half: the graph with float16 weights.
        size: S in pixels.
        dim: D.
        photos: to calibrate on and to judge by.
        plans: the variants, the preferred one first.
        budget: file of what each may lose.
        metadata: properties of the graphs.
        say: is told what was measured.

    Raises:
        GateError: a variant does not pass; which figure failed, and which layers are to blame.
    """
    described = {**metadata, "calibration": photos.hashes}
    reference = open_encoder(exact, "onnxruntime", "fp32", size, dim)
    expected = embed(reference, photos.judged)
    before = photos.accuracies(expected)
    made = Made(files={FLOAT_FILE: half})
    for plan in plans:
        if plan.config is not None and plan.file not in made.files:
            quantised = quantise(exact, photos.calibration, plan.config)
            made.files[plan.file] = graph_bytes(onnx.load_from_string(quantised), {}, described)
        graph = made.files[plan.file]
        try:
            encoder = open_encoder(graph, plan.runtime, plan.precision, size, dim)
        except RuntimeUnavailable as missing:
            say(f"{plan.name}: left out, {missing}")
            continue
        vectors = embed(encoder, photos.judged)
        speed = speed_ratio(reference, encoder, photos.judged[:1])
        figures = measure(expected, vectors, before, photos.accuracies(vectors), speed)
        say(f"{plan.name}: {describe(figures)}")
        culprits = partial(blame, exact, graph, photos.judged[:_BLAMED]) if plan.config is not None else None
        require(f"variant {plan.name}", figures, read_budget(plan.precision, budget), culprits)
        made.figures[plan.name] = figures
        made.variants.append(
            Variant(
                name=plan.name,
                runtime=plan.runtime,
                precision=plan.precision,
                file=plan.file,
                input=TensorSpec(IMAGES, "uint8", [None, size, size, 3]),
                output=TensorSpec(EMBEDDINGS, "float32", [None, dim]),
                figures=figures.to_manifest(),
            )
        )
    return made


def describe(figures: Figures) -> str:
    """Figures in one line."""
    speed = f", {figures.speed:.2f} times as fast as float32" if figures.speed is not None else ""
    return (
        f"cosine mean {figures.mean_cosine:.4f}, p1 {figures.p1_cosine:.4f}, least {figures.least_cosine:.4f}; "
        f"accuracy {-figures.drop_mean:+.2f} points, worst {-figures.drop_task:+.2f} ({figures.worst_task}){speed}"
    )


def open_encoder(graph: bytes, runtime: str, precision: str, size: int, dim: int) -> Encode:
    """A graph as a function of photos, run as a device would run it.

    Raises:
        RuntimeUnavailable: the runtime is not installed, or this CPU lacks the precision.
    """
    inputs, output = (
        [TensorSpec(IMAGES, "uint8", [None, size, size, 3])],
        TensorSpec(EMBEDDINGS, "float32", [None, dim]),
    )
    opened = open_graph(runtime, graph, inputs, output, precision=precision)
    return lambda photos: opened.run({IMAGES: photos})


def embed(encode: Encode, squares: Squares) -> Vectors:
    """Embed photos (N, S, S, 3), some at a time: float32 (N, D)."""
    return np.concatenate([encode(squares[start : start + _BATCH]) for start in range(0, len(squares), _BATCH)])


def gate_photos(
    data: Path,
    collection_name: str,
    labels: Callable[[Collection], Vectors],
    size: int,
    per_class: int = 2,
) -> GatePhotos:
    """Calibration photos from a collection's ``train`` split, as many of each class, and judges from its ``val``.

    Args:
        data: root of the data.
        collection_name: folder under it.
        labels: gives the unit vectors of a collection's labels, float32 (L, D).
        size: S in pixels.
        per_class: calibration photos of each class; activations need some hundred in all.

    Raises:
        DataError: the data are incomplete.
    """
    collection = read_collection(data / collection_name)
    train, val = read_photos(collection, "train"), read_photos(collection, "val")
    chosen = _stratified(train, per_class)
    calibration = _squares(train.take(chosen), size)
    vectors = labels(collection)

    def accuracies(embeddings: Vectors) -> dict[str, float]:
        return {result.task: result.accuracy for result in judge(embeddings, vectors, collection, val).results}

    return GatePhotos(
        calibration,
        hashlib.sha256(calibration.tobytes()).hexdigest(),
        _squares(val, size),
        accuracies,
    )


def _stratified(photos: Photos, per_class: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of some photos of each class, drawn by a fixed seed."""
    generator = np.random.default_rng(0)
    chosen: list[int] = []
    for label in np.unique(photos.label):
        members = np.flatnonzero(photos.label == label)
        chosen += generator.permutation(members)[:per_class].tolist()
    return np.array(sorted(chosen), np.int64)


def _squares(photos: Photos, size: int) -> Squares:
    return np.stack([preprocess(rgb, size) for rgb in photos.rgb])
