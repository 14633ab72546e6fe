"""Broken and hostile graphs: what ONNX Runtime cannot read, and what it can but must not be given."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from attack_tools import IMAGE, TEXT, Attack, tiny_files, with_files
from onnx import TensorProto, helper, numpy_helper

_SIZE, _DIM = 32, 16


def graphs() -> list[Attack]:
    """Bundles whose image or text encoder is not what the manifest says; all hashes are right."""
    return [*_unreadable(), *_other_doors(), *_wrong_values()]


def _unreadable() -> list[Attack]:
    image = tiny_files()[IMAGE]

    def made(name: str, says: str, message: str, data: bytes) -> Attack:
        return Attack(name, says, "graph-unreadable", message, with_files(image=data), "load")

    outside = "the graph keeps weights in another file"
    return [
        made("graph-empty", "a graph of 0 bytes", "cannot read the graph", b""),
        made("graph-truncated", "half of a graph", "cannot read the graph", image[: len(image) // 2]),
        made("graph-pickle", "a pickle that runs a command when it is loaded", "cannot read the graph",
             _pickle_that_runs("touch pwned")),
        made("graph-ort-format", "the mark of ORT's own format, whose reader is not for strangers' files",
             "cannot read the graph", b"\x18\0\0\0ORTM" + b"\0" * 64),
        made("graph-custom-operator", "an operator of a library that nobody has", "cannot read the graph",
             _custom_operator()),
        made("graph-external-relative", "weights in weights.bin beside the graph", outside,
             _external("weights.bin")),
        made("graph-external-climbs", "weights in ../../../../etc/passwd", outside,
             _external("../../../../etc/passwd")),
        made("graph-external-absolute", "weights in /etc/passwd", outside, _external("/etc/passwd")),
        made("graph-external-disguised", "weights in weights.bin, the key written with a length of two bytes", outside,
             _external("weights.bin").replace(b"\x08location", b"\x88\x00location")),
    ]  # fmt: skip


def _other_doors() -> list[Attack]:
    image, text = onnx.load_from_string(tiny_files()[IMAGE]), onnx.load_from_string(tiny_files()[TEXT])

    def changed(model: onnx.ModelProto, change: Callable[[onnx.ModelProto], object]) -> bytes:
        other = onnx.ModelProto()
        other.CopyFrom(model)
        change(other)
        return other.SerializeToString()

    def made(name: str, says: str, message: str, change: Callable[[onnx.ModelProto], object]) -> Attack:
        data = changed(image, change)
        return Attack(name, says, "graph-mismatch", message, with_files(image=data), "load")

    def text_made(name: str, says: str, message: str, change: Callable[[onnx.ModelProto], object]) -> Attack:
        data = changed(text, change)
        return Attack(name, says, "graph-mismatch", message, with_files(text=data), "labels")

    def second_output(model: onnx.ModelProto) -> None:
        model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 15]))

    return [
        made("graph-input-name", "an input named camera", "the graph's inputs are {'camera':",
             lambda model: _rename(model, "images", "camera")),
        made("graph-output-name", "an output named logits", "the graph's outputs are {'logits':",
             lambda model: _rename(model, "embeddings", "logits")),
        made("graph-input-dtype", "an input of floats", "{'images': ('tensor(float)',",
             lambda model: _retype(model.graph.input[0], TensorProto.FLOAT)),
        made("graph-input-size", "an input of 64 × 64 pixels", "('tensor(uint8)', [None, 64, 64, 3])",
             lambda model: _reshape(model.graph.input[0], ["N", 64, 64, 3])),
        made("graph-input-batch", "one photo at a time", "('tensor(uint8)', [1, 32, 32, 3])",
             lambda model: _reshape(model.graph.input[0], [1, 32, 32, 3])),
        made("graph-output-two", "two outputs", "'features': ('tensor(float)', [None, 15])", second_output),
        made("graph-output-size", "an output of 15 values", "{'embeddings': ('tensor(float)', [None, 15])}",
             lambda model: _cut_output(model)),
        text_made("text-input-name", "a text encoder with an input named tokens", "'tokens': ('tensor(int64)'",
                  lambda model: _rename(model, "input_ids", "tokens")),
        text_made("text-output-name", "a text encoder with an output named pooled", "the graph's outputs are {'pooled'",
                  lambda model: _rename(model, "embeddings", "pooled")),
    ]  # fmt: skip


def _wrong_values() -> list[Attack]:
    def image_made(name: str, says: str, message: str, factor: float) -> Attack:
        data = _scaled(tiny_files()[IMAGE], factor)
        return Attack(name, says, "graph-mismatch", message, with_files(image=data), "photo")

    def text_made(name: str, says: str, message: str, factor: float) -> Attack:
        data = _scaled(tiny_files()[TEXT], factor)
        return Attack(name, says, "graph-mismatch", message, with_files(text=data), "labels")

    return [
        image_made("graph-nan", "an image encoder that gives NaN", "gives vectors of length nan", float("nan")),
        image_made("graph-infinite", "an image encoder that gives infinity", "gives vectors of length inf",
                   float("inf")),
        image_made("graph-not-unit", "an image encoder that gives vectors of length 3", "of length 3.000", 3.0),
        text_made("text-nan", "a text encoder that gives NaN", "the text encoder gives vectors of length nan",
                  float("nan")),
        text_made("text-not-unit", "a text encoder that gives vectors of length 3", "of length 3.000", 3.0),
        Attack("graph-cannot-run", "an image encoder that loads and then fails", "graph-mismatch",
               "cannot run the graph", with_files(image=_cannot_run()), "photo"),
    ]  # fmt: skip


def _pickle_that_runs(command: str) -> bytes:
    class Runs:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            import os

            return os.system, (command,)

    return pickle.dumps(Runs(), protocol=2)


def _model(nodes: Sequence[onnx.NodeProto], tensors: Sequence[onnx.TensorProto]) -> onnx.ModelProto:
    """A graph with the doors of the tiny image encoder."""
    graph = helper.make_graph(
        nodes,
        "image_encoder",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", _SIZE, _SIZE, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", _DIM])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _external(location: str) -> bytes:
    """A graph that multiplies by 192 bytes of another file."""
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[3, _DIM])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(12 * _DIM))):
        weights.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["embeddings"]),
    ]
    return _model(nodes, [weights]).SerializeToString()


def _custom_operator() -> bytes:
    node = helper.make_node("Encode", ["images"], ["embeddings"], domain="com.example.evil")
    model = _model([node], [])
    model.opset_import.append(helper.make_opsetid("com.example.evil", 1))
    return model.SerializeToString()


def _cannot_run() -> bytes:
    """Looks up row 1,000 and more of a table with two rows."""
    tensors = [
        numpy_helper.from_array(np.array(1000, np.int64), "far"),
        numpy_helper.from_array(np.ones((2, _DIM), np.float32), "table"),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["values"], ["brightest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Add", ["brightest", "far"], ["rows"]),
        helper.make_node("Gather", ["table", "rows"], ["embeddings"]),
    ]
    return _model(nodes, tensors).SerializeToString()


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _retype(value: onnx.ValueInfoProto, kind: int) -> None:
    value.type.tensor_type.elem_type = kind


def _reshape(value: onnx.ValueInfoProto, shape: Sequence[str | int]) -> None:
    value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape))


def _cut_output(model: onnx.ModelProto) -> None:
    """The features themselves, 15 values, in place of their projection."""
    kept = [node for node in model.graph.node if not set(node.output) & {"projected", "biased", "embeddings"}]
    kept.append(helper.make_node("LpNormalization", ["features"], ["embeddings"], axis=1, p=2))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _reshape(model.graph.output[0], ["N", 15])


def _scaled(data: bytes, factor: float) -> bytes:
    """The graph with its unit vectors multiplied."""
    model = onnx.load_from_string(data)
    last = model.graph.node[-1]
    assert list(last.output) == ["embeddings"]
    last.output[0] = "unit"
    model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["unit", "factor"], ["embeddings"]))
    return model.SerializeToString()
