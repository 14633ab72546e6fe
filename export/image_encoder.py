"""The image encoder's graph: uint8 photos in, unit vectors out, weights stored as float16."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch
from PIL import Image
from torch import nn

from .graphs import IMAGES, graph_bytes
from .parity import Parity, compare, require, run_graph
from .tracing import trace
from .weights import store_half

_TRACING_DIFFERENCE = 1e-4  # largest difference of a value to PyTorch that float32 arithmetic explains
_HALF_MEAN_COSINE = 0.99999  # after float16 storage; EfficientNet-Lite0 keeps its least cosine above this, too
_HALF_LEAST_COSINE = 0.9999
_PHOTOS = 32


@dataclass(frozen=True)
class ImageGraph:
    """A graph that passed its gates, and how near it is to PyTorch.

    Attributes:
        data: the graph with float16 weights.
        exact: the graph with float32 weights, which other variants are made from and held against.
        parity: of ``data`` to PyTorch.
        traced: of ``exact`` to PyTorch.
    """

    data: bytes
    exact: bytes
    parity: Parity
    traced: Parity


def export_image_encoder(
    tower: nn.Module, size: int, metadata: Mapping[str, str], photos: npt.NDArray[np.uint8] | None = None
) -> ImageGraph:
    """Trace, compare, store as float16, compare again.

    Args:
        tower: uint8 (N, S, S, 3) to unit vectors float32 (N, D).
        size: S in pixels.
        metadata: properties for the graph.
        photos: to compare on, uint8 (N, S, S, 3), preprocessed; None takes photos made of chance.

    Raises:
        GateError: the graph differs from the tower.
    """
    photos = made_photos(_PHOTOS, size) if photos is None else photos
    with torch.inference_mode():
        reference = tower(torch.from_numpy(photos)).numpy()
    model = trace(tower, {IMAGES: torch.from_numpy(photos[:2])}, {IMAGES: {0: "N"}})
    exact = graph_bytes(_copy(model), {}, metadata)
    traced = compare(reference, run_graph(exact, {IMAGES: photos}))
    require("image encoder, float32", traced, difference=_TRACING_DIFFERENCE)
    store_half(model)
    data = graph_bytes(model, {}, metadata)
    half = compare(reference, run_graph(data, {IMAGES: photos}))
    require("image encoder, float16 weights", half, mean=_HALF_MEAN_COSINE, least=_HALF_LEAST_COSINE)
    return ImageGraph(data, exact, half, traced)


def made_photos(count: int, size: int) -> npt.NDArray[np.uint8]:
    """Photos made of chance, uint8 (N, S, S, 3): coloured clouds from coarse to fine, with flat shapes on them."""
    generator = np.random.default_rng(0)
    photos = np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        grain = 2 ** (number % 5 + 1)  # 2 to 32 clouds along a side
        clouds = Image.fromarray(generator.integers(0, 256, (grain, grain, 3), dtype=np.uint8))
        photos[number] = np.asarray(clouds.resize((size, size), Image.Resampling.BICUBIC))
        top, left = generator.integers(0, size // 2, 2)
        photos[number, top : top + size // 3, left : left + size // 3] = generator.integers(0, 256, 3)
    return photos


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
