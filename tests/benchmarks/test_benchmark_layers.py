"""Multiplications are counted by hand for a small graph, and the profile shares out a real run's time."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.int8_peak import product_graph
from benchmarks.layers import Layer, count_macs, layer_of, profile, share_out

SIZE = 16


def small_graph() -> bytes:
    """uint8 (N, 16, 16, 3) through a 3×3 convolution to 8, a depthwise one, a pointwise one to 4, and a product."""
    weights = {
        "w1": np.ones((8, 3, 3, 3), np.float32),
        "w2": np.ones((8, 1, 3, 3), np.float32),
        "w3": np.ones((4, 8, 1, 1), np.float32),
        "w4": np.ones((4 * SIZE * SIZE, 5), np.float32),
    }
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["a"], name="stem", **same),
        helper.make_node("Conv", ["a", "w2"], ["b"], name="dw", group=8, **same),
        helper.make_node("Conv", ["b", "w3"], ["c"], name="pw"),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "w4"], ["embeddings"], name="head"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])
    embeddings = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", 5])
    initialisers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", [images], [embeddings], initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


EXPECTED = {
    "stem": Layer("convolution 3×3", SIZE * SIZE * 8 * 27),
    "dw": Layer("depthwise 3×3", SIZE * SIZE * 8 * 9),
    "pw": Layer("pointwise 1×1", SIZE * SIZE * 4 * 8),
    "head": Layer("product of matrices", 4 * SIZE * SIZE * 5),
}


def test_macs_of_a_graph_are_those_counted_by_hand() -> None:
    assert count_macs(small_graph()) == EXPECTED


def test_the_large_product_has_its_multiplications() -> None:
    [layer] = count_macs(product_graph(64)).values()
    assert layer == Layer("product of matrices", 64**3)


def test_the_profile_finds_every_layer_and_its_time() -> None:
    shares = profile(small_graph(), SIZE, threads=1, runs=3)
    found = {share.kind.split(" (")[0]: share for share in shares}
    for layer in EXPECTED.values():
        assert found[layer.kind].nodes == 1
        assert found[layer.kind].macs >= layer.macs  # channels are padded to whole registers
    assert all(share.milliseconds >= 0 for share in shares)
    assert [share.milliseconds for share in shares] == sorted((share.milliseconds for share in shares), reverse=True)


def test_a_quantised_convolution_is_known_by_its_tensors() -> None:
    scale: list[int] = []
    inputs = [[1, 8, 4, 4], scale, scale, [16, 8, 1, 1], [16], [16], scale, scale]
    assert layer_of("QLinearConv", inputs, [1, 16, 4, 4]) == Layer("pointwise 1×1", 4 * 4 * 16 * 8)


def test_a_sum_joined_to_a_convolution_is_not_taken_for_its_weights() -> None:
    assert layer_of("Conv", [[1, 8, 4, 4], [8, 8, 1, 1], [8], [1, 8, 4, 4]], [1, 8, 4, 4]).macs == 4 * 4 * 8 * 8


def test_runs_at_the_beginning_do_not_count() -> None:
    def event(microseconds: int) -> dict[str, object]:
        shapes = {"input_type_shape": [{"float": [1, 2]}], "output_type_shape": [{"float": [1, 2]}]}
        return {"cat": "Node", "name": "x_kernel_time", "dur": microseconds, "args": {"op_name": "Relu", **shapes}}

    [share] = share_out([event(9000), event(1000), event(3000)], skipped=1, known={})
    assert (share.kind, share.nodes, share.milliseconds, share.macs) == ("Relu", 1, pytest.approx(2.0), 0)
