"""Graphs run by TensorRT from the engine that was built on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.manifest import TensorSpec
from ..errors import BundleError, BundleFault, RuntimeUnavailable
from .cuda import Buffer, Stream, device
from .engines import PREPARE, EngineStore
from .tensorrt_api import api, log, one_line, version

if TYPE_CHECKING:
    import numpy.typing as npt

_LANES = 4  # runs at the same time; each holds its own activations in the GPU's memory


def open_engine(graph: bytes, inputs: Sequence[TensorSpec], output: TensorSpec, threads: int) -> TensorrtGraph:
    """The engine that `agriclip-edge prepare` built here from these ONNX bytes.

    Raises:
        RuntimeUnavailable: TensorRT, ``cuda-python``, the GPU or the engine is missing, with the line that helps.
        BundleError: inputs or output are not as described.
    """
    here, gpu, store = version(), device(), EngineStore()
    header = store.find(hashlib.sha256(graph).hexdigest(), here, gpu.compute_capability)
    engine = store.read(header.key)
    if engine is None:
        raise RuntimeUnavailable(f"the engine {store.path(header.key)} is damaged: {PREPARE}")
    return TensorrtGraph(engine, inputs, output, threads, max_batch=header.key.batch[2])


class TensorrtGraph:
    """One engine on the GPU; each concurrent run has its own execution context, stream and buffers."""

    def __init__(
        self, engine: bytes, inputs: Sequence[TensorSpec], output: TensorSpec, threads: int, *, max_batch: int
    ) -> None:
        """Load an engine; see `agriclip_edge.runtimes.open_graph`. ``max_batch`` is that of its build."""
        with log().listening() as heard:
            self._runtime = api().Runtime(log())
            self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            reason = one_line("; ".join(heard))
            raise RuntimeUnavailable(f"{version()} refuses the engine: {reason}: {PREPARE} --force")
        _compare(self._engine, [*inputs, output])
        self._input, self._output, self._max_batch = inputs[0], output, max_batch
        self._lanes = threading.BoundedSemaphore(max(1, min(threads, _LANES)))
        self._idle: list[_Lane] = []

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run the engine; see `agriclip_edge.runtimes.Graph`. More photos than its largest batch go in several runs."""
        images = self._checked(inputs[self._input.name])
        vectors = np.empty((len(images), *(size or 1 for size in self._output.shape[1:])), np.float32)
        with self._lane() as lane:
            for start in range(0, len(images), self._max_batch):
                part = slice(start, start + self._max_batch)
                lane.run(images[part], vectors[part])
        return vectors

    def gpu_milliseconds(self, images: npt.NDArray[Any], runs: int) -> list[float]:
        """The GPU's own time for each of some runs of one batch (N, S, S, 3), without the copies."""
        with self._lane() as lane:
            lane.put(self._checked(images)[: self._max_batch])
            return [lane.stream.milliseconds(lane.execute) for _ in range(runs)]

    def _checked(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same, contiguous; refused unless it is what the engine's buffers were made for."""
        shape = self._input.shape[1:]
        if list(images.shape[1:]) != shape or images.dtype != self._input.dtype:
            wanted = f"{self._input.dtype} (N, {', '.join(map(str, shape))})"
            message = f"the engine takes {wanted}; got {images.dtype} {images.shape}"
            raise BundleError(BundleFault.GRAPH_MISMATCH, message)
        return np.ascontiguousarray(images)

    @contextmanager
    def _lane(self) -> Iterator[_Lane]:
        with self._lanes:
            try:
                lane = self._idle.pop()  # a list's pop and append are atomic
            except IndexError:
                lane = _Lane(self._engine, self._input, self._output, self._max_batch)
            yield lane
            self._idle.append(lane)  # not after an error: its stream may hold half of a run


class _Lane:
    """What one run at a time needs: execution context, stream, buffers."""

    def __init__(self, engine: Any, source: TensorSpec, target: TensorSpec, max_batch: int) -> None:
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeUnavailable(
                f"the GPU's memory is too full for {max_batch} photos a run: {PREPARE} --max-batch 1"
            )
        self.stream = Stream()
        self._name = source.name
        self._source, self._target = (Buffer(max_batch * _bytes_of(spec)) for spec in (source, target))
        self._context.set_tensor_address(source.name, self._source.pointer)
        self._context.set_tensor_address(target.name, self._target.pointer)

    def put(self, images: npt.NDArray[Any]) -> None:
        self._context.set_input_shape(self._name, images.shape)
        self._source.put(images, self.stream)

    def execute(self) -> None:
        if not self._context.execute_async_v3(self.stream.handle):
            raise RuntimeUnavailable(f"{version()} cannot run the engine: {PREPARE} --force")

    def run(self, images: npt.NDArray[Any], vectors: npt.NDArray[np.float32]) -> None:
        self.put(images)
        self.execute()
        self._target.get(vectors, self.stream)
        self.stream.wait()


def _compare(engine: Any, expected: Sequence[TensorSpec]) -> None:
    """Hold names, dtypes and shapes of an engine's doors against the manifest."""
    trt = api()
    dtypes = {trt.DataType.UINT8: "uint8", trt.DataType.INT64: "int64", trt.DataType.FLOAT: "float32"}
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    real = {
        name: (
            dtypes.get(engine.get_tensor_dtype(name), "another dtype"),
            [size if size >= 0 else None for size in engine.get_tensor_shape(name)],
        )
        for name in names
    }
    wanted = {spec.name: (spec.dtype, list(spec.shape)) for spec in expected}
    if real != wanted:
        message = f"the engine's inputs and outputs are {real}; bundle.json says {wanted}"
        raise BundleError(BundleFault.GRAPH_MISMATCH, message)


def _bytes_of(spec: TensorSpec) -> int:
    """Bytes of one row of a tensor."""
    return int(np.prod([size or 1 for size in spec.shape[1:]])) * np.dtype(spec.dtype).itemsize
