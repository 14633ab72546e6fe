"""One photo, one embedding, whatever computes it: from JPEG bytes through PyTorch and every runtime and precision.

The encoder is a small EfficientNet with random weights, its BatchNorm settled on made photos, which the export's own
code traces and quantises. Random weights lose more by INT8 than trained ones; the gate judges those.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import agriclip_edge
from agriclip_edge.bundle.manifest import TensorSpec
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import RuntimeUnavailable
from agriclip_edge.imaging.decode import decode
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.runtimes import Graph, open_graph
from agriclip_edge.runtimes.cuda import has_nvidia_gpu
from export.graphs import EMBEDDINGS, IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.quantise import QuantiseConfig, convolutions, quantise
from export.tensorrt_graph import fp16_graph, int8_graph
from export.tracing import trace
from export.weights import store_half
from training.image_tower import ImageTower

SIZE, DIM = 128, 64
INPUT = TensorSpec(IMAGES, "uint8", [None, SIZE, SIZE, 3])
OUTPUT = TensorSpec(EMBEDDINGS, "float32", [None, DIM])


class Backend(NamedTuple):
    """A way to compute the embedding, and its worst and mean cosine to PyTorch that are accepted."""

    graph: str
    runtime: str
    precision: str
    least: float
    mean: float


BACKENDS = {
    "ONNX Runtime FP32": Backend("fp32", "onnxruntime", "fp32", 0.999999, 0.999999),
    "ONNX Runtime FP16 weights": Backend("fp16-weights", "onnxruntime", "fp16-weights", 0.9999, 0.99999),
    "ONNX Runtime INT8": Backend("int8", "onnxruntime", "int8", 0.92, 0.975),
    "ONNX Runtime INT8 S8S8": Backend("int8-s8s8", "onnxruntime", "int8-s8s8", 0.92, 0.975),
    "OpenVINO FP32": Backend("fp32", "openvino", "fp32", 0.99999, 0.99999),
    "OpenVINO BF16": Backend("fp32", "openvino", "bf16", 0.999, 0.9995),
    "OpenVINO FP16": Backend("fp32", "openvino", "fp16", 0.999, 0.9995),
    "OpenVINO INT8": Backend("int8", "openvino", "int8", 0.92, 0.975),
}
TENSORRT = {
    "fp16": Backend("tensorrt-fp16", "tensorrt", "fp16", 0.999, 0.9995),
    "int8": Backend("tensorrt-int8", "tensorrt", "int8", 0.92, 0.975),
}


@pytest.fixture(scope="module")
def jpegs(photos: dict[str, Path]) -> list[bytes]:
    """Real photos, and some that code made."""
    found = [path.read_bytes() for name, path in photos.items() if name != "dandelion_meadow"]
    for picture in made_photos(10, 200):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=95)
        found.append(buffer.getvalue())
    return found


@pytest.fixture(scope="module")
def squares(jpegs: list[bytes]) -> np.ndarray:
    return np.stack([preprocess(decode(data, input_size=SIZE), SIZE) for data in jpegs])


@pytest.fixture(scope="module")
def tower() -> ImageTower:
    torch.manual_seed(0)
    tower = ImageTower(DIM, "test_efficientnet")
    with torch.inference_mode():
        tower.train()(torch.from_numpy(made_photos(32, SIZE)))  # BatchNorm's statistics
        for module in tower.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # from here on their plain mean
                module.reset_running_stats()
        tower(torch.from_numpy(made_photos(32, SIZE)))
    return tower.eval()


@pytest.fixture(scope="module")
def expected(tower: ImageTower, squares: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return tower(torch.from_numpy(squares)).numpy()


@pytest.fixture(scope="module")
def graph(tower: ImageTower) -> Callable[[str], bytes]:
    """The encoder's graph of a kind, made when first asked for, by what the export makes it with."""
    exact = graph_bytes(trace(tower, {IMAGES: torch.from_numpy(made_photos(2, SIZE))}, {IMAGES: {0: "N"}}), {}, {})
    calibration, made = made_photos(32, SIZE), {"fp32": exact}

    def half() -> bytes:
        model = onnx.load_from_string(exact)
        store_half(model)
        return graph_bytes(model, {}, {})

    def tensorrt_int8() -> bytes:
        model = onnx.load_from_string(exact)
        kept = convolutions(model)[: QuantiseConfig().float_convolutions]
        return graph_bytes(int8_graph(model, calibration, keep_float=kept), {}, {})

    makers: dict[str, Callable[[], bytes]] = {
        "fp16-weights": half,
        "int8": lambda: quantise(exact, calibration, QuantiseConfig()),
        "int8-s8s8": lambda: quantise(exact, calibration, QuantiseConfig(symmetric=True)),
        "tensorrt-fp16": lambda: graph_bytes(fp16_graph(onnx.load_from_string(exact)), {}, {}),
        "tensorrt-int8": tensorrt_int8,
    }

    def get(kind: str) -> bytes:
        if kind not in made:
            made[kind] = makers[kind]()
        return made[kind]

    return get


def hold(found: Graph, backend: Backend, squares: np.ndarray, expected: np.ndarray) -> None:
    vectors = found.run({IMAGES: squares})
    alone = np.concatenate([found.run({IMAGES: square[np.newaxis]}) for square in squares[:2]])
    cosines = (expected.astype(np.float64) * vectors).sum(axis=1)
    assert cosines.min() >= backend.least
    assert cosines.mean() >= backend.mean
    assert (alone * vectors[:2]).sum(axis=1).min() >= min(backend.least, 0.9999)  # whatever else is in the batch


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=list(BACKENDS))
def test_it_gives_what_pytorch_gives(
    backend: Backend, graph: Callable[[str], bytes], squares: np.ndarray, expected: np.ndarray
) -> None:
    try:
        found = open_graph(backend.runtime, graph(backend.graph), [INPUT], OUTPUT, precision=backend.precision)
    except RuntimeUnavailable as refusal:  # said by OpenVINO, from what the CPU has
        import openvino

        assert backend.precision in ("bf16", "fp16")
        assert backend.precision.upper() not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        assert f"this CPU does not compute in {backend.precision}" in str(refusal)
        return
    hold(found, backend, squares, expected)


@pytest.mark.parametrize("backend", TENSORRT.values(), ids=list(TENSORRT))
def test_tensorrt_builds_it_and_gives_what_pytorch_gives(
    backend: Backend, graph: Callable[[str], bytes], squares: np.ndarray, expected: np.ndarray
) -> None:
    """Where there is a GPU its engine is run; elsewhere the graph is built all the same, and run by ONNX Runtime."""
    from agriclip_edge.runtimes.tensorrt import TensorrtGraph
    from agriclip_edge.runtimes.tensorrt_build import build

    data = graph(backend.graph)
    hold(open_graph("onnxruntime", data, [INPUT], OUTPUT), backend, squares, expected)
    built = build(data)
    assert built.precision == backend.precision
    if has_nvidia_gpu():
        hold(TensorrtGraph(built.engine, [INPUT], OUTPUT, 1, max_batch=16), backend, squares, expected)
    else:
        with pytest.raises(RuntimeUnavailable, match="refuses the engine"):
            TensorrtGraph(built.engine, [INPUT], OUTPUT, 1, max_batch=16)


def test_a_wrong_order_of_colours_is_seen(
    graph: Callable[[str], bytes], squares: np.ndarray, expected: np.ndarray
) -> None:
    found = open_graph("onnxruntime", graph("fp32"), [INPUT], OUTPUT)
    with pytest.raises(AssertionError):
        hold(found, BACKENDS["ONNX Runtime INT8"], np.ascontiguousarray(squares[..., ::-1]), expected)


def test_openvino_refuses_a_graph_that_is_not_as_described(default_bundle: Path) -> None:
    bundle = Bundle.open(default_bundle)
    variant = bundle.manifest.image[0]
    with pytest.raises(agriclip_edge.BundleError, match=r"the graph's inputs are .*\[graph-mismatch\]"):
        open_graph("openvino", bundle.read(variant.file), [], variant.output)
    with pytest.raises(agriclip_edge.BundleError, match=r"cannot read the graph: .*\[graph-unreadable\]"):
        open_graph("openvino", b"no graph", [variant.input], variant.output)
