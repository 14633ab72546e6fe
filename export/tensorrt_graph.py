"""Graphs as TensorRT wants them: every tensor's type is in the file, so that one build gives one arithmetic.

TensorRT 11 and TensorRT-RTX take precision from the graph alone (strong typing; the flags that let a builder choose are
gone), and TensorRT 10 does so when asked. So the precision of an engine is made here, where ONNX Runtime can measure
what it costs, and not by a builder on a device:

- uint8 photos are cast before anything else, since TensorRT lets uint8 be cast and nothing more;
- the encoder computes in float16, what follows its last product (the L2 normalisation) in float32;
- INT8 is explicit: symmetric int8 for activations and weights, biases in floating point.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference, version_converter

from agriclip_edge.errors import UsageError

from .graphs import IMAGES

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}  # inputs (regions, scales) whose type does not follow the data's
_HALF_SCALES_OPSET = 19  # from here on QuantizeLinear takes float16
_LARGEST_HALF = 65504.0
_SMALLEST_HALF = 2.0**-24  # a scale must not become 0; a channel whose weights are that small is as good as dead
_CALIBRATION_BATCH = 8


def fp16_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 image encoder that computes in float16; its doors stay uint8 and float32.

    Args:
        model: uint8 (N, S, S, 3) to unit float32 (N, D); weights may be stored as float16 with a `Cast` behind.

    Raises:
        UsageError: a weight is beyond float16's range, or the graph holds no product.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    _cast_first(half.graph)
    if any(node.op_type in _QUANTISERS for node in half.graph.node):
        half = version_converter.convert_version(half, max(_HALF_SCALES_OPSET, half.opset_import[0].version))
    _to_half(half)
    return half


def int8_graph(
    model: onnx.ModelProto, photos: npt.NDArray[np.uint8], *, keep_float: Sequence[str] = ()
) -> onnx.ModelProto:
    """A float32 image encoder with explicit INT8 quantisation for TensorRT; the rest computes in float16.

    Args:
        model: as for `fp16_graph`, with weights stored as float32.
        photos: uint8 (N, S, S, 3), preprocessed calibration photos.
        keep_float: names of nodes that are left in float16: the layers that a sensitivity ranking found to cost most.

    Raises:
        UsageError: as `fp16_graph`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Photos(CalibrationDataReader):
        """The calibration photos in batches."""

        def __init__(self) -> None:
            starts = range(0, len(photos), _CALIBRATION_BATCH)
            self._batches = iter([{IMAGES: photos[start : start + _CALIBRATION_BATCH]} for start in starts])

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            return next(self._batches, None)

    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _cast_first(plain.graph)
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "int8.onnx")
        quantize_static(
            plain,
            target,
            Photos(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_exclude=list(keep_float),
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # Rounded where the next product takes it, behind ReLU6: before that its range is many times as wide.
                "OpTypesToExcludeOutputQuantization": list(_PRODUCTS),
            },
        )
        return fp16_graph(onnx.load(target))


def check_quantisation(model: onnx.ModelProto) -> None:
    """Refuse a graph that was quantised for CPUs, in words that say what TensorRT takes.

    Raises:
        UsageError: unsigned activations, zero points other than 0, or quantised biases.
    """
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _QUANTISERS:
            continue
        source, zero = values.get(node.input[0]), values.get(node.input[2]) if len(node.input) > 2 else None
        found = None
        if source is not None and source.data_type == TensorProto.INT32:
            found = "a bias quantised to int32"
        elif zero is not None and zero.data_type == TensorProto.UINT8:
            found = "unsigned activations (uint8)"
        elif zero is not None and numpy_helper.to_array(zero).any():
            found = "a zero point other than 0"
        if found is not None:
            message = f"{node.name or node.output[0]} has {found}: the graph was quantised for CPUs"
            raise UsageError(f"{message}; accepted for TensorRT: symmetric int8, biases in floating point")


def _cast_first(graph: onnx.GraphProto) -> None:
    """Exchange a `Transpose` of uint8 photos and the `Cast` behind it."""
    photos = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in graph.node:
        behind = users.get(node.output[0], [])
        if node.op_type != "Transpose" or node.input[0] not in photos or [n.op_type for n in behind] != ["Cast"]:
            continue
        between, result = node.output[0], behind[0].output[0]
        transpose = NodeProto()
        transpose.CopyFrom(node)
        node.CopyFrom(behind[0])
        behind[0].CopyFrom(transpose)
        node.input[0], node.output[0] = transpose.input[0], between
        behind[0].input[0], behind[0].output[0] = between, result
        del graph.value_info[:]  # the types between them are no longer those


def _to_half(model: onnx.ModelProto) -> None:
    """Make everything up to the last product float16 and cast what the rest takes from there to float32."""
    graph = model.graph
    floats = _float32_values(model)
    nodes = list(graph.node)
    products = [place for place, node in enumerate(nodes) if node.op_type in _PRODUCTS]
    if not products:
        raise UsageError(f"the graph holds none of {', '.join(_PRODUCTS)}; accepted: an image encoder")
    body, tail = nodes[: products[-1] + 1], nodes[products[-1] + 1 :]
    made = {name for node in body for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    halved: dict[str, TensorProto] = {}
    for node in body:
        for place, name in enumerate(node.input):
            if name in weights and name in floats and place not in _ALWAYS_FLOAT32.get(node.op_type, ()):
                least = _SMALLEST_HALF if node.op_type in _QUANTISERS and place == 1 else -np.inf
                halved.setdefault(name, _half(weights[name], f"{name}_half", least))
                node.input[place] = f"{name}_half"
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))
    seams: dict[str, NodeProto] = {}
    for node in tail:
        for place, name in enumerate(node.input):
            if name in made and name in floats:
                seams.setdefault(name, helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
                node.input[place] = f"{name}_float"
    used = {name for node in (*body, *tail) for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend([*body, *seams.values(), *tail])
    graph.initializer.extend([*kept, *halved.values()])


def _float32_values(model: onnx.ModelProto) -> set[str]:
    """Names of all tensors of type float32."""
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _half(tensor: TensorProto, name: str, least: float = -np.inf) -> TensorProto:
    array = numpy_helper.to_array(tensor)
    largest = float(np.abs(array).max(initial=0))
    if not largest <= _LARGEST_HALF:
        raise UsageError(f"{tensor.name} holds {largest:g}; accepted for float16: at most {_LARGEST_HALF:g}")
    return numpy_helper.from_array(np.maximum(array, least).astype(np.float16), name)
