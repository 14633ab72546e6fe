"""The gates: a graph that says something else than the model it was made from is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from agriclip_edge.errors import AgriclipError

Vectors = npt.NDArray[np.float32]  # (N, D), of length 1


class GateError(AgriclipError):
    """A graph lost too much on its way out of training: nothing was written."""


@dataclass(frozen=True)
class Parity:
    """How alike two sets of unit vectors are.

    Attributes:
        mean: mean cosine of corresponding vectors.
        least: smallest of them.
        difference: largest absolute difference of two values.
        nearest: share of vectors whose nearest other one is the same in both sets.
    """

    mean: float
    least: float
    difference: float
    nearest: float


def compare(reference: Vectors, vectors: Vectors) -> Parity:
    """Compare N unit vectors with those that they should be."""
    cosines = (reference.astype(np.float64) * vectors).sum(axis=1)
    nearest = (_nearest(reference) == _nearest(vectors)).mean()
    return Parity(float(cosines.mean()), float(cosines.min()), float(np.abs(reference - vectors).max()), float(nearest))


def require(what: str, parity: Parity, *, mean: float = -1, least: float = -1, difference: float = np.inf) -> None:
    """Refuse a graph that is further from its reference than this.

    Raises:
        GateError: naming the figure that fails.
    """
    if not parity.mean >= mean:  # NaN fails too
        raise GateError(f"{what}: mean cosine {parity.mean:.6f} to the reference; accepted: at least {mean}")
    if not parity.least >= least:
        raise GateError(f"{what}: least cosine {parity.least:.6f} to the reference; accepted: at least {least}")
    if not parity.difference <= difference:
        raise GateError(f"{what}: values differ by {parity.difference:.2e}; accepted: at most {difference:.0e}")


def run_graph(graph: bytes, inputs: dict[str, npt.NDArray[np.generic]]) -> Vectors:
    """The output of a graph under ONNX Runtime, on one thread so that figures repeat."""
    return np.asarray(open_session(graph, 1).run(None, inputs)[0], dtype=np.float32)


def open_session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A graph under ONNX Runtime that computes what it says, for TensorRT too.

    By itself ONNX Runtime (1.31) rounds the float biases of quantised products to int32 by the product of two scales,
    which in float16 is next to 0: an INT8 graph for TensorRT then gives nonsense.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=["WeightBiasQuantization"]
    )


def _nearest(vectors: Vectors) -> npt.NDArray[np.intp]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return cosines.argmax(axis=1)
