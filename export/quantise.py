"""Static INT8 of an image encoder: QDQ nodes, a scale for each output channel, calibrated on real photos.

What was measured with EfficientNet-Lite0 (cosine of the embedding to float32, mean and least): one scale a tensor .899
and .527, one a channel .992 and .947, with the first convolutions in float .999 and .994, with corrected biases .9995
and .998. The first convolutions' inputs are few channels of raw pixels, whose range one scale cannot serve; 5 or 9 of
them in float make little difference (over training photos that calibrated nothing .99950 and .99952). `blame` names
the layers when a graph does not pass its gate.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization import qdq_loss_debug as debug
from onnxruntime.quantization.shape_inference import quant_pre_process

from agriclip_edge.runtimes import available_cores

from .graphs import IMAGES
from .parity import open_session

Photos = npt.NDArray[np.uint8]  # (N, S, S, 3)
Feeds = Sequence[Mapping[str, npt.NDArray[Any]]]  # inputs by name, a run each, for graphs that take no photos
Values = npt.NDArray[np.float32]
_BATCH = 16  # photos a calibration step
_PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class QuantiseConfig:
    """How an encoder is quantised; the defaults are for x86 and for ARM under ONNX Runtime and OpenVINO.

    Attributes:
        float_convolutions: how many of the first convolutions stay in float.
        symmetric: S8S8 with zero points of 0 and float biases, as TensorRT wants it; else U8S8.
        per_channel: one weight scale for each output channel; a tensor's single scale loses too much.
        bias_correction: take the mean error of the rounded weights from the biases of the convolutions.
        scopes: beginnings of the names of the only nodes that are rounded; none lets all be.
        float_scopes: beginnings of the names of nodes of which the products alone are rounded.
        float_outputs: of products: what they read is rounded, and not what they give.
    """

    float_convolutions: int = 5
    symmetric: bool = False
    per_channel: bool = True
    bias_correction: bool = True
    scopes: tuple[str, ...] = ()
    float_scopes: tuple[str, ...] = ("/texture",)  # a spread is a small difference of large numbers
    float_outputs: bool = False


def quantise(
    graph: bytes,
    photos: Photos | Feeds,
    config: QuantiseConfig,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> bytes:
    """Quantise a float32 graph.

    Args:
        graph: an ONNX graph with float32 weights and the input ``images``, or the inputs of the feeds.
        photos: to calibrate on, uint8 (N, S, S, 3), preprocessed as at run time; or feeds.
        config: how.
        ranges: least and greatest value of activations by name, where they are not to be those of the photos.

    Returns:
        the graph in QDQ form: same inputs and outputs, same bytes for the same arguments.
    """
    options: dict[str, Any] = {}
    if config.symmetric:
        options = {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
        }
    if config.float_outputs:
        options["OpTypesToExcludeOutputQuantization"] = list(_PRODUCTS)
    if ranges:
        options["TensorQuantOverrides"] = {
            name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()
        }
    with workspace(graph) as folder:
        prepared = folder / "prepared.onnx"
        model = onnx.load(prepared)
        kept = convolutions(model)[: config.float_convolutions]
        if config.scopes:
            kept += [node.name for node in model.graph.node if not node.name.startswith(config.scopes)]
        else:
            kept += float_nodes(model, config.float_scopes)
        if config.bias_correction:
            onnx.save(correct_bias(model, photos, kept, per_channel=config.per_channel), prepared)
        quantize_static(
            str(prepared),
            str(folder / "quantised.onnx"),
            Reader(photos),
            quant_format=QuantFormat.QDQ,
            per_channel=config.per_channel,
            activation_type=QuantType.QInt8 if config.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=kept,
            extra_options=options,
        )
        return (folder / "quantised.onnx").read_bytes()


def correct_bias(
    model: onnx.ModelProto, photos: Photos | Feeds, keep_float: Collection[str], *, per_channel: bool = True
) -> onnx.ModelProto:
    """Bias correction (Nagel et al. 2019, section 4.2): take from each bias the mean error of the rounded weights.

    Args:
        model: with float32 weights.
        photos: give the mean inputs of each convolution, uint8 (N, S, S, 3); or feeds.
        keep_float: names of convolutions that are not rounded.
        per_channel: as in `QuantiseConfig`.

    Returns:
        the same graph with other biases; a convolution that had none gets one.
    """
    corrected, probe = onnx.ModelProto(), onnx.ModelProto()
    corrected.CopyFrom(model)
    probe.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    convolved = {node.name: node for node in corrected.graph.node if node.op_type == "Conv"}
    asked = [name for name in convolved if name not in keep_float and convolved[name].input[1] in weights]
    for name in asked:
        node = convolved[name]
        array = numpy_helper.to_array(weights[node.input[1]])
        axes = tuple(range(1 if per_channel else 0, array.ndim))
        scale = np.maximum(np.abs(array).max(axis=axes, keepdims=True), 1e-12) / 127  # a channel may be dead
        error = (np.rint(array / scale) * scale - array).astype(np.float32)
        probe.graph.initializer.append(numpy_helper.from_array(error, f"{name}_error"))
        parallel = NodeProto()
        parallel.CopyFrom(node)
        del parallel.input[:], parallel.output[:]
        parallel.name, parallel.input[:], parallel.output[:] = "", [node.input[0], f"{name}_error"], [f"{name}_lost"]
        probe.graph.node.append(parallel)
    lost = [f"{name}_lost" for name in asked]
    sums = {name: np.zeros(1, np.float64) for name in lost}
    runs = 0
    for values in inner_values(probe, lost, photos):
        runs += len(next(iter(values.values()), ()))
        for name, array in values.items():
            sums[name] = sums[name] + array.mean(axis=tuple(range(2, array.ndim)), dtype=np.float64).sum(axis=0)
    tensors = {tensor.name: tensor for tensor in corrected.graph.initializer}
    for name in asked:
        node, bias = convolved[name], f"{name}_bias"
        before = numpy_helper.to_array(tensors[node.input[2]]) if len(node.input) > 2 else 0
        after = (before - sums[f"{name}_lost"] / runs).astype(np.float32)
        corrected.graph.initializer.append(numpy_helper.from_array(after, bias))
        node.input[:] = [*node.input[:2], bias]
    return corrected


def inner_values(
    model: onnx.ModelProto, names: Sequence[str], photos: Photos | Feeds
) -> Iterator[Mapping[str, Values]]:
    """Values of a graph's inner tensors by name, for some photos, or one feed, at a time."""
    widened = onnx.ModelProto()
    widened.CopyFrom(model)
    widened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(widened.SerializeToString(), available_cores())
    for feed in _feeds(photos):
        yield dict(zip(names, session.run(names, dict(feed))))


def _feeds(photos: Photos | Feeds) -> Feeds:
    """Photos as feeds of some at a time; feeds as they are."""
    if not isinstance(photos, np.ndarray):
        return photos
    return [{IMAGES: photos[start : start + _BATCH]} for start in range(0, len(photos), _BATCH)]


def blame(graph: bytes, quantised: bytes, photos: Photos, worst: int = 5) -> list[tuple[str, float]]:
    """The layers whose own quantisation loses most.

    Each activation of the float graph is rounded by the scale that the quantised graph has for it, so that a layer
    answers for itself and not for those before it.

    Args:
        graph: in float32.
        quantised: what was made of it, in QDQ form.
        photos: some photos, uint8 (N, S, S, 3).
        worst: how many layers to name.

    Returns:
        names of activations with the signal-to-noise ratio of their quantisation in dB, the worst first.
    """
    scales = dict(activation_scales(onnx.load_from_string(quantised)))
    with workspace(graph) as folder:
        widened = str(folder / "widened.onnx")
        debug.modify_model_output_intermediate_tensors(str(folder / "prepared.onnx"), widened)
        seen = debug.collect_activations(widened, Reader(photos))
    ratios = [(name, _signal_to_noise(np.concatenate(seen[name]), *scales[name])) for name in scales if name in seen]
    return sorted(ratios, key=lambda pair: pair[1])[:worst]


def activation_scales(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[float, int, int, int]]]:
    """Scale, zero point, least and greatest level of every activation that a graph rounds, by the tensor's name."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (onnx.numpy_helper.to_array(values[name]) for name in node.input[1:3])
            if scale.ndim == 0:  # weights have a scale for each channel
                bounds = np.iinfo(zero.dtype)
                yield node.input[0], (float(scale), int(zero), int(bounds.min), int(bounds.max))


def _signal_to_noise(values: npt.NDArray[np.float32], scale: float, zero: int, low: int, high: int) -> float:
    levels = np.clip(np.rint(values / scale) + zero, low, high)
    noise = float(np.linalg.norm((levels - zero) * scale - values))
    return 20 * float(np.log10(max(float(np.linalg.norm(values)), 1e-12) / max(noise, 1e-12)))


class Reader(CalibrationDataReader):
    """Hands photos or feeds to the calibrator, some at a time."""

    def __init__(self, photos: Photos | Feeds) -> None:
        self._feeds = iter(_feeds(photos))

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """The next inputs by name, or None."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def workspace(graph: bytes) -> Iterator[Path]:
    """A temporary folder with the graph prepared as the quantiser wants it (``prepared.onnx``)."""
    logging.getLogger().addFilter(_quiet)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "float.onnx").write_bytes(graph)
        quant_pre_process(
            str(folder / "float.onnx"),
            str(folder / "prepared.onnx"),
            skip_symbolic_shape=True,
        )
        try:
            yield folder
        finally:
            logging.getLogger().removeFilter(_quiet)


def _quiet(record: logging.LogRecord) -> bool:
    """Leave out the quantiser's advice to run the preparation that has been run."""
    return "pre-process" not in record.getMessage().lower()


def float_nodes(model: onnx.ModelProto, scopes: tuple[str, ...] = ()) -> list[str]:
    """Names of what stays in float: what follows a graph's products, and nodes in scopes that are no products.

    The first bring vectors to length 1, and rounded they would not be.
    """
    needed = {name for node in model.graph.node if node.op_type in _PRODUCTS for name in node.input}
    for node in reversed(model.graph.node):  # sorted: whatever reads a node comes after it
        if needed.intersection(node.output):
            needed.update(node.input)
    return [
        node.name
        for node in model.graph.node
        if node.op_type not in _PRODUCTS and (node.name.startswith(scopes) or not needed.intersection(node.output))
    ]


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of a graph's convolutions, in their order."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"]
