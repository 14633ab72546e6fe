"""The seam between the way of a photo and the inference runtimes: one Protocol, one file a runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..bundle.manifest import TensorSpec
from ..errors import RuntimeUnavailable

if TYPE_CHECKING:
    import numpy.typing as npt


class Graph(Protocol):
    """A loaded graph with one output; safe to run from several threads."""

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run the graph on named inputs and return its output, float32 (N, D)."""


def open_graph(
    runtime: str, data: bytes, inputs: Sequence[TensorSpec], output: TensorSpec, threads: int | None = None
) -> Graph:
    """Load a graph and hold it against its description.

    Args:
        runtime: the runtime that the graph is made for (``onnxruntime``).
        data: the bytes of the graph.
        inputs: what the graph must ask for.
        output: what the graph must give.
        threads: cores that one run may use; None takes all that this process may run on.

    Raises:
        RuntimeUnavailable: the runtime is unknown or not installed.
        BundleError: the runtime cannot read the graph, or its inputs or output are not as described.
    """
    if runtime == "onnxruntime":
        from .onnx import OnnxGraph

        return OnnxGraph(data, inputs, output, threads or available_cores())
    raise RuntimeUnavailable(f"unknown runtime {runtime!r}; this version has: onnxruntime")


def available_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity
        return os.cpu_count() or 1
