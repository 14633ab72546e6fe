"""Static INT8 of an image encoder: QDQ nodes, a scale for each output channel, calibrated on real photos.

What was measured with EfficientNet-Lite0 (cosine of the embedding to float32, mean and least): one scale a tensor .899
and .527, one a channel .992 and .947; with the first convolutions in float .999 and .994. Their inputs are few channels
of raw pixels, whose range one scale cannot serve. `blame` names the layers when a graph does not pass its gate.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization import qdq_loss_debug as debug
from onnxruntime.quantization.shape_inference import quant_pre_process

from .graphs import IMAGES

Photos = npt.NDArray[np.uint8]  # (N, S, S, 3)
_BATCH = 16  # photos a calibration step


@dataclass(frozen=True)
class QuantiseConfig:
    """How an encoder is quantised; the defaults are for x86 and for ARM under ONNX Runtime and OpenVINO.

    Attributes:
        float_convolutions: how many of the first convolutions stay in float.
        symmetric: S8S8 with zero points of 0 and float biases, as TensorRT wants it; else U8S8.
        per_channel: one weight scale for each output channel; a tensor's single scale loses too much.
    """

    float_convolutions: int = 5
    symmetric: bool = False
    per_channel: bool = True


def quantise(
    graph: bytes, photos: Photos, config: QuantiseConfig, ranges: Mapping[str, tuple[float, float]] | None = None
) -> bytes:
    """Quantise a float32 graph.

    Args:
        graph: an ONNX graph with float32 weights and the input ``images``.
        photos: to calibrate on, uint8 (N, S, S, 3), preprocessed as at run time.
        config: how.
        ranges: least and greatest value of activations by name, where they are not to be those of the photos.

    Returns:
        the graph in QDQ form: same inputs and outputs, same bytes for the same arguments.
    """
    options: dict[str, Any] = {}
    if config.symmetric:
        options = {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
        }
    if ranges:
        options["TensorQuantOverrides"] = {
            name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in ranges.items()
        }
    with workspace(graph) as folder:
        prepared = folder / "prepared.onnx"
        kept = convolutions(onnx.load(prepared))[: config.float_convolutions]
        quantize_static(
            str(prepared),
            str(folder / "quantised.onnx"),
            Reader(photos),
            quant_format=QuantFormat.QDQ,
            per_channel=config.per_channel,
            activation_type=QuantType.QInt8 if config.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=kept,
            extra_options=options,
        )
        return (folder / "quantised.onnx").read_bytes()


def blame(graph: bytes, quantised: bytes, photos: Photos, worst: int = 5) -> list[tuple[str, float]]:
    """The layers whose own quantisation loses most.

    Each activation of the float graph is rounded by the scale that the quantised graph has for it, so that a layer
    answers for itself and not for those before it.

    Args:
        graph: in float32.
        quantised: what was made of it, in QDQ form.
        photos: some photos, uint8 (N, S, S, 3).
        worst: how many layers to name.

    Returns:
        names of activations with the signal-to-noise ratio of their quantisation in dB, the worst first.
    """
    scales = dict(activation_scales(onnx.load_from_string(quantised)))
    with workspace(graph) as folder:
        widened = str(folder / "widened.onnx")
        debug.modify_model_output_intermediate_tensors(str(folder / "prepared.onnx"), widened)
        seen = debug.collect_activations(widened, Reader(photos))
    ratios = [(name, _signal_to_noise(np.concatenate(seen[name]), *scales[name])) for name in scales if name in seen]
    return sorted(ratios, key=lambda pair: pair[1])[:worst]


def activation_scales(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[float, int, int, int]]]:
    """Scale, zero point, least and greatest level of every activation that a graph rounds, by the tensor's name."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (onnx.numpy_helper.to_array(values[name]) for name in node.input[1:3])
            if scale.ndim == 0:  # weights have a scale for each channel
                bounds = np.iinfo(zero.dtype)
                yield node.input[0], (float(scale), int(zero), int(bounds.min), int(bounds.max))


def _signal_to_noise(values: npt.NDArray[np.float32], scale: float, zero: int, low: int, high: int) -> float:
    levels = np.clip(np.rint(values / scale) + zero, low, high)
    noise = float(np.linalg.norm((levels - zero) * scale - values))
    return 20 * float(np.log10(max(float(np.linalg.norm(values)), 1e-12) / max(noise, 1e-12)))


class Reader(CalibrationDataReader):
    """Hands photos to the calibrator, some at a time."""

    def __init__(self, photos: Photos) -> None:
        self._batches = iter([photos[start : start + _BATCH] for start in range(0, len(photos), _BATCH)])

    def get_next(self) -> dict[str, Photos] | None:
        """The next batch by the name of its input, or None."""
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


@contextmanager
def workspace(graph: bytes) -> Iterator[Path]:
    """A temporary folder with the graph prepared as the quantiser wants it (``prepared.onnx``)."""
    logging.getLogger().addFilter(_quiet)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "float.onnx").write_bytes(graph)
        quant_pre_process(
            str(folder / "float.onnx"),
            str(folder / "prepared.onnx"),
            skip_symbolic_shape=True,
        )
        try:
            yield folder
        finally:
            logging.getLogger().removeFilter(_quiet)


def _quiet(record: logging.LogRecord) -> bool:
    """Leave out the quantiser's advice to run the preparation that has been run."""
    return "pre-process" not in record.getMessage().lower()


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of a graph's convolutions, in their order."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"]
