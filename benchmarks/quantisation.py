"""What each way of quantising the image encoder gives: cosine to float32 and speed, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from agriclip_edge.imaging.preprocess import preprocessing_id
from export.gate import Squares, speed_ratio
from export.gate import measure as held_against
from export.image_encoder import export_image_encoder
from export.quantise import QuantiseConfig, convolutions, correct_bias, quantise
from export.tensorrt_graph import int8_graph
from export.variants import embed, emulate, open_encoder, squares_of, stratified
from training.data import Photos, read_collection, read_photos
from training.encoder import load_tower
from training.results import model_sha256

from .environment import versions
from .quantise_tricks import equalise, layer_ranges
from .record import Cell, Detail, Measurement
from .rounds import Step

_COLUMNS = (
    ("what", ""),
    ("mean cosine", ".4f"),
    ("1st percentile", ".4f"),
    ("least", ".4f"),
    ("times float32", ".2f"),
    ("MB", ".2f"),
)
_SHIPPED = "as shipped for x86: U8S8, first 5 convolutions in float"


@dataclass(frozen=True)
class QuantisationConfig:
    """How much is measured.

    Attributes:
        per_class: calibration photos of each class.
        every: of the train photos that calibrate nothing, one in so many judges.
        rounds: interleaved runs for the speed.
    """

    per_class: int = 2
    every: int = 16
    rounds: int = 60

    @classmethod
    def tiny(cls) -> QuantisationConfig:
        """Some photos, which show only that it runs."""
        return cls(per_class=1, every=100, rounds=3)


@dataclass(frozen=True)
class Study:
    """What all ways start from: the float graph and the photos, uint8 (N, S, S, 3)."""

    exact: bytes
    photos: Squares
    few: Squares
    many: Squares


Way = Callable[[Study], bytes]


def ways() -> dict[str, Way]:
    """Every way by what it is called in the table; the one that ships goes first."""
    shipped = QuantiseConfig()

    def plain(config: QuantiseConfig) -> Way:
        return lambda study: quantise(study.exact, study.photos, config)

    def percentile(*percentiles: float) -> Way:
        def make(study: Study) -> bytes:
            base = quantise(study.exact, study.photos, shipped)
            ranges = layer_ranges(study.exact, base, study.few, percentiles)
            return quantise(study.exact, study.few, shipped, ranges)

        return make

    def equalised(depthwise_only: bool) -> Way:
        return lambda study: quantise(
            equalise(study.exact, study.photos, depthwise_only=depthwise_only), study.photos, shipped
        )

    skipped = shipped.float_convolutions
    return {
        _SHIPPED: plain(shipped),
        "one weight scale a tensor": plain(replace(shipped, per_channel=False)),
        "every convolution in INT8": plain(replace(shipped, float_convolutions=0)),
        "first 3 convolutions in float": plain(replace(shipped, float_convolutions=3)),
        "first 9 convolutions in float": plain(replace(shipped, float_convolutions=9)),
        "half the calibration photos": lambda study: quantise(study.exact, study.few, shipped),
        "twice the calibration photos": lambda study: quantise(study.exact, study.many, shipped),
        "activations cut at their 99.99th percentile": percentile(99.99),
        "activations cut at the percentile that is best for each layer": percentile(100, 99.9999, 99.999, 99.99, 99.9),
        "cross-layer equalisation before depthwise convolutions": equalised(True),
        "cross-layer equalisation everywhere": equalised(False),
        "biases as they are": plain(replace(shipped, bias_correction=False)),
        "S8S8, symmetric (ARM)": plain(replace(shipped, symmetric=True)),
        "S8S8, symmetric, rest in float16 (TensorRT)": lambda study: _tensorrt(study, skipped),
    }


def measure(checkpoint: Path, data: Path, step: Step, config: QuantisationConfig = QuantisationConfig()) -> Measurement:
    """Quantise a run's image encoder in every way and hold each against float32.

    Args:
        checkpoint: folder of the training run.
        data: root of the data: its ``train`` photos calibrate and judge, each one or the other.
        step: tells how far it is.
        config: how much is measured.

    Raises:
        DataError: the data are incomplete.
        UsageError: the run is not finished.
    """
    tower, facts = load_tower(checkpoint)
    size = int(facts["config"]["input_size"])
    exact = export_image_encoder(tower, size, {"preprocessing": preprocessing_id(size)}).exact
    collection = read_collection(data / facts["collection"])
    train = read_photos(collection, "train")
    spare = np.setdiff1d(np.arange(len(train)), stratified(train, 2 * config.per_class))
    judged = squares_of(train.take(spare[:: config.every]), size)
    few, some, many = (
        _calibration(train, max(1, count), size)
        for count in (config.per_class // 2, config.per_class, 2 * config.per_class)
    )
    study = Study(exact, some, few, many)
    dim = tower.width
    reference = open_encoder(exact, "onnxruntime", "fp32", size, dim)
    expected = embed(reference, judged)
    rows: list[tuple[Cell, ...]] = []
    samples: dict[str, list[float]] = {}
    for number, (name, make) in enumerate(known := ways().items()):
        step(number, len(known), name)
        graph = make(study)
        encoder = emulate(graph) if "TensorRT" in name else open_encoder(graph, "onnxruntime", "int8", size, dim)
        speed = speed_ratio(reference, encoder, judged[:1], config.rounds)
        found = held_against(expected, embed(encoder, judged), {}, {}, speed=speed)
        rows.append((name, found.mean_cosine, found.p1_cosine, found.least_cosine, speed, len(graph) / 1e6))
        if name == _SHIPPED:
            samples = {"int8_least_cosine": [found.least_cosine], "int8_mean_cosine": [found.mean_cosine]}
    step(len(rows), len(rows), "done")
    return Measurement(
        method=f"The encoder in INT8 by ONNX Runtime on a CPU, calibrated on {len(some)} train photos, held against "
        f"float32 on {len(judged)} train photos that calibrated nothing (a choice among ways is part of training: val "
        "photos judge what was chosen, in the gate); speed by runs in turn, one photo at a time. All but the named "
        "change is as shipped. On x86, S8S8 and float16 are emulated slowly: their speed says nothing of "
        "ARM and TensorRT.",
        samples=samples,
        seeds={"calibration photos": 0},
        subject={"checkpoint sha256": model_sha256(checkpoint)},
        packages=versions("onnxruntime", "onnx"),
        details=(Detail("Ways to quantise", _COLUMNS, tuple(rows)),),
    )


def _calibration(train: Photos, per_class: int, size: int) -> Squares:
    return squares_of(train.take(stratified(train, per_class)), size)


def _tensorrt(study: Study, skipped: int) -> bytes:
    model = onnx.load_from_string(study.exact)
    kept = convolutions(model)[:skipped]
    corrected = correct_bias(model, study.photos, kept)
    return bytes(int8_graph(corrected, study.photos, keep_float=kept).SerializeToString())
