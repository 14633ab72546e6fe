"""The image encoder's variants: each made its way, each through its gate on photos that calibrated nothing."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from agriclip_edge.bundle.limits import kind_of
from agriclip_edge.bundle.manifest import TensorSpec, Variant
from agriclip_edge.errors import RuntimeUnavailable, UsageError
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.runtimes import available_cores, open_graph
from agriclip_edge.runtimes.cpu import features, why_not
from agriclip_edge.runtimes.tensorrt_api import version as tensorrt_version
from training.answers import Trust, judge_answers
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
from .parity import GateError, open_session
from .quantise import QuantiseConfig, blame, convolutions, correct_bias, quantise
from .tensorrt import build_variant
from .tensorrt_graph import fp16_graph, int8_graph

_BATCH = 16  # photos a run when embeddings are compared
_UNIT = 1e-3  # how far a vector's length may be from 1, as a bundle's reader has it
_BLAMED = 16  # photos that a failing variant's layers are compared on
# Judged of each task, of large and small ones alike: one that turns is a tenth of a point, and the limit is a whole
# point. The number holds for every task and every variant, and nobody is asked twice.
ANSWERS = 1000
# Of a photo: 32nds of the side that are cut off, how far down and right the cut lies from the middle, mirrored or not.
_VIEWS = tuple((cut, 0, 0, mirrored) for cut in range(4) for mirrored in (False, True)) + tuple(
    (cut, down * cut, right * cut, mirrored)
    for cut in range(1, 5)
    for down in (-1, 1)
    for right in (-1, 1)
    for mirrored in (False, True)
)


@dataclass(frozen=True)
class Plan:
    """One variant to make.

    Attributes:
        name: in the manifest.
        runtime: that runs it.
        precision: that it computes in; with the runtime it says the budget.
        file: its graph in the bundle; variants of several runtimes may share one.
        config: how its graph is quantised; None for a graph in floating point.
    """

    name: str
    runtime: str
    precision: str
    file: str
    config: QuantiseConfig | None = None


FLOAT_FILE = "image/encoder.onnx"
INT8_FILE = "image/encoder-int8.onnx"
INT8 = QuantiseConfig()
SYMMETRIC = QuantiseConfig(symmetric=True)
# TensorRT rounds the sums of residual blocks, too; the layers that lose most are among the first 12 convolutions. With
# 5, 9 and 12 of them in float the least cosine over 249 training photos that did not calibrate is .9952, .9977, .9982.
SYMMETRIC_12 = QuantiseConfig(symmetric=True, float_convolutions=12)
PLANS = (
    Plan("cpu-int8", "onnxruntime", "int8", INT8_FILE, INT8),
    Plan("cpu-float", "onnxruntime", "fp16-weights", FLOAT_FILE),
    Plan("arm-int8", "onnxruntime", "int8-s8s8", "image/encoder-arm-int8.onnx", SYMMETRIC),
    Plan("openvino-int8", "openvino", "int8", INT8_FILE, INT8),
    Plan("openvino-bf16", "openvino", "bf16", FLOAT_FILE),
    Plan("tensorrt-fp16", "tensorrt", "fp16", "image/encoder-tensorrt-fp16.onnx"),
    Plan("tensorrt-int8", "tensorrt", "int8", "image/encoder-tensorrt-int8.onnx", SYMMETRIC_12),
)


def choose(names: Sequence[str]) -> tuple[Plan, ...]:
    """The plans of these names or runtimes, in the order of `PLANS`; all of them when there is no name.

    Raises:
        UsageError: no such variant or runtime.
    """
    known = list(dict.fromkeys(word for plan in PLANS for word in (plan.runtime, plan.name)))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"no variant or runtime is called {unknown[0]!r}; accepted: {', '.join(known)}")
    return tuple(plan for plan in PLANS if not names or plan.name in names or plan.runtime in names)


@dataclass(frozen=True)
class Views:
    """Many views of photos, each made when it is looked at.

    Attributes:
        squares: the photos, uint8 (N, S, S, 3).
        owners: which photo each of the M views shows, int64 (M,).
        kinds: which of `_VIEWS` it is, int64 (M,).
    """

    squares: Squares
    owners: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, rows: slice) -> Squares:
        pairs = zip(self.owners[rows], self.kinds[rows])
        return np.stack([_view(self.squares[owner], _VIEWS[kind]) for owner, kind in pairs])


@dataclass(frozen=True)
class GatePhotos:
    """The photos that decide: some to calibrate on, others to judge by.

    Attributes:
        calibration: preprocessed, uint8 (K, S, S, 3).
        hashes: sha256 over the calibration photos' pixels, in order.
        judged: preprocessed, uint8 (N, S, S, 3), photos as they are first and then their views; none calibrates.
        accuracies: from embeddings of the first or of all of them to the accuracy of each task.
        plain: how many are photos as they are.
        trust: from embeddings of one view to how far answers can be trusted; None where there are no packs.
        labelled: whether it is known what they show; else only their embeddings are compared.
    """

    calibration: Squares
    hashes: str
    judged: Squares | Views
    accuracies: Callable[[Vectors], Accuracies]
    plain: int
    labelled: bool = True
    trust: Callable[[Vectors], Trust] | None = None


@dataclass(frozen=True)
class Made:
    """Variants that passed, the files that they need, and what was measured of them."""

    variants: list[Variant] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    figures: dict[str, Figures] = field(default_factory=dict)
    trust: dict[str, Trust] = field(default_factory=dict)


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
    single = photos.plain
    trusted = photos.trust(expected[:single]) if photos.trust is not None else None
    made = Made()
    for plan in plans:
        if plan.file not in made.files:
            model = onnx.load_from_string(make_graph(plan, exact, half, photos.calibration))
            made.files[plan.file] = graph_bytes(model, {}, metadata if plan.config is None else described)
        graph = made.files[plan.file]
        entry = Variant(
            name=plan.name,
            runtime=plan.runtime,
            precision=plan.precision,
            file=plan.file,
            input=TensorSpec(IMAGES, "uint8", [None, size, size, 3]),
            output=TensorSpec(EMBEDDINGS, "float32", [None, dim]),
        )
        emulated = plan.runtime == "tensorrt" or foreign(plan.precision)
        try:
            encoder = (
                emulate(graph)
                if plan.runtime == "tensorrt"
                else open_encoder(graph, plan.runtime, plan.precision, size, dim)
            )
        except RuntimeUnavailable as missing:
            say(f"{plan.name}: left out, {missing}")
            continue
        lengths = np.linalg.norm(encoder(photos.judged[:_BATCH]), axis=1)
        if not np.abs(lengths - 1).max() <= _UNIT:  # before all the others are looked at
            told = f"{lengths.min():.3f} to {lengths.max():.3f}"
            raise GateError(f"variant {plan.name} does not pass its gate: its vectors' lengths are {told}; accepted: 1")
        allowed = read_budget(kind_of(entry), budget)
        vectors = embed(encoder, photos.judged)
        speed = None if emulated else speed_ratio(reference, encoder, photos.judged[:1])
        after = photos.accuracies(vectors)
        plain = photos.accuracies(vectors[:single])
        trust = photos.trust(vectors[:single]) if photos.trust is not None else None
        both = (trusted, trust) if trusted is not None and trust is not None else None
        figures = measure(expected, vectors, before, after, plain=plain, speed=speed, emulated=emulated, trust=both)
        say(f"{plan.name}: {describe(figures)}")
        culprits = partial(blame, exact, graph, photos.judged[:_BLAMED]) if plan.config is not None else None
        require(f"variant {plan.name}", figures, allowed, culprits)
        if plan.runtime == "tensorrt":
            say(f"{plan.name}: {_built(entry, graph)}")
        made.figures[plan.name] = figures
        if trust is not None:
            made.trust[plan.name] = trust
        made.variants.append(msgspec.structs.replace(entry, figures=figures.to_manifest(), limits=allowed.limits()))
    used = {variant.file for variant in made.variants}
    files = {path: data for path, data in made.files.items() if path in used}
    return Made(made.variants, files, made.figures, made.trust)


def foreign(precision: str) -> bool:
    """Whether a variant of this precision is for other processors: it runs here, and its speed says nothing."""
    return precision == "int8-s8s8" and why_not(precision, platform.machine(), features()) is not None


def make_graph(plan: Plan, exact: bytes, half: bytes, calibration: Squares) -> bytes:
    """A variant's graph, of the encoder with float32 weights (``exact``) or with float16 ones (``half``)."""
    if plan.runtime != "tensorrt":
        return half if plan.config is None else quantise(exact, calibration, plan.config)
    model = onnx.load_from_string(exact)
    if plan.config is None:
        return bytes(fp16_graph(model).SerializeToString())
    kept = convolutions(model)[: plan.config.float_convolutions]
    corrected = correct_bias(model, calibration, kept) if plan.config.bias_correction else model
    return bytes(int8_graph(corrected, calibration, keep_float=kept).SerializeToString())


def _built(variant: Variant, graph: bytes) -> str:
    """That TensorRT builds an engine of the graph, or why it was not tried."""
    try:
        built = build_variant(variant, graph)
    except RuntimeUnavailable as missing:
        return f"not built here, {missing}"
    return f"builds with {tensorrt_version()}, {built.layers} layers; a GPU judges it by: python -m export tensorrt"


def describe(figures: Figures) -> str:
    """Figures in one line."""
    speed = f", {figures.speed:.2f} times as fast as float32" if figures.speed is not None else ""
    speed += ", emulated by ONNX Runtime" if figures.emulated else ""
    return (
        f"cosine mean {figures.mean_cosine:.4f}, p1 {figures.p1_cosine:.4f}, least {figures.least_cosine:.4f}; "
        f"accuracy {0 - figures.drop_mean:+.2f} points, "
        f"worst {0 - figures.drop_task:+.2f} ({figures.worst_task}){speed}"
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


def emulate(graph: bytes) -> Encode:
    """A graph for TensorRT as a function of photos, run by ONNX Runtime: what rounding costs, not how fast it is."""
    session = open_session(graph, available_cores())
    return lambda photos: np.asarray(session.run(None, {IMAGES: photos})[0], np.float32)


def embed(encode: Encode, squares: Squares | Views) -> Vectors:
    """Embed photos (N, S, S, 3), some at a time: float32 (N, D)."""
    return np.concatenate([encode(squares[start : start + _BATCH]) for start in range(0, len(squares), _BATCH)])


def gate_photos(
    data: Path,
    collection_name: str,
    labels: Callable[[Collection], Vectors],
    size: int,
    per_class: int = 2,
    answers: int = ANSWERS,
) -> GatePhotos:
    """Calibration photos from a collection's ``train`` split, as many of each class, and judges from its ``val``.

    Photos are judged in several views (`views_of`), so many that each task gives as many answers: where a task has 24
    photos, a single answer that turns would else weigh 4 points, and a limit of one point be held or broken by chance.

    Args:
        data: root of the data.
        collection_name: folder under it.
        labels: gives the unit vectors of a collection's labels, float32 (L, D).
        size: S in pixels.
        per_class: calibration photos of each class; activations need some hundred in all.
        answers: that judge each task, as `views_of`.

    Raises:
        DataError: the data are incomplete.
    """
    collection = read_collection(data / collection_name)
    train, val = read_photos(collection, "train"), read_photos(collection, "val")
    chosen = stratified(train, per_class)
    calibration = squares_of(train.take(chosen), size)
    vectors = labels(collection)

    def accuracies(embeddings: Vectors) -> dict[str, float]:
        shown = val.take(judged.owners[: len(embeddings)])
        return {result.task: result.accuracy for result in judge(embeddings, vectors, collection, shown).results}

    def trust(embeddings: Vectors) -> Trust:
        cosines = (embeddings @ vectors.T).astype(np.float64)
        return judge_answers(cosines, val.task, val.label, [task.name for task in collection.tasks], collection.rows)

    judged = views_of(squares_of(val, size), val.task, answers)
    hashes = hashlib.sha256(calibration.tobytes()).hexdigest()
    return GatePhotos(calibration, hashes, judged, accuracies, len(val), trust=trust)


def stratified(photos: Photos, per_class: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers of some photos of each class, drawn by a fixed seed."""
    generator = np.random.default_rng(0)
    chosen: list[int] = []
    for label in np.unique(photos.label):
        members = np.flatnonzero(photos.label == label)
        chosen += generator.permutation(members)[:per_class].tolist()
    return np.array(sorted(chosen), np.int64)


def views_of(squares: Squares, task: npt.NDArray[np.int64], answers: int = ANSWERS) -> Views:
    """Photos as they are, then as many views of each task's photos as give the task so many answers.

    Views are mirrored, or cut by some 32nds of the side at all edges, or at two; `_VIEWS` has them all.

    Args:
        squares: photos, uint8 (N, S, S, 3).
        task: number of each one's task, int64 (N,).
        answers: wanted of each task; as near to it as `_VIEWS` allow.
    """
    counts = np.bincount(task)
    wanted = np.minimum(len(_VIEWS), -(-answers // counts[task]))
    owners = [np.flatnonzero(wanted > view) for view in range(len(_VIEWS))]
    kinds = [np.full(len(own), view) for view, own in enumerate(owners)]
    return Views(squares, np.concatenate(owners), np.concatenate(kinds))


def _view(square: Squares, kind: tuple[int, int, int, bool]) -> Squares:
    """One view of a photo (S, S, 3): so many 32nds cut off along each side, and that cut moved down and right."""
    cut, down, right, mirrored = kind
    size = len(square)
    step = size // 32
    if cut:
        top, left = (cut + down) * step, (cut + right) * step
        side = size - 2 * cut * step
        square = preprocess(square[top : top + side, left : left + side], size)
    return square[:, ::-1] if mirrored else square


def squares_of(photos: Photos, size: int) -> Squares:
    """Photos as the encoder wants them, uint8 (N, S, S, 3)."""
    return np.stack([preprocess(rgb, size) for rgb in photos.rgb])
