"""A convolutional encoder is quantised in QDQ form; careless settings lose more, and the worst layers are named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.graphs import IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.parity import compare, run_graph
from export.quantise import QuantiseConfig, blame, quantise
from export.tracing import trace

SIZE, DIM = 32, 16


class Small(nn.Module):
    """Four convolutions, one of them depthwise with channels of very different ranges."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(),
            nn.Conv2d(16, 32, 1), nn.ReLU6(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU6(),
        )  # fmt: skip
        with torch.no_grad():
            self.layers[2].weight *= torch.logspace(-2, 1, 16)[:, None, None, None]
        self.head = nn.Linear(32, DIM)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        return nn.functional.normalize(self.head(self.layers(pixels).mean(dim=(2, 3))), dim=-1)


@pytest.fixture(scope="module")
def exact() -> bytes:
    example = torch.from_numpy(made_photos(2, SIZE))
    return graph_bytes(trace(Small().eval(), {IMAGES: example}, {IMAGES: {0: "N"}}), {}, {})


@pytest.fixture(scope="module")
def squares() -> np.ndarray:
    return made_photos(64, SIZE)


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


def test_symmetric_graphs_have_no_zero_points_and_no_quantised_bias(exact: bytes, squares: np.ndarray) -> None:
    graph = onnx.load_from_string(quantise(exact, squares[:16], QuantiseConfig(symmetric=True)))
    types = {tensor.name: tensor for tensor in graph.graph.initializer}
    assert not any(tensor.data_type == onnx.TensorProto.INT32 for tensor in types.values())
    zero_points = [types[node.input[2]] for node in graph.graph.node if node.op_type == "QuantizeLinear"]
    assert zero_points
    assert all(tensor.data_type == onnx.TensorProto.INT8 for tensor in zero_points)
    assert not any(onnx.numpy_helper.to_array(tensor).any() for tensor in zero_points)


def test_the_layers_to_blame_are_named_worst_first(exact: bytes, squares: np.ndarray) -> None:
    graph = quantise(exact, squares[:32], QuantiseConfig(float_convolutions=0, per_channel=False))
    named = blame(exact, graph, squares[32:40], worst=3)
    assert len(named) == 3
    ratios = [ratio for _, ratio in named]
    assert ratios == sorted(ratios)
    assert all(np.isfinite(ratios))
