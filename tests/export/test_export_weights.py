from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import parser

from export.graphs import graph_bytes
from export.parity import run_graph
from export.weights import quantise_rows, store_half, store_int8

GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
words (int64[N, T] ids) => (float[N, 24] out) {
    rows = Gather (table, ids)
    sums = ReduceSum <keepdims = 0> (rows, axis)
    hidden = MatMul (sums, weight)
    biased = Add (hidden, bias)
    active = Relu (biased)
    out = MatMul (active, last)
}
"""


def small_graph() -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    model = parser.parse_model(GRAPH)
    weights = {
        "table": generator.standard_normal((80, 32)),
        "weight": generator.standard_normal((32, 48)) * np.logspace(-3, 3, 48),  # columns of very different size
        "bias": generator.standard_normal(48),
        "last": generator.standard_normal((48, 24)),
    }
    arrays = {name: value.astype(np.float32) for name, value in weights.items()}
    return onnx.load_from_string(graph_bytes(model, {**arrays, "axis": np.array([1])}, {}))


IDS = {"ids": np.arange(40).reshape(8, 5) * 2 % 80}


@pytest.mark.parametrize(("store", "error", "ratio"), [(store_half, 2e-3, 0.6), (store_int8, 2e-2, 0.45)])
def test_smaller_weights_give_nearly_the_same_output(
    store: Callable[[onnx.ModelProto], None], error: float, ratio: float
) -> None:
    model = small_graph()
    before = graph_bytes(model, {}, {})
    store(model)
    after = graph_bytes(model, {}, {})
    assert len(after) < ratio * len(before)
    expected, found = run_graph(before, IDS), run_graph(after, IDS)
    assert np.abs(found - expected).max() < error * np.abs(expected).max()
    assert not np.array_equal(found, expected)


def test_small_weights_and_weights_of_other_nodes_stay_as_they_are() -> None:
    model = small_graph()
    model.graph.node[2].input[:] = ["weight", "last"]  # as the first factor
    store_int8(model)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["weight"] == types["bias"] == onnx.TensorProto.FLOAT
    assert types["table_int8"] == types["last_int8"] == onnx.TensorProto.INT8


def test_every_row_uses_the_whole_range() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 7)) * np.array([[1e-4], [1], [1e4], [0], [3]])
    levels, scales = quantise_rows(weights, axis=1)
    assert levels.dtype == np.int8 and scales.shape == (5, 1)
    assert np.abs(levels).max(axis=1).tolist() == [127, 127, 127, 0, 127]
    assert np.abs(levels * scales - weights).max(axis=1).tolist() <= (0.501 * scales[:, 0]).tolist()
