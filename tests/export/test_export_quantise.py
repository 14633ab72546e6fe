"""A convolutional encoder is quantised in QDQ form; careless settings lose more, and the worst layers are named."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from export.graphs import IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.parity import compare, run_graph
from export.quantise import QuantiseConfig, blame, correct_bias, inner_values, quantise, workspace
from export.tracing import trace
from training.image_tower import ImageTower
from training.texture import Texture, statistics


def cosine(exact: bytes, graph: bytes, squares: np.ndarray) -> float:
    return compare(run_graph(exact, {IMAGES: squares}), run_graph(graph, {IMAGES: squares})).mean


def test_quantised_graphs_repeat_and_stay_near(exact: bytes, squares: np.ndarray) -> None:
    graph = quantise(exact, squares[:32], QuantiseConfig(float_convolutions=1))
    assert quantise(exact, squares[:32], QuantiseConfig(float_convolutions=1)) == graph
    assert cosine(exact, graph, squares[32:]) > 0.99
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert kinds.count("QuantizeLinear") >= 4


def test_the_first_convolutions_stay_in_float(exact: bytes, squares: np.ndarray) -> None:
    def quantised_weights(graph: bytes) -> int:
        initial = {tensor.name: tensor for tensor in onnx.load_from_string(graph).graph.initializer}
        return sum(tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4 for tensor in initial.values())

    counts = [quantised_weights(quantise(exact, squares[:16], QuantiseConfig(float_convolutions=n))) for n in (0, 1, 3)]
    assert counts == [4, 3, 1]


def test_one_scale_a_tensor_loses_more_than_one_a_channel(exact: bytes, squares: np.ndarray) -> None:
    by_channel = quantise(exact, squares[:32], QuantiseConfig(float_convolutions=0))
    by_tensor = quantise(exact, squares[:32], QuantiseConfig(float_convolutions=0, per_channel=False))
    assert cosine(exact, by_tensor, squares[32:]) < cosine(exact, by_channel, squares[32:])


def test_bias_correction_takes_the_mean_error_of_rounded_weights_from_biases_alone(
    exact: bytes, squares: np.ndarray
) -> None:
    model, photos = onnx.load_from_string(exact), squares[:32]
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    pointwise = next(
        node for node in nodes if shapes[node.input[1]][1:] != [1, 1, 1] and shapes[node.input[1]][2:] == [1, 1]
    )
    after = correct_bias(model, photos, [node.name for node in nodes if node is not pointwise])
    corrected = {node.name: node for node in after.graph.node}
    assert [n.name for n in model.graph.node if list(n.input) != list(corrected[n.name].input)] == [pointwise.name]
    old, new = ({t.name: numpy_helper.to_array(t) for t in m.graph.initializer} for m in (model, after))
    weights = old[pointwise.input[1]]
    scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    inputs = np.concatenate(
        [values[pointwise.input[0]] for values in inner_values(model, [pointwise.input[0]], photos)]
    )
    mean = inputs.mean(axis=(0, 2, 3))
    error = (np.rint(weights / scale) * scale - weights)[:, :, 0, 0] @ mean
    moved = old[pointwise.input[2]] - new[corrected[pointwise.name].input[2]]
    np.testing.assert_allclose(moved, error, atol=1e-5)


def test_biases_are_corrected_before_the_graph_is_rounded(exact: bytes, squares: np.ndarray) -> None:
    photos, plain = squares[:32], QuantiseConfig(float_convolutions=0, bias_correction=False)
    with workspace(exact) as folder:
        prepared = onnx.load(folder / "prepared.onnx")
    corrected = correct_bias(prepared, photos, ()).SerializeToString()
    default = quantise(exact, photos, QuantiseConfig(float_convolutions=0))
    np.testing.assert_array_equal(
        run_graph(default, {IMAGES: squares}), run_graph(quantise(corrected, photos, plain), {IMAGES: squares})
    )
    assert cosine(default, quantise(exact, photos, plain), squares) < 1 - 1e-6


def test_what_follows_the_last_product_is_not_rounded() -> None:
    torch.manual_seed(0)
    tower, photos = ImageTower(16, "test_efficientnet", looks=6).eval(), made_photos(12, 32)
    example = {IMAGES: torch.from_numpy(photos[:2])}
    graph = quantise(graph_bytes(trace(tower, example, {IMAGES: {0: "N"}}), {}, {}), photos, QuantiseConfig())
    vectors = run_graph(graph, {IMAGES: photos})
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)  # two parts, each brought to its length


def test_of_a_texture_the_product_alone_is_rounded() -> None:
    torch.manual_seed(0)
    tower, photos = ImageTower(16, "test_efficientnet", looks=6).eval(), made_photos(24, 32)
    with torch.inference_mode():
        tower.set_texture(Texture.of(statistics(tower.maps(torch.from_numpy(photos))[1]), 8))
        exact = tower(torch.from_numpy(photos)).numpy()
    graph = graph_bytes(trace(tower, {IMAGES: torch.from_numpy(photos[:2])}, {IMAGES: {0: "N"}}), {}, {})
    rounded = quantise(graph, photos, QuantiseConfig())
    nodes = onnx.load_from_string(rounded).graph.node
    made_by = {name: node for node in nodes for name in node.output}
    textures = [node for node in nodes if node.name.startswith("/texture") and "Linear" not in node.op_type]
    assert {"ReduceMean", "Sqrt", "Gemm"} <= {node.op_type for node in textures}
    for node in textures:
        before = [made_by[name] for name in node.input if name in made_by]
        if node.op_type == "Gemm":
            assert all(maker.op_type == "DequantizeLinear" for maker in before)
        elif all(maker.name.startswith("/texture") for maker in before):
            assert not any(maker.op_type == "DequantizeLinear" for maker in before)
    vectors = run_graph(rounded, {IMAGES: photos})
    assert (vectors * exact)[:, 22:].sum(axis=1).min() > 0.9 * 0.3  # its share of the length


def test_symmetric_graphs_have_no_zero_points_and_no_quantised_bias(exact: bytes, squares: np.ndarray) -> None:
    graph = onnx.load_from_string(quantise(exact, squares[:16], QuantiseConfig(symmetric=True)))
    types = {tensor.name: tensor for tensor in graph.graph.initializer}
    assert not any(tensor.data_type == onnx.TensorProto.INT32 for tensor in types.values())
    zero_points = [types[node.input[2]] for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    assert zero_points
    assert all(tensor.data_type == onnx.TensorProto.INT8 for tensor in zero_points)
    assert not any(onnx.numpy_helper.to_array(tensor).any() for tensor in zero_points)


def test_the_layers_to_blame_are_named_worst_first(exact: bytes, squares: np.ndarray) -> None:
    everything = QuantiseConfig(float_convolutions=0)
    tight = quantise(exact, squares[:32], everything)
    name = blame(exact, tight, squares[32:40], worst=99)[-1][0]  # the best layer, whose range is then cut
    graph = quantise(exact, squares[:32], everything, {name: (0.0, 1e-3)})
    named = blame(exact, graph, squares[32:40], worst=3)
    assert len(named) == 3 and named[0][0] == name and named[0][1] < 1 < named[1][1]
    ratios = [ratio for _, ratio in named]
    assert ratios == sorted(ratios)
