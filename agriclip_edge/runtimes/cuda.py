"""CUDA memory, streams and events through ``cuda-python``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RuntimeUnavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_INSTALL = 'pip install "cuda-python<13" for CUDA 12 (JetPack 6), pip install cuda-python for CUDA 13 (JetPack 7)'
_TRACES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")


@dataclass(frozen=True)
class Device:
    """The GPU in use.

    Attributes:
        name: as its driver calls it.
        compute_capability: major and minor version, "8.7" for Orin.
        free_bytes: memory that is free now; on a Jetson it is shared with the CPU.
    """

    name: str
    compute_capability: str
    free_bytes: int


def has_nvidia_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU with a driver, by the driver's files: nothing is loaded or started."""
    return any(Path(trace).exists() for trace in _TRACES)


def device() -> Device:
    """The first GPU that this process may use (``CUDA_VISIBLE_DEVICES`` chooses).

    Raises:
        RuntimeUnavailable: ``cuda-python`` is not installed, or there is no GPU or no driver for it.
    """
    runtime = _runtime()
    error, count = runtime.cudaGetDeviceCount()
    if int(error) != 0 or count == 0:
        reason = runtime.cudaGetErrorString(error)[1].decode() if int(error) != 0 else "none is visible here"
        message = f"no CUDA device: {reason}; TensorRT runs on an NVIDIA GPU with its driver"
        if has_nvidia_gpu() and error == runtime.cudaError_t.cudaErrorInsufficientDriver:
            message += f"; cuda-python must not be newer than the driver's CUDA: {_INSTALL}"
        raise RuntimeUnavailable(message)
    properties = _call(runtime.cudaGetDeviceProperties, 0)
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    free, _ = _call(runtime.cudaMemGetInfo)
    return Device(name.rstrip("\0"), f"{properties.major}.{properties.minor}", int(free))


class Stream:
    """Work that the GPU does in order, beside that of other streams."""

    def __init__(self) -> None:
        runtime = _runtime()
        self.handle: int = int(_call(runtime.cudaStreamCreateWithFlags, runtime.cudaStreamNonBlocking))

    def wait(self) -> None:
        """Return when the GPU has done all of it."""
        _call(_runtime().cudaStreamSynchronize, self.handle)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """The GPU's own time, by CUDA events, for what ``work`` puts on this stream."""
        runtime = _runtime()
        start, end = _call(runtime.cudaEventCreate), _call(runtime.cudaEventCreate)
        try:
            _call(runtime.cudaEventRecord, start, self.handle)
            work()
            _call(runtime.cudaEventRecord, end, self.handle)
            _call(runtime.cudaEventSynchronize, end)
            return float(_call(runtime.cudaEventElapsedTime, start, end))
        finally:
            runtime.cudaEventDestroy(start)
            runtime.cudaEventDestroy(end)

    def __del__(self) -> None:
        if hasattr(self, "handle") and not sys.is_finalizing():
            _runtime().cudaStreamDestroy(self.handle)


class Buffer:
    """A piece of the GPU's memory, freed with this object."""

    def __init__(self, size: int) -> None:
        """Take ``size`` bytes.

        Raises:
            RuntimeUnavailable: so much is not free.
        """
        self.size = size
        self.pointer: int = int(_call(_runtime().cudaMalloc, size))

    def put(self, array: npt.NDArray[Any], stream: Stream) -> None:
        """Copy a contiguous array of at most ``size`` bytes to the GPU."""
        runtime = _runtime()
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _call(runtime.cudaMemcpyAsync, self.pointer, array.ctypes.data, array.nbytes, kind, stream.handle)

    def get(self, array: npt.NDArray[np.float32], stream: Stream) -> None:
        """Fill a contiguous array from the GPU; its values are there once the stream was waited for."""
        runtime = _runtime()
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _call(runtime.cudaMemcpyAsync, array.ctypes.data, self.pointer, array.nbytes, kind, stream.handle)

    def __del__(self) -> None:
        if hasattr(self, "pointer") and not sys.is_finalizing():
            _runtime().cudaFree(self.pointer)


@cache
def _runtime() -> Any:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError:
        raise RuntimeUnavailable(f"cuda-python is not installed: {_INSTALL}") from None


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    """Call CUDA and give its result; its error as an exception."""
    error, *values = function(*arguments)
    if int(error) != 0:
        reason = _runtime().cudaGetErrorString(error)[1].decode()
        raise RuntimeUnavailable(f"CUDA: {function.__name__}: {reason}")
    return values[0] if len(values) == 1 else tuple(values)
