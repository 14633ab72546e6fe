"""What every graph of a bundle has in common: the names and types at its doors, its description, its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from agriclip_edge.bundle.manifest import TensorSpec, TextEncoder, Variant

IMAGES = "images"
EMBEDDINGS = "embeddings"
TEXT_INPUTS = ("input_ids", "attention_mask")
_PRODUCER = "agriclip-edge"


def graph_bytes(
    model: onnx.ModelProto, weights: Mapping[str, npt.NDArray[np.generic]], metadata: Mapping[str, str]
) -> bytes:
    """A checked graph as bytes: same graph, same bytes.

    Args:
        model: the graph; changed in place.
        weights: initialisers to add, by name.
        metadata: properties of the graph, for whoever finds the file alone.
    """
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items())
    model.producer_name, model.producer_version, model.doc_string = _PRODUCER, "", ""
    del model.metadata_props[:]
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def image_variant(
    name: str, precision: str, file: str, size: int, dim: int, figures: Mapping[str, float] | None = None
) -> Variant:
    """The manifest's entry of an image encoder for ONNX Runtime."""
    return Variant(
        name=name,
        runtime="onnxruntime",
        precision=precision,
        file=file,
        input=TensorSpec(IMAGES, "uint8", [None, size, size, 3]),
        output=TensorSpec(EMBEDDINGS, "float32", [None, dim]),
        figures=dict(figures or {}),
    )


def text_entry(file: str, vocabulary: str, max_tokens: int, dim: int, templates: Sequence[str]) -> TextEncoder:
    """The manifest's entry of the text encoder."""
    return TextEncoder(
        file=file,
        vocabulary=vocabulary,
        max_tokens=max_tokens,
        inputs=[TensorSpec(name, "int64", [None, None]) for name in TEXT_INPUTS],
        output=TensorSpec(EMBEDDINGS, "float32", [None, dim]),
        templates=list(templates),
    )
