"""Graphs run by OpenVINO on the CPU."""

from __future__ import annotations

import io
import queue
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.manifest import TensorSpec
from ..errors import BundleError, BundleFault, RuntimeUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

_DTYPES = {"uint8": "u8", "int64": "i64", "float32": "f32"}
_HINTS = {"bf16": "bf16"}  # every other precision is computed as the graph says


class OpenVinoGraph:
    """One graph, compiled from ONNX bytes for this CPU; a compiled copy on disk makes the next start fast."""

    def __init__(
        self,
        data: bytes,
        inputs: Sequence[TensorSpec],
        output: TensorSpec,
        threads: int,
        precision: str = "fp32",
        cache: Path | None = None,
    ) -> None:
        """Compile the graph; see `agriclip_edge.runtimes.open_graph`.

        Raises:
            RuntimeUnavailable: OpenVINO is not installed, or the CPU cannot compute in this precision.
        """
        try:
            import openvino
        except ImportError:
            raise RuntimeUnavailable(
                'OpenVINO is not installed; install it with: pip install "agriclip-edge[openvino]"'
            ) from None
        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeUnavailable("this CPU does not compute in bf16; accepted: a CPU with AVX-512 BF16 or AMX")
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32"),
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if cache is not None:
            options["CACHE_DIR"] = str(cache)
        try:
            model = core.read_model(io.BytesIO(data))
            self._compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            message = f"OpenVINO {openvino.__version__} cannot read the graph: {' '.join(str(error).split())[:200]}"
            raise BundleError(BundleFault.GRAPH_UNREADABLE, message) from None
        _compare("inputs", self._compiled.inputs, list(inputs))
        _compare("outputs", self._compiled.outputs, [output])
        # A request serves one run at a time; each thread takes one and puts it back.
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run the graph; see `agriclip_edge.runtimes.Graph`."""
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer(dict(inputs), share_inputs=True)
            result: npt.NDArray[np.float32] = request.get_output_tensor().data.copy()
            return result
        finally:
            self._requests.put(request)


def _compare(what: str, found: Sequence[Any], expected: Sequence[TensorSpec]) -> None:
    """Hold names, dtypes and shapes of a graph's doors against the manifest."""
    real = {
        port.any_name: (
            port.element_type.to_string(),
            [size.get_length() if size.is_static else None for size in port.partial_shape],
        )
        for port in found
    }
    wanted = {spec.name: (_DTYPES.get(spec.dtype, spec.dtype), list(spec.shape)) for spec in expected}
    if real != wanted:
        message = f"the graph's {what} are {real}; bundle.json says {wanted}"
        raise BundleError(BundleFault.GRAPH_MISMATCH, message)
