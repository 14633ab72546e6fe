"""Graphs run by ONNX Runtime on the CPU."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from ..bundle.manifest import TensorSpec
from ..errors import BundleError, BundleFault
from .cpu import features, why_not
from .external import refuse_external_weights

if TYPE_CHECKING:
    import numpy.typing as npt

_DTYPES = {"uint8": "tensor(uint8)", "int64": "tensor(int64)", "float32": "tensor(float)"}
_FATAL_ONLY = 4  # ONNX Runtime's log severity: errors reach us as exceptions, and stderr has one line a failure


class OnnxGraph:
    """One ONNX graph in one session, loaded from bytes: nothing is unpacked to disk, no file is reached from it."""

    def __init__(self, data: bytes, inputs: Sequence[TensorSpec], output: TensorSpec, threads: int) -> None:
        """Create the session; see `agriclip_edge.runtimes.open_graph`."""
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        # Threads that spin while they wait for a layer answer a photo a fifth sooner than threads that sleep. With one
        # thread nobody waits, and the cores are left to JPEG decoding: so photos are taken in bulk.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
        # A graph is this file alone. By itself ONNX Runtime looks for weights of other files in the working directory,
        # and up to 1.23 at any absolute path.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if why_not("int8", platform.machine(), features()) is not None:
            # What is rounded in the graph is rounded then, too, and summed in float: slower, and what the gate judged.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        refuse_external_weights(data)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class but Exception
            message = f"ONNX Runtime {onnxruntime.__version__} cannot read the graph: {_one_line(error)}"
            raise BundleError(BundleFault.GRAPH_UNREADABLE, message) from None
        _compare("inputs", self._session.get_inputs(), list(inputs))
        _compare("outputs", self._session.get_outputs(), [output])
        self._outputs = [output.name]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run the graph; see `agriclip_edge.runtimes.Graph`."""
        try:
            result: npt.NDArray[np.float32] = self._session.run(self._outputs, dict(inputs))[0]
        except Exception as error:  # as above
            message = f"ONNX Runtime {onnxruntime.__version__} cannot run the graph: {_one_line(error)}"
            raise BundleError(BundleFault.GRAPH_MISMATCH, message) from None
        return result


def _compare(what: str, found: Sequence[Any], expected: Sequence[TensorSpec]) -> None:
    """Hold names, dtypes and shapes of a graph's doors against the manifest; a symbolic size is None there."""
    real = {
        node.name: (node.type, [size if isinstance(size, int) and size > 0 else None for size in node.shape])
        for node in found
    }
    wanted = {spec.name: (_DTYPES.get(spec.dtype, spec.dtype), list(spec.shape)) for spec in expected}
    if real != wanted:
        message = f"the graph's {what} are {real}; bundle.json says {wanted}"
        raise BundleError(BundleFault.GRAPH_MISMATCH, message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
