from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.image_encoder import export_image_encoder, made_photos
from export.parity import GateError, Parity, compare, require, run_graph
from export.text_encoder import embed_prompts, export_text_encoder
from training.image_tower import ImageTower
from training.text_tower import TextTower

PROMPTS = [f"{colour} {thing}" for colour in ("red", "green", "brown", "white") for thing in ("apple", "leaf", "soil")]


@pytest.fixture(scope="module")
def tower() -> ImageTower:
    torch.manual_seed(0)
    return ImageTower(16, "test_efficientnet").eval()


def test_the_image_graph_says_what_the_tower_says(tower: ImageTower) -> None:
    graph = export_image_encoder(tower, 64, {"checkpoint": "abc"})
    photos = made_photos(9, 64)[3:]
    with torch.inference_mode():
        expected = tower(torch.from_numpy(photos)).numpy()
    found = run_graph(graph.data, {"images": photos})
    assert found.shape == (6, 16) and graph.parity.least > 0.99999
    np.testing.assert_allclose((found * expected).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(run_graph(graph.data, {"images": photos[2:3]}), found[2:3], atol=1e-5)  # any batch
    model = onnx.load_from_string(graph.data)
    assert {p.key: p.value for p in model.metadata_props} == {"checkpoint": "abc"}
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
    assert graph.data == export_image_encoder(tower, 64, {"checkpoint": "abc"}).data


def test_weights_that_float16_cannot_hold_are_refused(tower: ImageTower) -> None:
    spoilt = ImageTower(16, "test_efficientnet").eval()
    spoilt.load_state_dict(tower.state_dict())
    with torch.no_grad():
        spoilt.head.weight.mul_(1e-9)  # below the least float16: all would be stored as 0
        spoilt.head.bias.mul_(1e-9)
    with pytest.raises(GateError, match="image encoder, float16 weights"):
        export_image_encoder(spoilt, 64, {})


def test_the_text_graph_says_what_the_tower_says(text_tower: TextTower) -> None:
    graph = export_text_encoder(text_tower, PROMPTS, {})
    assert graph.parity.mean >= 0.999 and graph.parity.least >= 0.998
    long = ["a photo of the ripe red apple in the green grass", "cow"]
    found = embed_prompts(graph.data, text_tower, long)
    np.testing.assert_allclose((found * text_tower.embed(long)).sum(axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(embed_prompts(graph.data, text_tower, long[1:]), found[1:], atol=1e-5)  # padding is none
    types = {tensor.name: tensor.data_type for tensor in onnx.load_from_string(graph.data).graph.initializer}
    large = [name for name, kind in types.items() if kind == onnx.TensorProto.INT8]
    assert len(large) >= 5, types


def test_a_text_graph_that_int8_spoils_is_refused(text_folder: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(text_folder, tmp_path / "text")
    weights = load_file(spoilt / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][:, 0] *= 300  # one value a row takes the whole range of INT8
    save_file(weights, spoilt / "model.safetensors", {"format": "pt"})
    with pytest.raises(GateError, match="text encoder, INT8 weights: (mean|least) cosine"):
        export_text_encoder(TextTower(spoilt), PROMPTS, {})


def test_parity_is_measured_row_by_row() -> None:
    reference = np.eye(4, dtype=np.float32)
    turned = reference.copy()
    turned[0] = (0.8, 0.6, 0, 0)
    parity = compare(reference, turned)
    assert (parity.mean, parity.least) == (pytest.approx(0.95), pytest.approx(0.8))
    assert parity.difference == pytest.approx(0.6)


@pytest.mark.parametrize("limit", [{"mean": 0.96}, {"least": 0.9}, {"difference": 0.01}])
def test_each_limit_is_held(limit: dict[str, float]) -> None:
    require("a graph", Parity(0.97, 0.91, 0.009, 1), **limit)
    with pytest.raises(GateError, match="a graph"):
        require("a graph", Parity(0.95, 0.89, 0.02, 1), **limit)
    with pytest.raises(GateError, match="nan"):
        require("a graph", Parity(float("nan"), float("nan"), float("nan"), 1), **limit)
