"""A PyTorch module becomes a slim ONNX graph."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import onnx
import onnxslim
import torch
from torch import Tensor, nn

from .graphs import EMBEDDINGS

OPSET = 17  # read by every runtime that we ship for; LayerNormalization is one node from here on


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    free: Mapping[str, Mapping[int, str]],
    output: str = EMBEDDINGS,
) -> onnx.ModelProto:
    """Trace a module in evaluation mode, fold its constants and drop nodes that change nothing.

    Args:
        module: takes the inputs in order and gives one tensor, (N, D) where ``free`` does not say otherwise.
        inputs: an example of each, by name.
        free: names of the dimensions that callers may choose, by input, or output, and axis.
        output: name of the output.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracing exporter is announced as the former one; it takes a second where the other takes ten, and its
        # graphs of opset 17 are read by every runtime that we ship for.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_axes={output: {0: "N"}, **{name: dict(axes) for name, axes in free.items()}},
        )
    model: onnx.ModelProto = onnxslim.slim(onnx.load_from_string(buffer.getvalue()))
    return model
