"""The text encoder's graph: token ids in, unit vectors out, weights stored as INT8 by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from training.looks import WideTower
from training.text_tower import TextTower

from .graphs import TEXT_INPUTS, graph_bytes
from .parity import Parity, Vectors, compare, require, run_graph
from .tracing import trace
from .weights import store_int8

_TRACING_DIFFERENCE = 1e-4
_LEAST_MEAN_COSINE = 0.999  # of INT8 to float32 over the prompts; dynamic quantisation of activations gives 0.993
_LEAST_COSINE = 0.998
_EXAMPLE = ("a photo of a mango leaf", "cow")  # texts of different lengths, so that the mask is traced too


@dataclass(frozen=True)
class TextGraph:
    """A graph that passed its gates, and how near it is to PyTorch."""

    data: bytes
    parity: Parity


def export_text_encoder(tower: TextTower | WideTower, prompts: Sequence[str], metadata: Mapping[str, str]) -> TextGraph:
    """Trace, compare, store as INT8, compare again.

    Args:
        tower: the text tower that the image encoder was trained against.
        prompts: texts to compare on: the labels that the bundle's packs hold.
        metadata: properties for the graph.

    Raises:
        GateError: the graph differs from the tower.
    """
    reference = tower.embed(prompts)
    example = dict(zip(TEXT_INPUTS, tower.tokens(_EXAMPLE)))
    model = trace(tower, example, {name: {0: "N", 1: "T"} for name in TEXT_INPUTS})
    exact = compare(reference, embed_prompts(graph_bytes(model, {}, metadata), tower, prompts))
    require("text encoder, float32", exact, difference=_TRACING_DIFFERENCE)
    store_int8(model)
    data = graph_bytes(model, {}, metadata)
    stored = compare(reference, embed_prompts(data, tower, prompts))
    require("text encoder, INT8 weights", stored, mean=_LEAST_MEAN_COSINE, least=_LEAST_COSINE)
    return TextGraph(data, stored)


def embed_prompts(graph: bytes, tower: TextTower | WideTower, prompts: Sequence[str]) -> Vectors:
    """Unit vectors float32 (N, D) of prompts by a graph, tokenised as for the tower."""
    with torch.inference_mode():
        tokens = tower.tokens(prompts)
    inputs: dict[str, npt.NDArray[np.generic]] = {name: part.numpy() for name, part in zip(TEXT_INPUTS, tokens)}
    return run_graph(graph, inputs)
