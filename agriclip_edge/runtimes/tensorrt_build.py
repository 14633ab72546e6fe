"""ONNX files become TensorRT engines, with progress, on the GPU that is to run them.

Precision is that of the graph (strong typing), on every version from 10.0 on: TensorRT 11 knows nothing else, and one
arithmetic for all versions is one that can be measured before it reaches a device.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import BundleError, BundleFault, RuntimeUnavailable
from .cuda import Device
from .engines import EngineKey
from .external import refuse_external_weights
from .tensorrt_api import api, log, one_line, version

MAX_BATCH = 16  # photos a run; `Classifier` asks for no more
WORKSPACE_BYTES = 512 << 20  # scratch memory of a layer; EfficientNet-Lite0's largest tensor takes 39 MB at 16 photos
_USUAL_BATCH = 1  # kernels are chosen for it: cameras bring one photo at a time
_FOR_CPUS = "; a graph quantised for CPUs is not accepted: symmetric int8, biases in floating point"

Progress = Callable[[float], None]  # told the share of the build that is done, 0 to 1


@dataclass(frozen=True)
class Built:
    """An engine fresh from the builder.

    Attributes:
        engine: its bytes.
        precision: what the graph computes in: "fp32", "fp16" or "int8".
        layers: layers of the network before fusion.
        seconds: how long parsing and building took.
    """

    engine: bytes
    precision: str
    layers: int
    seconds: float


def build(
    graph: bytes,
    *,
    max_batch: int = MAX_BATCH,
    max_length: int = 1,
    workspace: int = WORKSPACE_BYTES,
    timing_cache: bytes = b"",
    keep_timings: Callable[[bytes], None] | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build an engine from an ONNX file; with TensorRT-RTX this needs no GPU.

    Args:
        graph: the ONNX file's bytes; the first axis of each input is the batch.
        max_batch: the engine takes 1 to so many photos a run.
        max_length: largest size of any further free axis (the tokens of a text).
        workspace: bytes of scratch memory that one layer may ask for.
        timing_cache: what an earlier build on this GPU gave to ``keep_timings``; makes this one shorter.
        keep_timings: given the measured kernels at the end, after Ctrl-C too; TensorRT-RTX measures none.
        progress: called with the share that is done.

    Raises:
        RuntimeUnavailable: TensorRT is not installed, or the builder failed (memory, driver).
        BundleError: TensorRT cannot read the graph.
        KeyboardInterrupt: Ctrl-C while building; nothing is left behind.
    """
    trt, own_log, start = api(), log(), time.monotonic()
    refuse_external_weights(graph)
    monitor = _monitor(progress)
    with _interruptible(monitor), own_log.listening() as heard:
        builder = trt.Builder(own_log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, own_log)  # the weights live in it until the engine is built
        if not parser.parse(graph) or network.num_inputs == 0 or network.num_outputs == 0:
            raise _unreadable(parser, heard)
        config = _config(builder, workspace)
        config.add_optimization_profile(_profile(builder, network, max_batch, max_length))
        config.progress_monitor = monitor
        measured = None if "rtx" in trt.__name__ else _set_timing_cache(config, timing_cache)
        plan = None if monitor.stopped else builder.build_serialized_network(network, config)
    if measured is not None and keep_timings is not None:
        keep_timings(bytes(measured.serialize()))
    if monitor.stopped is not None:
        raise monitor.stopped
    if plan is None:
        reason = one_line("; ".join(heard)) or "no reason given"
        raise RuntimeUnavailable(f"{version()} cannot build the engine: {reason}")
    return Built(bytes(plan), _precision(network), network.num_layers, time.monotonic() - start)


def engine_key(graph: bytes, precision: str, gpu: Device, max_batch: int = MAX_BATCH) -> EngineKey:
    """The key of the engine that `build` makes here of a graph."""
    batch = (1, min(_USUAL_BATCH, max_batch), max_batch)
    return EngineKey(hashlib.sha256(graph).hexdigest(), version(), gpu.compute_capability, precision, batch)


def _monitor(progress: Progress | None) -> Any:
    trt = api()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Turns nested phases into one share, and Ctrl-C into the end of the build."""

        def __init__(self) -> None:
            super().__init__()
            self.stopped: BaseException | None = None
            self._phases: dict[str, list[int]] = {}  # by name, outermost first: steps done, steps in all

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._phases[name] = [0, max(steps, 1)]

        def step_complete(self, name: str, step: int) -> bool:
            try:
                if name in self._phases:
                    self._phases[name][0] = step + 1
                if progress is not None:
                    progress(self._share())
            except BaseException as error:  # an exception must not cross into the builder
                self.stopped = error
            return self.stopped is None

        def phase_finish(self, name: str) -> None:
            self._phases.pop(name, None)

        def _share(self) -> float:
            share, width = 0.0, 1.0
            for done, steps in list(self._phases.values()):
                share, width = share + width * min(done / steps, 1.0), width / steps
            return min(share, 1.0)

    return Monitor()


def _unreadable(parser: Any, heard: list[str]) -> BundleError:
    errors = [parser.get_error(place) for place in range(parser.num_errors)]
    reasons = [error.desc() for error in errors] or heard or ["it has no inputs or no outputs"]
    hint = _FOR_CPUS if any("antizeLinear" in error.node_operator() for error in errors) else ""
    message = f"{version()} cannot read the graph: {one_line('; '.join(reasons))}{hint}"
    return BundleError(BundleFault.GRAPH_UNREADABLE, message)


@contextmanager
def _interruptible(monitor: Any) -> Iterator[None]:
    """Let Ctrl-C stop a build at its next step: a KeyboardInterrupt inside a callback would be lost in the builder."""
    ignored = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
    if ignored or threading.current_thread() is not threading.main_thread():  # which alone is told of signals
        yield
        return

    def stop(number: int, frame: object) -> None:
        monitor.stopped = KeyboardInterrupt()

    former = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _config(builder: Any, workspace: int) -> Any:
    trt = api()
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # 10 bits of mantissa where the graph says 23
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    return config


def _profile(builder: Any, network: Any, max_batch: int, max_length: int) -> Any:
    profile = builder.create_optimization_profile()
    sizes = (1, 1), (min(_USUAL_BATCH, max_batch), max_length), (max_batch, max_length)  # batch and length
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        rest = list(tensor.shape)[1:]
        shapes = [(batch, *(length if size < 0 else size for size in rest)) for batch, length in sizes]
        profile.set_shape(tensor.name, *shapes)
    return profile


def _set_timing_cache(config: Any, data: bytes) -> Any:
    measured = config.create_timing_cache(data)
    if measured is None or not config.set_timing_cache(measured, False):  # of another GPU or version, or damaged
        measured = config.create_timing_cache(b"")
        config.set_timing_cache(measured, False)
    return measured


def _precision(network: Any) -> str:
    """What a network's products compute in, by the types that the graph gives them."""
    trt = api()
    layers = [network.get_layer(place) for place in range(network.num_layers)]
    if any(layer.type == trt.LayerType.QUANTIZE for layer in layers):
        return "int8"
    products = [x for x in layers if x.type in (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)]
    half = bool(products) and all(layer.get_output(0).dtype == trt.DataType.HALF for layer in products)
    return "fp16" if half else "fp32"
