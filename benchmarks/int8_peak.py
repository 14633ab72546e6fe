"""The most INT8 operations a second that this CPU reaches: one large product by oneDNN, through OpenVINO."""

from __future__ import annotations

import io

import numpy as np

from agriclip_edge.worker import Prepare, Run, serve

SIDE = 2048  # of both matrices: 2 x 8.6e9 operations


def operations(side: int = SIDE) -> int:
    """Multiplications and additions of one product."""
    return 2 * side**3


def product_graph(side: int = SIDE) -> bytes:
    """ONNX: uint8 (side, side) times int8 weights, back to uint8, in QDQ form."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).integers(-127, 128, (side, side), dtype=np.int8)
    constants = {
        "weights": weights,
        "weight_scales": np.full(side, 1e-3, np.float32),
        "weight_zeros": np.zeros(side, np.int8),
        "scale": np.float32(0.01),
        "zero": np.uint8(128),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["x_float"]),
        helper.make_node("DequantizeLinear", ["weights", "weight_scales", "weight_zeros"], ["weights_float"], axis=0),
        helper.make_node("Gemm", ["x_float", "weights_float"], ["product"], transB=1),
        helper.make_node("QuantizeLinear", ["product", "scale", "zero"], ["y"]),
    ]
    doors = [helper.make_tensor_value_info(name, TensorProto.UINT8, [side, side]) for name in ("x", "y")]
    initialisers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "product", doors[:1], doors[1:], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def main(threads: str, side: str) -> None:
    """Serve the product as a worker's encoder; a batch is one product whatever its size."""
    import openvino

    def load() -> Prepare:
        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": int(threads), "PERFORMANCE_HINT": "LATENCY"}
        model = core.read_model(io.BytesIO(product_graph(int(side))))
        request = core.compile_model(model, "CPU", options).create_infer_request()
        matrix = np.random.default_rng(1).integers(0, 256, (int(side), int(side)), dtype=np.uint8)

        def prepare(batch: int) -> Run:
            return lambda: request.infer([matrix], share_inputs=True)

        return prepare

    serve(load)
