"""Smaller weights inside a float32 graph: stored as float16 or as INT8 by row, computed with in float32.

Both put a `Cast` (and a `Mul` by the row's scale) behind the stored weight. ONNX Runtime folds these when it creates a
session, so that the graph then runs as fast as with float32 weights; rows of tables are widened as they are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALLEST = 1024  # values; below this a weight is not worth a node
_LEVELS = 127  # INT8, symmetric: -127 to 127

Array = npt.NDArray[np.generic]


def store_half(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16; changes the graph in place."""
    for tensor, array in _large(model.graph):
        stored = f"{tensor.name}_half"
        model.graph.node.insert(0, _cast(stored, tensor.name))
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), stored))


def store_int8(model: onnx.ModelProto) -> None:
    """Store weights of `MatMul` and tables of `Gather` as INT8 with one scale a row; changes the graph in place.

    A row is what one output value, or one word, is made from. The levels are symmetric, so that zero stays zero, and
    each row uses all of them (Jacob et al. 2018, section 2.1, with zero point 0).
    """
    graph = model.graph
    for tensor, array in _large(graph):
        users = [node for node in graph.node if tensor.name in node.input]
        if array.ndim != 2:
            continue
        if all(node.op_type == "MatMul" and node.input[1] == tensor.name for node in users):
            name, wide = tensor.name, f"{tensor.name}_wide"
            scale = _store_rows(graph, tensor, array, axis=0)  # (in, out): a column makes one output value
            graph.node.insert(0, helper.make_node("Mul", [wide, scale], [name]))
            graph.node.insert(0, _cast(tensor.name, wide))
        elif all(node.op_type == "Gather" and node.input[0] == tensor.name and _by_rows(node) for node in users):
            scale = _store_rows(graph, tensor, array, axis=1)  # (words, D)
            for node in users:
                _widen_gathered(graph, node, tensor.name, scale)


def _by_rows(node: onnx.NodeProto) -> bool:
    return all(attribute.name == "axis" and attribute.i == 0 for attribute in node.attribute)


def quantise_rows(array: Array, axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """INT8 levels of the same shape, and the scales, of size 1 along ``axis``: levels * scales is about ``array``."""
    largest = np.abs(array.astype(np.float32)).max(axis=axis, keepdims=True)
    scales = (np.where(largest > 0, largest, 1) / _LEVELS).astype(np.float32)
    return np.rint(array.astype(np.float32) / scales).astype(np.int8), scales


def _large(graph: onnx.GraphProto) -> Iterator[tuple[TensorProto, Array]]:
    """The weights that are worth storing otherwise."""
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _SMALLEST:
            yield tensor, numpy_helper.to_array(tensor)


def _store_rows(graph: onnx.GraphProto, tensor: TensorProto, array: Array, axis: int) -> str:
    """Put levels in the place of a weight, add its scales and return their name."""
    levels, scales = quantise_rows(array, axis)
    scale = f"{tensor.name}_scale"
    graph.initializer.append(numpy_helper.from_array(scales, scale))
    tensor.CopyFrom(numpy_helper.from_array(levels, f"{tensor.name}_int8"))
    return scale


def _widen_gathered(graph: onnx.GraphProto, node: onnx.NodeProto, levels: str, scale: str) -> None:
    """Let a `Gather` take INT8 rows, and multiply what it took by the scales of the same rows."""
    result, position = node.output[0], list(graph.node).index(node)
    taken, wide, factor = f"{result}_int8", f"{result}_wide", f"{result}_scale"
    node.input[0], node.output[0] = levels, taken
    graph.node.insert(position + 1, helper.make_node("Mul", [wide, factor], [result]))
    graph.node.insert(position + 1, helper.make_node("Gather", [scale, node.input[1]], [factor]))
    graph.node.insert(position + 1, _cast(taken, wide))


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT)
