"""Ways to make INT8 nearer to float32 that a study tries and the export does without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, numpy_helper

from export.quantise import activation_scales, inner_values

Photos = npt.NDArray[np.uint8]  # (N, S, S, 3)
Values = npt.NDArray[np.float32]

_CEILING = 6.0  # of ReLU6
_ROOM = 0.8  # of the ceiling that the photos' largest values may take after scaling
_MOST = 8.0  # times that a channel is scaled up
_BINS = 4096


def equalise(graph: bytes, photos: Photos, *, depthwise_only: bool) -> bytes:
    """Cross-layer equalisation under ReLU6 (Nagel et al. 2019, section 4.1).

    A channel between two convolutions is scaled up before its activation and down behind it, as far as ReLU6 lets it
    pass: channels of small values then use more of the tensor's one scale.

    Args:
        graph: in float32.
        photos: say how large each channel becomes.
        depthwise_only: only where the second convolution has a scale for each of its inputs, which costs nothing.
    """
    model = onnx.load_from_string(graph)
    pairs = list(_pairs(model, depthwise_only))
    largest: dict[str, Values] = {}
    for values in inner_values(model, [clip for _, clip, _ in pairs], photos):
        for name, array in values.items():
            found = array.max(axis=(0, 2, 3))
            largest[name] = np.maximum(largest.get(name, found), found)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for first, clip, second in pairs:
        scale = np.clip(_ROOM * _CEILING / np.maximum(largest[clip], 1e-6), 1, _MOST).astype(np.float32)
        _scale(weights[first.input[1]], scale[:, None, None, None])
        _scale(weights[first.input[2]], scale)
        _scale(
            weights[second.input[1]], 1 / (scale[:, None, None, None] if _group(second) > 1 else scale[:, None, None])
        )
    return bytes(model.SerializeToString())


def layer_ranges(
    graph: bytes, quantised: bytes, photos: Photos, percentiles: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """Ranges of activations that leave out their rarest values.

    Args:
        graph: in float32.
        quantised: the same graph with ranges that leave out nothing.
        photos: give the values.
        percentiles: of the values that stay inside, in per cent; of several, each layer takes the one that loses
            least when rounded to 256 levels.
    """
    bounds = {
        name: ((low - zero) * scale, (high - zero) * scale)
        for name, (scale, zero, low, high) in activation_scales(onnx.load_from_string(quantised))
    }
    model = onnx.load_from_string(graph)
    made = {name for node in model.graph.node for name in node.output}
    bounds = {name: bound for name, bound in bounds.items() if name in made}
    counts = {name: np.zeros(_BINS) for name in bounds}
    for values in inner_values(model, list(bounds), photos):
        for name, array in values.items():
            counts[name] += np.histogram(array, bins=_BINS, range=bounds[name])[0]
    return {name: _least_error(counts[name], *bounds[name], percentiles) for name in bounds}


def _least_error(
    counts: npt.NDArray[np.float64], low: float, high: float, percentiles: Sequence[float]
) -> tuple[float, float]:
    centres = low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS
    share = counts.cumsum() / max(counts.sum(), 1)
    best, least = (low, high), np.inf
    for percentile in percentiles:
        tail = (100 - percentile) / 100 / 2
        first, last = int(np.searchsorted(share, tail)), min(int(np.searchsorted(share, 1 - tail)), _BINS - 1)
        # Zero stays inside: padding and ReLU6's floor must be exact.
        bottom = min(float(centres[first]) if tail else low, 0.0)
        top = max(float(centres[last]) if tail else high, 0.0)
        step = (top - bottom) / 255
        if step <= 0:
            continue
        rounded = np.clip(np.rint((centres - bottom) / step), 0, 255) * step + bottom
        error = float((counts * (rounded - centres) ** 2).sum())
        if error < least:
            best, least = (bottom, top), error
    return best


def _pairs(model: onnx.ModelProto, depthwise_only: bool) -> Iterator[tuple[NodeProto, str, NodeProto]]:
    """Convolutions with ReLU6 and nothing else between them, and the name of the tensor between."""
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in model.graph.node:
        behind = users.get(node.output[0], [])
        if node.op_type != "Conv" or [n.op_type for n in behind] != ["Clip"]:
            continue
        after = users.get(behind[0].output[0], [])
        if [n.op_type for n in after] == ["Conv"] and (_group(after[0]) > 1 or not depthwise_only):
            yield node, behind[0].output[0], after[0]


def _group(node: NodeProto) -> int:
    return int(next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1))


def _scale(tensor: onnx.TensorProto, factor: npt.NDArray[np.floating[Any]]) -> None:
    tensor.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), tensor.name))
