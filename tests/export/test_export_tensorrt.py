"""Graphs for TensorRT: what they compute is measured by ONNX Runtime, that they build by TensorRT-RTX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto

from agriclip_edge.bundle.manifest import Manifest
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import BundleError, UsageError
from agriclip_edge.runtimes.cuda import has_nvidia_gpu
from export.graphs import IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.parity import GateError, run_graph
from export.tensorrt_graph import check_quantisation, fp16_graph, int8_graph
from export.writer import write_bundle

Photos = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def encoder(tiny_bundle: Path) -> onnx.ModelProto:
    return onnx.load(str(tiny_bundle / "image" / "encoder.onnx"))


@pytest.fixture(scope="module")
def pictures() -> Photos:
    return made_photos(24, 32)


@pytest.fixture(scope="module")
def lite0() -> onnx.ModelProto:
    """EfficientNet-Lite0 with random weights, as the export traces it."""
    torch = pytest.importorskip("torch")
    from export.tracing import trace
    from training.image_tower import ImageTower

    torch.manual_seed(0)
    return trace(ImageTower(64), {IMAGES: torch.zeros(2, 224, 224, 3, dtype=torch.uint8)}, {IMAGES: {0: "N"}})


def cosines(one: onnx.ModelProto, other: onnx.ModelProto, photos: Photos) -> npt.NDArray[np.float64]:
    first, second = (run_graph(graph_bytes(_copy(m), {}, {}), {IMAGES: photos}) for m in (one, other))
    return (first.astype(np.float64) * second).sum(axis=1)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def built(model: onnx.ModelProto) -> Any:
    pytest.importorskip("tensorrt_rtx_bindings")
    from agriclip_edge.runtimes.tensorrt_build import build

    return build(graph_bytes(_copy(model), {}, {}))


def with_variant(tiny_bundle: Path, output: Path, graph: onnx.ModelProto, precision: str) -> Path:
    """The tiny bundle with one TensorRT variant more."""
    source = Bundle.open(tiny_bundle)
    files = {entry.path: source.read(entry.path) for entry in source.manifest.files}
    files["image/trt.onnx"] = graph_bytes(_copy(graph), {}, {})
    cpu = source.manifest.image[0]
    gpu = msgspec.structs.replace(cpu, name="trt", runtime="tensorrt", precision=precision, file="image/trt.onnx")
    manifest: Manifest = msgspec.structs.replace(source.manifest, image=[cpu, gpu])
    write_bundle(output, manifest, files)
    return output


def test_fp16_computes_in_half_and_says_the_same(encoder: onnx.ModelProto, pictures: Photos) -> None:
    half = fp16_graph(encoder)
    assert cosines(encoder, half, pictures).min() > 0.9999
    weights = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    conv = next(node for node in half.graph.node if node.op_type == "Conv")
    assert weights[conv.input[1]] == TensorProto.FLOAT16
    doors = [half.graph.input[0], half.graph.output[0]]
    assert [door.type.tensor_type.elem_type for door in doors] == [TensorProto.UINT8, TensorProto.FLOAT]


def test_fp16_takes_the_graph_that_a_bundle_ships(encoder: onnx.ModelProto, pictures: Photos) -> None:
    from export.weights import store_half

    stored = _copy(encoder)
    store_half(stored)
    assert cosines(encoder, fp16_graph(stored), pictures).min() > 0.9999


def test_the_graph_given_is_not_changed(encoder: onnx.ModelProto, pictures: Photos) -> None:
    before = encoder.SerializeToString(deterministic=True)
    fp16_graph(encoder)
    int8_graph(encoder, pictures)
    assert encoder.SerializeToString(deterministic=True) == before


def test_a_weight_beyond_float16_is_refused(encoder: onnx.ModelProto) -> None:
    broken = _copy(encoder)
    weight = next(tensor for tensor in broken.graph.initializer if tensor.name == "kernels")
    weight.CopyFrom(onnx.numpy_helper.from_array(1e6 * onnx.numpy_helper.to_array(weight), weight.name))
    with pytest.raises(UsageError, match=r"kernels holds .*; accepted for float16: at most 65504"):
        fp16_graph(broken)


def test_int8_is_symmetric_and_near(encoder: onnx.ModelProto, pictures: Photos) -> None:
    quantised = int8_graph(encoder, pictures)
    check_quantisation(quantised)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in quantised.graph.node}
    found = cosines(encoder, quantised, pictures)
    assert found.mean() > 0.99
    assert found.max() < 1 - 1e-9


def test_a_dead_channel_keeps_a_scale_above_zero_and_builds(encoder: onnx.ModelProto, pictures: Photos) -> None:
    model = _copy(encoder)
    kernels = next(tensor for tensor in model.graph.initializer if tensor.name == "kernels")
    array = onnx.numpy_helper.to_array(kernels).copy()
    array[0] *= 1e-9
    kernels.CopyFrom(onnx.numpy_helper.from_array(array, kernels.name))
    quantised = int8_graph(model, pictures)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    scales = [values[node.input[1]] for node in quantised.graph.node if node.op_type == "DequantizeLinear"]
    assert scales and all((scale > 0).all() for scale in scales)
    assert cosines(model, quantised, pictures).mean() > 0.99
    assert built(quantised).precision == "int8"


@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
def test_a_graph_quantised_for_cpus_is_refused(
    activations: str, tiny_bundle: Path, pictures: Photos, tmp_path: Path
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        """One batch."""

        def __init__(self) -> None:
            self.batches = iter([{IMAGES: pictures}])

        def get_next(self) -> dict[str, Photos] | None:
            return next(self.batches, None)

    target = tmp_path / "cpu.onnx"
    kind = getattr(QuantType, activations)
    quantize_static(tiny_bundle / "image" / "encoder.onnx", target, Reader(), activation_type=kind, per_channel=True)
    with pytest.raises(UsageError, match="quantised for CPUs; accepted for TensorRT: symmetric int8, biases in float"):
        check_quantisation(onnx.load(str(target)))
    pytest.importorskip("tensorrt_rtx_bindings")
    from agriclip_edge.runtimes.tensorrt_build import build

    with pytest.raises(
        BundleError, match="a graph quantised for CPUs is not accepted: symmetric int8, biases in float"
    ):
        build(target.read_bytes())


def test_tiny_variants_build(encoder: onnx.ModelProto, pictures: Photos) -> None:
    assert built(fp16_graph(encoder)).precision == "fp16"
    assert built(int8_graph(encoder, pictures)).precision == "int8"


def test_lite0_is_the_same_in_half_and_builds(lite0: onnx.ModelProto) -> None:
    half = fp16_graph(lite0)
    assert cosines(lite0, half, made_photos(4, 224)).min() > 0.9995
    engine = built(half)
    assert engine.precision == "fp16"
    assert engine.layers > 100


def test_lite0_builds_in_int8_with_its_first_convolutions_in_half(lite0: onnx.ModelProto) -> None:
    first = [node.name for node in lite0.graph.node if node.op_type == "Conv"][:3]
    quantised = int8_graph(lite0, made_photos(8, 224), keep_float=first)
    check_quantisation(quantised)
    assert built(quantised).precision == "int8"


def test_tensorrt_takes_no_transpose_of_uint8(lite0: onnx.ModelProto) -> None:
    """Why the cast is moved to the front: without that no graph of ours could be read."""
    assert [node.op_type for node in lite0.graph.node][:2] == ["Transpose", "Cast"]
    assert [node.op_type for node in fp16_graph(lite0).graph.node][:2] == ["Cast", "Transpose"]
    with pytest.raises(BundleError, match=r"cannot read the graph: .*UInt8"):
        built(lite0)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export", "tensorrt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_lint_builds_a_bundles_variants(
    precision: str, tiny_bundle: Path, encoder: onnx.ModelProto, pictures: Photos, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    graph = fp16_graph(encoder) if precision == "fp16" else int8_graph(encoder, pictures)
    result = run("--bundle", with_variant(tiny_bundle, tmp_path / "bundle", graph, precision))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"trt  {precision}  builds with tensorrt")


def test_the_lint_of_a_bundle_without_a_variant_makes_one(tiny_bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    result = run("--bundle", tiny_bundle)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("fp32  fp16  builds with tensorrt")


def test_the_shipped_bundle_builds(default_bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    from export.tensorrt import lint

    assert all("  fp16  builds" in line or "  int8  builds" in line for line in lint(Bundle.open(default_bundle)))


def test_the_lint_refuses_a_graph_of_another_precision(
    tiny_bundle: Path, encoder: onnx.ModelProto, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    from export.tensorrt import lint

    folder = with_variant(tiny_bundle, tmp_path / "bundle", encoder, "fp16")
    with pytest.raises(GateError, match="trt is listed as fp16; its graph computes in fp32"):
        list(lint(Bundle.open(folder)))


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_proved(tiny_bundle: Path, tmp_path: Path) -> None:
    photos = Path(__file__).resolve().parents[1] / "data" / "photos"
    record = tmp_path / "record.json"
    result = run("--bundle", tiny_bundle, "--prove", "--photos", photos, "--record", record)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert "no CUDA device" in line or "cuda-python is not installed" in line
    assert not record.exists()


def test_proving_needs_photos_and_a_record(tiny_bundle: Path) -> None:
    result = run("--bundle", tiny_bundle, "--prove")
    assert result.returncode == 2
    assert result.stderr == "error: --prove, --photos and --record go together; accepted: all of them, or none\n"
