"""The two towers of a CLIP as graphs, each held against PyTorch before and after its weights are stored smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch

from agriclip_edge.bundle.manifest import TensorSpec

from .graphs import IMAGES, graph_bytes
from .image_encoder import made_photos
from .open_clip_model import ClipModel, plain
from .parity import Parity, Vectors, compare, require, run_graph
from .tracing import trace
from .weights import store_half, store_int8

INPUT_IDS = "input_ids"
_DIFFERENCE = 1e-4  # largest difference of a value to PyTorch that float32 arithmetic explains
_HALF_COSINES = (0.99999, 0.9999)  # mean and least after storing as float16; else the weights stay float32
_INT8_COSINES = (0.999, 0.998)  # and of texts after storing as INT8 by row; else float16
_PHOTOS = 16
_BATCH = 16
_PROMPTS = 128  # of those that a bundle's packs need, evenly taken: the text tower is the slower one in PyTorch
_EXAMPLE = ("a photo of a mango leaf", "cow")


@dataclass(frozen=True)
class ClipImageGraph:
    """The image tower as graphs that passed.

    Attributes:
        data: to ship.
        exact: with float32 weights.
        precision: of the weights in ``data``: ``fp16-weights`` or ``fp32``.
        parity: of ``data`` to PyTorch.
        traced: of ``exact`` to PyTorch.
    """

    data: bytes
    exact: bytes
    precision: str
    parity: Parity
    traced: Parity


@dataclass(frozen=True)
class ClipTextGraph:
    """The text tower as a graph that passed.

    Attributes:
        data: to ship.
        exact: with float32 weights.
        precision: of its weights: ``int8-weights``, ``fp16-weights`` or ``fp32``.
        inputs: what it asks for.
        parity: of ``data`` to PyTorch.
        traced: of the graph with float32 weights to PyTorch.
    """

    data: bytes
    exact: bytes
    precision: str
    inputs: list[TensorSpec]
    parity: Parity
    traced: Parity


def export_image_tower(
    model: ClipModel, metadata: Mapping[str, str], photos: npt.NDArray[np.uint8] | None = None
) -> ClipImageGraph:
    """Trace, compare, store as float16 where that loses nothing, compare again.

    Args:
        model: its image tower is made plain on the way, after PyTorch has said what it should give.
        metadata: properties for the graph.
        photos: to compare on, uint8 (N, S, S, 3), beside some made of chance.

    Raises:
        GateError: the graph differs from the tower.
    """
    squares = made_photos(_PHOTOS, model.size)
    squares = squares if photos is None else np.concatenate([squares, photos])
    reference = _in_torch(model, squares)
    traced = trace(plain(model.image), {IMAGES: torch.from_numpy(squares[:2])}, {IMAGES: {0: "N"}})
    exact = graph_bytes(_copy(traced), {}, metadata)
    parity = compare(reference, _in_onnx(exact, squares))
    require(f"image tower of {model.name}, float32", parity, difference=_DIFFERENCE)
    store_half(traced)
    half = graph_bytes(traced, {}, metadata)
    stored = compare(reference, _in_onnx(half, squares))
    if _reaches(stored, _HALF_COSINES):
        return ClipImageGraph(half, exact, "fp16-weights", stored, parity)
    return ClipImageGraph(exact, exact, "fp32", parity, parity)


def export_text_tower(model: ClipModel, prompts: Sequence[str], metadata: Mapping[str, str]) -> ClipTextGraph:
    """Trace, compare, store as INT8 by row or as float16 where that loses little, compare again.

    Args:
        model: its text tower is made plain on the way, after PyTorch has said what it should give.
        prompts: to compare on.
        metadata: properties for the graph.

    Raises:
        GateError: the graph differs from the tower.
        LabelError: a prompt is longer than the tower reads.
    """
    chosen = [*prompts][:: max(len(prompts) // _PROMPTS, 1)]
    ids = model.tokens(chosen)
    with torch.inference_mode():
        reference = np.concatenate([model.text(part).numpy() for part in ids.split(_BATCH)])
    example = model.tokens(_EXAMPLE)
    axes = {0: "N"}
    if model.text.free:
        axes[1], example = "T", example[:, : _longest(example)]
    traced = trace(plain(model.text), {INPUT_IDS: example}, {INPUT_IDS: axes})
    inputs = [TensorSpec(INPUT_IDS, "int64", [None, None if model.text.free else model.text.context])]
    exact = graph_bytes(_copy(traced), {}, metadata)
    parity = compare(reference, _texts_in_onnx(exact, ids, model.text.free))
    require(f"text tower of {model.name}, float32", parity, difference=_DIFFERENCE)
    for precision, store, cosines in (
        ("int8-weights", store_int8, _INT8_COSINES),
        ("fp16-weights", store_half, _HALF_COSINES),
    ):
        smaller = _copy(traced)
        store(smaller)
        data = graph_bytes(smaller, {}, metadata)
        stored = compare(reference, _texts_in_onnx(data, ids, model.text.free))
        if _reaches(stored, cosines):
            return ClipTextGraph(data, exact, precision, inputs, stored, parity)
    return ClipTextGraph(exact, exact, "fp32", inputs, parity, parity)


def _in_torch(model: ClipModel, squares: npt.NDArray[np.uint8]) -> Vectors:
    with torch.inference_mode():
        return np.concatenate([model.image(part).numpy() for part in torch.from_numpy(squares).split(_BATCH)])


def _in_onnx(graph: bytes, squares: npt.NDArray[np.uint8]) -> Vectors:
    return run_graph(graph, {IMAGES: squares})


def _texts_in_onnx(graph: bytes, ids: torch.Tensor, free: bool) -> Vectors:
    """As a device runs it: without the padding that is not needed."""
    return run_graph(graph, {INPUT_IDS: (ids[:, : _longest(ids)] if free else ids).numpy()})


def _longest(ids: torch.Tensor) -> int:
    """How many columns hold a token."""
    return int((ids != 0).any(dim=0).nonzero().max()) + 1


def _reaches(parity: Parity, cosines: tuple[float, float]) -> bool:
    mean, least = cosines
    return parity.mean >= mean and parity.least >= least  # false for NaN, which float16 makes of too large a weight


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
