"""The text encoder's products in INT8: which they are, that they say the same, on CPUs that cannot sum INT8, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from agriclip_edge.bundle.manifest import TensorSpec
from agriclip_edge.runtimes import open_graph
from agriclip_edge.runtimes.cpu import Features
from export.graphs import TEXT_INPUTS, graph_bytes
from export.quantise import QuantiseConfig, quantise
from export.smooth import round_products
from export.text_encoder import embed_prompts, export_text_encoder
from export.tracing import trace
from training.synthetic import write_text_model
from training.text_tower import TextTower

PROMPTS = [f"{colour} {thing}" for colour in ("red", "green", "brown", "white") for thing in ("apple", "leaf", "soil")]
DIM = 32
INPUTS = [TensorSpec(name, "int64", [None, None]) for name in TEXT_INPUTS]
OUTPUT = TensorSpec("embeddings", "float32", [None, DIM])


@pytest.fixture(scope="module")
def tower(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> TextTower:
    """Three layers, in which some channels are far larger than the others, as in trained transformers."""
    folder = tmp_path_factory.mktemp("text")
    write_text_model(folder, (tiny_bundle / "text" / "vocab.txt").read_bytes(), dim=DIM, layers=3)
    tower = TextTower(folder)
    with torch.no_grad():
        for name, weight in tower.named_parameters():
            if name.endswith("LayerNorm.weight") and "layer.2.output" not in name:
                weight[::8] = 3
            elif "layer." in name and weight.ndim == 2:
                weight *= 10  # as they begin, layers add next to nothing
    return tower


@pytest.fixture(scope="module")
def exact(tower: TextTower) -> bytes:
    example = dict(zip(TEXT_INPUTS, tower.tokens(PROMPTS[:2])))
    return graph_bytes(trace(tower, example, {name: {0: "N", 1: "T"} for name in TEXT_INPUTS}), {}, {})


@pytest.fixture(scope="module")
def rounded(exact: bytes, tower: TextTower) -> bytes:
    return round_products(exact, feeds(tower))


def feeds(tower: TextTower) -> list[dict[str, np.ndarray]]:
    return [dict(zip(TEXT_INPUTS, (part.numpy() for part in tower.tokens([prompt])))) for prompt in PROMPTS]


def least_cosine(graph: bytes, tower: TextTower) -> float:
    return float((embed_prompts(graph, tower, PROMPTS) * tower.embed(PROMPTS)).sum(axis=1).min())


def test_the_layers_after_the_first_are_rounded_but_for_what_narrows(rounded: bytes) -> None:
    graph = onnx.load_from_string(rounded).graph
    made = {node.output[0]: node for node in graph.node}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    read = {node.name for node in products if made[node.input[0]].op_type == "DequantizeLinear"}
    parts = ["attention/output/dense", "intermediate/dense"]
    parts += [f"attention/self/{name}" for name in ("query", "key", "value")]
    assert read == {f"/bert/encoder/layer.{layer}/{part}/MatMul" for layer in (1, 2) for part in parts}
    assert {made[node.input[1]].op_type for node in products if node.name in read} == {"DequantizeLinear"}
    taken = {made[node.input[0]].op_type for node in graph.node if node.op_type == "QuantizeLinear"}
    assert "MatMul" not in taken  # what they give stays in float


def test_it_says_what_the_tower_says(rounded: bytes, exact: bytes, tower: TextTower) -> None:
    assert rounded != exact and least_cosine(rounded, tower) > 0.998
    assert round_products(exact, feeds(tower)) == rounded


def test_without_smoothing_it_says_less(rounded: bytes, exact: bytes, tower: TextTower) -> None:
    nodes = onnx.load_from_string(rounded).graph.node
    made = {node.output[0]: node.op_type for node in nodes}
    read = (node for node in nodes if node.op_type == "MatMul" and made[node.input[0]] == "DequantizeLinear")
    scopes = tuple(node.name for node in read)
    config = QuantiseConfig(float_convolutions=0, bias_correction=False, scopes=scopes, float_outputs=True)
    assert least_cosine(quantise(exact, feeds(tower), config), tower) < least_cosine(rounded, tower)


def test_a_cpu_that_cannot_sum_int8_says_the_same(
    rounded: bytes, tower: TextTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(zip(TEXT_INPUTS, (part.numpy() for part in tower.tokens(PROMPTS))))
    here = open_graph("onnxruntime", rounded, INPUTS, OUTPUT, 1).run(given)
    monkeypatch.setattr("agriclip_edge.runtimes.onnx.features", lambda: Features(frozenset({"avx2"}), frozenset()))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    there = open_graph("onnxruntime", rounded, INPUTS, OUTPUT, 1).run(given)
    assert not np.array_equal(here, there)  # it is computed otherwise
    assert (here * there).sum(axis=1).min() > 0.9999


def test_the_export_takes_it_where_it_passes_the_gate_and_else_stores_alone(
    tower: TextTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = export_text_encoder(tower, PROMPTS, {}, PROMPTS)
    assert rounded.rounded and rounded.parity.least >= 0.998
    monkeypatch.setattr("export.text_encoder._LEAST_COSINE", rounded.parity.least + 1e-6)
    stored = export_text_encoder(tower, PROMPTS, {}, PROMPTS)
    assert not stored.rounded and stored.parity.least > rounded.parity.least


def test_one_layer_has_nothing_to_round(text_tower: TextTower) -> None:
    assert not export_text_encoder(text_tower, PROMPTS, {}).rounded
