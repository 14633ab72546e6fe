"""Variants go through their gate; those that were broken on purpose are refused, and nothing is left out in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from agriclip_edge.bundle.manifest import parse_manifest
from agriclip_edge.errors import BundleError
from export.gate import Squares
from export.graphs import EMBEDDINGS, IMAGES, graph_bytes
from export.parity import GateError
from export.quantise import QuantiseConfig
from export.variants import GatePhotos, Made, Plan, make_variants, views_of
from export.writer import write_bundle

FLOAT = Plan("cpu-float", "onnxruntime", "fp16-weights", "image/encoder.onnx")
BUDGET = """
[fp16-weights]
mean_cosine = 0.99999
p1_cosine = 0.9999
drop_mean = 0.2
drop_task = 1.0
[int8]
mean_cosine = 0.99
p1_cosine = 0.97
drop_mean = 0.5
drop_task = 1.0
[tensorrt-fp16]
mean_cosine = 0.9995
p1_cosine = 0.99
drop_mean = 0.2
drop_task = 1.0
[tensorrt-int8]
mean_cosine = 0.99
p1_cosine = 0.97
drop_mean = 1.0
drop_task = 1.0
speed = 1.2
"""


@pytest.fixture
def budget(tmp_path: Path) -> Path:
    """The shipped cosines, without the speed of INT8: nets as small as these gain none."""
    path = tmp_path / "budget.toml"
    path.write_text(BUDGET)
    return path


@pytest.fixture
def photos(squares: Squares) -> GatePhotos:
    return GatePhotos(squares[:32], "0" * 64, squares[32:], lambda vectors: {"all": 1.0}, len(squares) - 32)


def made(
    exact: bytes, half: bytes, photos: GatePhotos, plans: tuple[Plan, ...], budget: Path
) -> tuple[Made, list[str]]:
    said: list[str] = []
    return make_variants(exact, half, 32, 16, photos, plans, budget, {"licence": "Apache-2.0"}, said.append), said


def test_every_kind_of_variant_passes_and_tells_its_figures(exact: bytes, photos: GatePhotos, budget: Path) -> None:
    gentle, symmetric = QuantiseConfig(float_convolutions=1), QuantiseConfig(float_convolutions=1, symmetric=True)
    plans = (
        Plan("cpu-int8", "onnxruntime", "int8", "image/int8.onnx", gentle),
        FLOAT,
        Plan("arm-int8", "onnxruntime", "int8-s8s8", "image/arm.onnx", symmetric),
        Plan("tensorrt-fp16", "tensorrt", "fp16", "image/fp16.onnx"),
        Plan("tensorrt-int8", "tensorrt", "int8", "image/trt-int8.onnx", symmetric),
    )
    result, said = made(exact, exact, photos, plans, budget)
    assert [variant.name for variant in result.variants] == [plan.name for plan in plans]
    assert set(result.files) == {plan.file for plan in plans}
    for variant in result.variants:
        assert variant.figures["mean_cosine"] >= variant.limits["mean_cosine"]
        assert variant.figures["drop.all"] == 0
        properties = {p.key: p.value for p in onnx.load_from_string(result.files[variant.file]).metadata_props}
        assert properties["licence"] == "Apache-2.0"
        assert ("calibration" in properties) == ("int8" in variant.precision)
    assert [variant.figures.get("emulated") for variant in result.variants if variant.runtime == "tensorrt"] == [1, 1]
    assert any(line.startswith("tensorrt-fp16: builds with") or "not built here" in line for line in said)
    again, _ = made(exact, exact, photos, plans, budget)
    assert again.files == result.files and again.variants == result.variants


def test_a_variant_that_is_not_made_leaves_no_file(exact: bytes, photos: GatePhotos, budget: Path) -> None:
    plans = (FLOAT, Plan("npu", "onnxruntime", "fp16-weights", "image/npu.onnx"))
    result, _ = made(exact, exact, photos, plans[:1], budget)
    assert set(result.files) == {"image/encoder.onnx"}


def test_one_weight_scale_a_tensor_is_refused(exact: bytes, photos: GatePhotos, budget: Path) -> None:
    """Output channels of very different size, as folded BatchNorm leaves them, share one scale."""
    model = onnx.load_from_string(exact)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    [head] = [node for node in model.graph.node if node.op_type == "Gemm"]
    sizes = np.logspace(-3, 0, 32, dtype=np.float32)
    for name, factor in zip([*last.input[1:], head.input[1]], (sizes[:, None, None, None], sizes, 1 / sizes)):
        weights[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name]) * factor, name))
    ragged = graph_bytes(model, {}, {})
    plan = Plan("cpu-int8", "onnxruntime", "int8", "image/int8.onnx", QuantiseConfig(0, per_channel=False))
    with pytest.raises(GateError, match="variant cpu-int8 does not pass its gate: mean_cosine is .*layers to blame: "):
        made(ragged, ragged, photos, (plan,), budget)


def test_another_order_of_colours_is_refused(exact: bytes, photos: GatePhotos, budget: Path) -> None:
    model = onnx.load_from_string(exact)
    for node in model.graph.node:
        node.input[:] = ["swapped" if name == IMAGES else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "blue_first"))
    model.graph.node.insert(0, helper.make_node("Gather", [IMAGES, "blue_first"], ["swapped"], axis=3))
    with pytest.raises(GateError, match="variant cpu-float does not pass its gate: mean_cosine is"):
        made(exact, graph_bytes(model, {}, {}), photos, (FLOAT,), budget)


def test_another_mean_is_refused(exact: bytes, photos: GatePhotos, budget: Path) -> None:
    model = onnx.load_from_string(exact)
    [cast] = [node for node in model.graph.node if node.op_type == "Cast"]
    source = cast.output[0]
    for node in model.graph.node:
        node.input[:] = ["shifted" if name == source else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(127.5 * (1 - 0.485 / 0.5)), "shift"))
    place = list(model.graph.node).index(cast) + 1
    model.graph.node.insert(place, helper.make_node("Add", [source, "shift"], ["shifted"]))
    with pytest.raises(GateError, match="variant cpu-float does not pass its gate: mean_cosine is"):
        made(exact, graph_bytes(model, {}, {}), photos, (FLOAT,), budget)


def test_vectors_that_are_not_of_length_1_are_refused(exact: bytes, photos: GatePhotos, budget: Path) -> None:
    model = onnx.load_from_string(exact)
    (last,) = [node for node in model.graph.node if EMBEDDINGS in node.output]
    last.output[0] = "short"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.99), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["short", "factor"], [EMBEDDINGS]))
    with pytest.raises(GateError, match="lengths are 0.990 to 0.990; accepted: 1"):
        made(exact, graph_bytes(model, {}, {}), photos, (FLOAT,), budget)


def test_a_foreign_text_tower_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    manifest = parse_manifest((tiny_bundle / "bundle.json").read_bytes())
    files = {entry.path: (tiny_bundle / entry.path).read_bytes() for entry in manifest.files}
    model = onnx.load_from_string(files["text/encoder.onnx"])
    [table] = [tensor for tensor in model.graph.initializer if tensor.name == "table"]
    table.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(table), "table"))
    with pytest.raises(BundleError, match="pack-foreign-text-encoder"):
        write_bundle(tmp_path / "bundle", manifest, {**files, "text/encoder.onnx": graph_bytes(model, {}, {})})
    assert not (tmp_path / "bundle").exists()


def test_every_task_is_judged_by_as_many_answers(squares: Squares) -> None:
    photos = np.resize(squares, (250, *squares.shape[1:]))
    task = np.array([0] * 230 + [1] * 20)
    judged = views_of(photos, task, answers=460)
    assert np.bincount(task[judged.owners]).tolist() == [460, 460]
    assert len(judged) == 920 and np.bincount(judged.owners).tolist() == [2] * 230 + [23] * 20
    np.testing.assert_array_equal(judged[:250], photos)
    np.testing.assert_array_equal(judged[250:480], photos[:230, :, ::-1])
    cut = judged[500:520]
    assert judged.owners[500:520].tolist() == list(range(230, 250)) and (cut != photos[230:]).any()
    assert np.abs(cut.mean(axis=(1, 2)) - photos[230:].mean(axis=(1, 2))).max() < 30


def test_no_view_is_shown_twice(squares: Squares) -> None:
    few = views_of(squares[:2], np.zeros(2, np.int64), answers=10_000)
    assert len({view.tobytes() for view in few[0 : len(few)]}) == len(few) == 2 * max(np.bincount(few.owners))
