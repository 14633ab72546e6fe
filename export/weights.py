"""Smaller weights inside a float32 graph: stored as float16 or as INT8 by row, computed with in float32.

Both put a `Cast` (and a `Mul` by the row's scale) behind the stored weight. ONNX Runtime folds these when it creates a
session, so that the graph then runs as fast as with float32 weights; rows of tables are widened as they are gathered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_SMALLEST = 1024  # values; below this a weight is not worth a node
_LEVELS = 127  # INT8, symmetric: -127 to 127

Array = npt.NDArray[np.generic]


def store_half(model: onnx.ModelProto) -> None:
    """Store large float32 weights as float16; changes the graph in place."""
    _replace(model, _half)


def store_int8(model: onnx.ModelProto) -> None:
    """Store weights of `MatMul` and tables of `Gather` as INT8 with one scale a row; changes the graph in place.

    A row is what one output value, or one word, is made from: the weights are symmetric (zero stays zero) and each
    row uses the whole range (Jacob et al. 2018, section 2.1, with zero point 0).
    """
    _replace(model, _int8)


def _replace(model: onnx.ModelProto, rewrite: Callable[[str, Array, onnx.NodeProto], _Rewritten | None]) -> None:
    """Replace each large weight that one node uses by what ``rewrite`` makes of it."""
    graph = model.graph
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    before: list[onnx.NodeProto] = []  # nodes on weights alone: they may stand first
    kept: list[TensorProto] = []
    behind: dict[str, list[onnx.NodeProto]] = {}  # nodes that must follow the one that made this value
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        using = users.get(tensor.name, [])
        large = array.dtype == np.float32 and array.size >= _SMALLEST
        rewritten = rewrite(tensor.name, array, using[0]) if large and len(using) == 1 else None
        if rewritten is None:
            kept.append(tensor)
            continue
        kept += [numpy_helper.from_array(value, name) for name, value in rewritten.weights.items()]
        before += rewritten.before
        if rewritten.behind:
            behind[using[0].output[0]] = rewritten.behind
    nodes = before + [new for node in graph.node for new in (node, *behind.get(node.output[0], []))]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(_sorted(nodes, {tensor.name for tensor in kept} | {value.name for value in graph.input}))


class _Rewritten:
    """What takes the place of one weight."""

    def __init__(
        self, weights: dict[str, Array], before: list[onnx.NodeProto], behind: list[onnx.NodeProto] | None = None
    ) -> None:
        self.weights = weights
        self.before = before
        self.behind = behind or []


def _half(name: str, array: Array, user: onnx.NodeProto) -> _Rewritten:
    stored = f"{name}_half"
    return _Rewritten({stored: array.astype(np.float16)}, [_cast(stored, name)])


def _int8(name: str, array: Array, user: onnx.NodeProto) -> _Rewritten | None:
    stored, scale = f"{name}_int8", f"{name}_scale"
    if user.op_type == "MatMul" and array.ndim == 2 and user.input[1] == name:
        levels, scales = quantise_rows(array, axis=0)  # (in, out): a column makes one output value
        wide = helper.make_node("Mul", [f"{name}_wide", scale], [name])
        return _Rewritten({stored: levels, scale: scales}, [_cast(stored, f"{name}_wide"), wide])
    if user.op_type == "Gather" and array.ndim == 2 and user.input[0] == name and not user.attribute:
        levels, scales = quantise_rows(array, axis=1)  # (words, D)
        result = user.output[0]
        taken, factor = f"{result}_int8", f"{result}_scale"
        user.input[0], user.output[0] = stored, taken
        behind = [
            helper.make_node("Gather", [scale, user.input[1]], [factor]),
            _cast(taken, f"{result}_wide"),
            helper.make_node("Mul", [f"{result}_wide", factor], [result]),
        ]
        return _Rewritten({stored: levels, scale: scales}, behind)
    return None


def quantise_rows(array: Array, axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """INT8 levels of the same shape, and the scales, of size 1 along ``axis``: levels * scales is about ``array``."""
    largest = np.abs(array.astype(np.float32)).max(axis=axis, keepdims=True)
    scales = (np.where(largest > 0, largest, 1) / _LEVELS).astype(np.float32)
    return np.rint(array.astype(np.float32) / scales).astype(np.int8), scales


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT)


def _sorted(nodes: list[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """The nodes in an order in which each follows those whose results it takes; else as they were."""
    ready, waiting = set(known) | {""}, list(nodes)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready for name in node.input):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError(f"the graph has a cycle or lacks a weight before {later[0].name!r}")
        waiting = later
    return ordered
