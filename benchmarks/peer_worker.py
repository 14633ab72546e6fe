"""A peer in a process of its own: PyTorch, ONNX Runtime or OpenVINO as their manuals would run it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agriclip_edge.worker import Prepare, Run, serve


def main(runtime: str, precision: str, path: str, size: str, threads: str) -> None:
    """Serve one side.

    Args:
        runtime: ``torch``, ``onnxruntime`` or ``openvino``.
        precision: what it computes in, and for PyTorch the layout (``fp32 channels_last``).
        path: the file that it runs.
        size: side of the pictures in pixels.
        threads: cores that it may use.
    """
    importlib.import_module(runtime)  # before the clock of loading starts: it is part of the process's start
    open_ = {"torch": _torch, "onnxruntime": _onnxruntime, "openvino": _openvino}[runtime]

    def load() -> Prepare:
        run = open_(Path(path), precision, int(threads))

        def prepare(batch: int) -> Run:
            shape = (batch, 3, int(size), int(size))
            return run(np.random.default_rng(0).standard_normal(shape, np.float32))

        return prepare

    serve(load)


def _torch(path: Path, precision: str, threads: int) -> Callable[[Any], Run]:
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if "channels_last" in precision else torch.contiguous_format
    module = torch.load(path, weights_only=False).to(memory_format=layout)  # our own file: benchmarks/towers.py

    def prepared(pictures: Any) -> Run:
        tensor = torch.from_numpy(pictures).to(memory_format=layout)

        def run() -> Any:
            with torch.inference_mode():
                return module(tensor)

        return run

    return prepared


def _onnxruntime(path: Path, precision: str, threads: int) -> Callable[[Any], Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pictures: lambda: session.run(None, {name: pictures})


def _openvino(path: Path, precision: str, threads: int) -> Callable[[Any], Run]:
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision in ("fp32", "bf16"):  # INT8 keeps the default, which is bf16 for the rest where the CPU has it
        options["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
    core = openvino.Core()
    request = core.compile_model(core.read_model(path), "CPU", options).create_infer_request()

    def prepared(pictures: Any) -> Run:
        return lambda: request.infer([pictures], share_inputs=True)

    return prepared
