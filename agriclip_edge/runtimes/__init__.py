"""The seam between the way of a photo and the inference runtimes: one Protocol, one file a runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..bundle.manifest import TensorSpec
from ..errors import BundleError, BundleFault, RuntimeUnavailable

if TYPE_CHECKING:
    import numpy.typing as npt

    from .compiled import CompiledGraphs

_UNIT_TOLERANCE = 1e-3


RUNTIMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}  # and the modules they need


class Graph(Protocol):
    """A loaded graph with one output; safe to run from several threads."""

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run the graph on named inputs and return its output, float32 (N, D)."""


def open_graph(
    runtime: str,
    data: bytes,
    inputs: Sequence[TensorSpec],
    output: TensorSpec,
    threads: int | None = None,
    *,
    precision: str = "fp32",
    compiled: CompiledGraphs | None = None,
) -> Graph:
    """Load a graph and hold it against its description.

    Args:
        runtime: the runtime that the graph is made for (``onnxruntime``, ``openvino``, ``tensorrt``).
        data: the bytes of the graph, an ONNX file; ``tensorrt`` runs the engine that was built here from it.
        inputs: what the graph must ask for.
        output: what the graph must give.
        threads: cores that one run may use; None takes all that this process may run on.
        precision: what the runtime computes in where the graph leaves it open (``bf16`` in OpenVINO).
        compiled: keeps what OpenVINO makes of the graph, for the next start; None keeps nothing.

    Raises:
        RuntimeUnavailable: the runtime is unknown or not installed.
        BundleError: the runtime cannot read the graph, or its inputs or output are not as described.
    """
    if runtime == "onnxruntime":
        try:
            from .onnx import OnnxGraph
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise RuntimeUnavailable(f"ONNX Runtime does not load: {reason}: pip install onnxruntime") from None
        return OnnxGraph(data, inputs, output, threads or available_cores())
    if runtime == "openvino":
        from .openvino import OpenVinoGraph

        return OpenVinoGraph(data, inputs, output, threads or available_cores(), precision, compiled)
    if runtime == "tensorrt":
        from .tensorrt import open_engine

        return open_engine(data, inputs, output, threads or available_cores())
    raise RuntimeUnavailable(f"unknown runtime {runtime!r}; this version has: {', '.join(RUNTIMES)}")


def check_unit(vectors: npt.NDArray[np.float32], dim: int, what: str) -> npt.NDArray[np.float32]:
    """The vectors (N, D) that a graph gave, if they are unit vectors of ``dim`` values.

    Raises:
        BundleError: another shape, another length, NaN or infinity.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        message = f"the {what} gives {vectors.shape}; accepted: unit vectors of {dim} values"
        raise BundleError(BundleFault.GRAPH_MISMATCH, message)
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    if not (np.abs(lengths - 1) < _UNIT_TOLERANCE).all():  # not so either for NaN
        message = f"the {what} gives vectors of length {lengths.min():.3f} to {lengths.max():.3f}; accepted: 1"
        raise BundleError(BundleFault.GRAPH_MISMATCH, message)
    return vectors


def available_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1
