"""Graphs run by OpenVINO on the CPU."""

from __future__ import annotations

import hashlib
import io
import queue
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.manifest import TensorSpec
from ..errors import BundleError, BundleFault, RuntimeUnavailable
from .compiled import CompiledGraphs, CompiledKey
from .cpu import cpu_flags, cpu_name
from .external import refuse_external_weights

if TYPE_CHECKING:
    import numpy.typing as npt

_DTYPES = {"uint8": "u8", "int64": "i64", "float32": "f32"}
_HINTS = {"bf16": "bf16", "fp16": "f16"}  # every other precision is computed as the graph says
_HALVES = (
    "accepted: for bf16 a CPU with AVX-512 BF16 or AMX, for fp16 ARM with half-precision arithmetic or AVX-512 FP16"
)


class OpenVinoGraph:
    """One graph, compiled from ONNX bytes for this CPU or taken as an earlier start has compiled it.

    OpenVINO's own cache (``CACHE_DIR``) reads and hashes the ONNX file again at every start, which takes twice as long
    as importing what it had exported; and nothing bounds it, nor keeps a half-written file from being read.

    Attributes:
        was_compiled: whether an earlier start had compiled it.
    """

    def __init__(
        self,
        data: bytes,
        inputs: Sequence[TensorSpec],
        output: TensorSpec,
        threads: int,
        precision: str = "fp32",
        compiled: CompiledGraphs | None = None,
    ) -> None:
        """Compile the graph; see `agriclip_edge.runtimes.open_graph`.

        Raises:
            RuntimeUnavailable: OpenVINO is not installed, or the CPU cannot compute in this precision.
        """
        try:
            import openvino
        except ModuleNotFoundError:
            raise RuntimeUnavailable(
                'OpenVINO is not installed; install it with: pip install "agriclip-edge[openvino]"'
            ) from None
        except (ImportError, OSError) as error:  # the module is there, a library of it is not
            raise RuntimeUnavailable(f"OpenVINO does not load: {' '.join(str(error).split())[:200]}") from None
        core = openvino.Core()
        if precision in _HINTS and precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeUnavailable(f"this CPU does not compute in {precision}; {_HALVES}")
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32"),
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        refuse_external_weights(data)
        key = _key(data, openvino.__version__, options["INFERENCE_PRECISION_HINT"])
        earlier = _load(openvino, core, options, compiled, key) if compiled is not None else None
        self.was_compiled = earlier is not None
        try:
            self._compiled: Any = earlier
            if earlier is None:
                self._compiled = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", options)
        except RuntimeError as error:
            message = f"OpenVINO {openvino.__version__} cannot read the graph: {' '.join(str(error).split())[:200]}"
            raise BundleError(BundleFault.GRAPH_UNREADABLE, message) from None
        _compare("inputs", self._compiled.inputs, list(inputs))
        _compare("outputs", self._compiled.outputs, [output])
        # A request serves one run at a time; each thread takes one and puts it back.
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()
        if compiled is not None and earlier is None:
            exported = io.BytesIO()
            self._compiled.export_model(exported)
            compiled.add(key, exported.getvalue())

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


def _key(graph: bytes, version: str, precision: str) -> CompiledKey:
    cpu = " ".join([cpu_name(), *sorted(cpu_flags())])
    return CompiledKey(hashlib.sha256(graph).hexdigest(), f"openvino {version}", precision, cpu)


def _load(openvino: Any, core: Any, options: dict[str, Any], compiled: CompiledGraphs, key: CompiledKey) -> Any | None:
    """The graph as an earlier start has compiled it; None when there is none, or OpenVINO does not take it."""
    data = compiled.read(key)
    if data is None:
        return None
    try:
        return core.import_model(openvino.Tensor(np.frombuffer(data, np.uint8)), "CPU", options)
    except RuntimeError:
        compiled.discard(key)
        return None


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
