"""Where an encoder's time goes by kind of layer, with the multiplications of each, from ONNX Runtime's profile."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_WARM_UPS = 5
_FUSED = re.compile(r"(_token_\d+)?_kernel_time$")  # what a profile adds to the name of a node
_PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A layer that multiplies.

    Attributes:
        kind: pointwise, depthwise or k×k convolution, or a product of matrices.
        macs: multiplications and additions of one photo, each pair counted once.
    """

    kind: str
    macs: int


@dataclass(frozen=True)
class Share:
    """What one kind of layer took of a run.

    Attributes:
        kind: of layer, or what else was run.
        nodes: how many there are.
        milliseconds: of one run, the mean.
        macs: of one photo.
    """

    kind: str
    nodes: int
    milliseconds: float
    macs: int


def count_macs(graph: bytes) -> dict[str, Layer]:
    """The layers of an ONNX graph that multiply, by name, for one photo."""
    import onnx
    from onnx import shape_inference

    model = onnx.load_from_string(graph)
    for door in model.graph.input:
        for axis in door.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.dim_value = 1
    shaped = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {weight.name: list(weight.dims) for weight in shaped.initializer}
    for value in (*shaped.value_info, *shaped.input, *shaped.output):
        shapes.setdefault(value.name, [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim])
    layers = {}
    for node in shaped.node:
        layer = layer_of(node.op_type, [shapes.get(name, []) for name in node.input], shapes.get(node.output[0], []))
        if layer is not None:
            layers[node.name] = layer
    return layers


def layer_of(operator: str, inputs: Sequence[Sequence[int]], output: Sequence[int]) -> Layer | None:
    """What an operator with inputs and output of these shapes multiplies; None when it does not.

    Example:
        >>> layer_of("Conv", [[1, 32, 112, 112], [16, 32, 1, 1], [16]], [1, 16, 112, 112])
        Layer(kind='pointwise 1×1', macs=6422528)
    """
    if operator.endswith("Conv"):  # its scales may lie between its two tensors, a sum behind them
        images_and_weights = [shape for shape in inputs if len(shape) == 4]
        if len(images_and_weights) < 2:  # a profile names no weights that were packed beforehand
            return None
        weights = images_and_weights[1]
        _, per_group, *kernel = weights
        side = "×".join(map(str, kernel))
        plain = "pointwise" if prod(kernel) == 1 else "convolution"
        return Layer(f"{'depthwise' if per_group == 1 else plain} {side}", prod(output) * per_group * prod(kernel))
    if any(product in operator for product in _PRODUCTS):
        return Layer("product of matrices", prod(output) * inputs[0][-1])
    return None


def profile(graph: bytes, size: int, threads: int, runs: int) -> list[Share]:
    """Run an encoder under ONNX Runtime's profiler, one photo a run, and share out its time.

    Args:
        graph: ONNX with one input, uint8 (N, size, size, 3).
        size: in pixels.
        threads: cores to use.
        runs: that count, after some that do not.

    Returns:
        kinds of layers, the longest first.
    """
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")  # as the SDK
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        photo = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        for _ in range(_WARM_UPS + runs):
            session.run(None, {name: photo})
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return share_out(events, _WARM_UPS, count_macs(graph))


def share_out(events: Sequence[Mapping[str, Any]], skipped: int, known: Mapping[str, Layer]) -> list[Share]:
    """Mean time of one run by kind of layer.

    Args:
        events: of ONNX Runtime's profile.
        skipped: runs at the beginning that do not count.
        known: layers by their names in the graph; a layer that ONNX Runtime fused with its neighbours has another name.
    """
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    layers: dict[tuple[str, str], Layer | None] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            arguments = event["args"]
            key = (event["name"], arguments["op_name"])
            spent[key].append(event["dur"] / 1e3)
            layer = layer_of(key[1], _shapes(arguments["input_type_shape"]), _first(arguments))
            layers[key] = layer or known.get(_FUSED.sub("", event["name"]))
    milliseconds: Counter[str] = Counter()
    nodes: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for key, times in spent.items():
        layer = layers[key]
        kind = f"{layer.kind} ({key[1]})" if layer else key[1]
        counted = times[skipped:]
        milliseconds[kind] += sum(counted) / len(counted)  # type: ignore[assignment]  # a Counter may count in parts
        nodes[kind] += 1
        macs[kind] += layer.macs if layer else 0
    return [Share(kind, nodes[kind], spent_ms, macs[kind]) for kind, spent_ms in milliseconds.most_common()]


def _shapes(tensors: Sequence[Mapping[str, list[int]]]) -> list[list[int]]:
    """Shapes as the profile writes them: one mapping a tensor, from its type to its shape."""
    return [next(iter(tensor.values()), []) for tensor in tensors]


def _first(arguments: Mapping[str, Any]) -> list[int]:
    return next(iter(_shapes(arguments["output_type_shape"])), [])
