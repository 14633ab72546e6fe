"""INT8 products of a text encoder: SmoothQuant (Xiao et al. 2023) and static ranges.

A few channels of a transformer's activations are ten times as large as the others, so that one scale a tensor rounds
the others away. Smoothing moves a part of this to the weights, which have a scale for each output. Where an activation
function comes before (the products that narrow again), too much is left of it: those stay in float.

Measured with MiniLM on labels and statements that calibrated nothing, beside the graph whose weights alone are INT8
(cosine of the text vectors, mean and least): dynamic ranges without smoothing .9946 and .9877, static ones with it for
all products .9983 and .9963, without those that narrow .9996 and .9984, in which it takes half of the time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, ValueInfoProto, helper, numpy_helper

from .parity import open_session
from .quantise import Feeds, QuantiseConfig, quantise

_MOVED = 0.7  # the exponent alpha of SmoothQuant; .5 and .8 are no better
_LEAST = 1e-5  # a channel may be dead
_FIRST = 3  # what the products of the first layer read: words, attention's result, and what narrows again later

Weight = npt.NDArray[np.float32]  # (in, out)


def round_products(graph: bytes, feeds: Feeds) -> bytes:
    """Let a transformer compute the products of its layers in INT8, but for those that narrow.

    Args:
        graph: an ONNX graph with float32 weights.
        feeds: inputs to calibrate on, a run each.

    Returns:
        the graph in QDQ form: same inputs and outputs, same bytes for the same arguments; as it was when it has no
        such products.
    """
    model = onnx.load_from_string(graph)
    products = _products(model)
    if not products:
        return graph
    largest = _largest(graph, list(products), feeds)
    for number, (read, readers) in enumerate(products.items()):
        _smooth(model, f"smooth_{number}", read, readers, largest[read])
    scopes = tuple(node.name for readers in products.values() for node in readers)
    config = QuantiseConfig(float_convolutions=0, bias_correction=False, scopes=scopes, float_outputs=True)
    return quantise(model.SerializeToString(), feeds, config)


def _products(model: onnx.ModelProto) -> dict[str, list[NodeProto]]:
    """The products with weights inside the layers, but for those in float, by the name of what they read."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    needed = {name for node in model.graph.node if node.op_type == "LayerNormalization" for name in node.input}
    found: dict[str, list[NodeProto]] = {}
    for node in reversed(model.graph.node):  # sorted: whatever reads a node comes after it
        if needed.isdisjoint(node.output):
            continue
        needed.update(node.input)
        if node.op_type == "MatMul" and len(shape := weights.get(node.input[1], ())) == 2 and shape[0] <= shape[1]:
            found.setdefault(node.input[0], []).append(node)
    return dict(list(reversed(found.items()))[_FIRST:])


def _largest(graph: bytes, names: list[str], feeds: Feeds) -> dict[str, npt.NDArray[np.float32]]:
    """The largest absolute value of each channel of activations (N, T, C), by name: float32 (C,)."""
    model = onnx.load_from_string(graph)
    model.graph.output.extend(ValueInfoProto(name=name) for name in names)
    session = open_session(model.SerializeToString(), 1)
    largest: dict[str, npt.NDArray[np.float32]] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(names, dict(feed))):
            here = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, here), here)
    return largest


def _smooth(
    model: onnx.ModelProto, name: str, read: str, readers: list[NodeProto], largest: npt.NDArray[np.float32]
) -> None:
    """Divide what products read by a factor for each channel, and multiply their weights by it."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = {node.input[1]: numpy_helper.to_array(tensors[node.input[1]]) for node in readers}
    strongest = np.max([np.abs(weight).max(axis=1) for weight in weights.values()], axis=0)
    factors = np.maximum(largest, _LEAST) ** _MOVED / np.maximum(strongest, _LEAST) ** (1 - _MOVED)
    factors = (factors / np.median(factors)).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(1 / factors, name))
    for weight, array in weights.items():
        tensors[weight].CopyFrom(numpy_helper.from_array(array * factors[:, np.newaxis], weight))
    first = min(place for place, node in enumerate(graph.node) if any(node is reader for reader in readers))
    for node in readers:
        node.input[0] = f"{name}_read"
    graph.node.insert(first, helper.make_node("Mul", [read, name], [f"{name}_read"], name=name))
