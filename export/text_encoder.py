"""The text encoder's graph: token ids in, unit vectors out; weights are INT8, most products are computed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from training.looks import WideTower
from training.text_tower import TextTower

from .graphs import TEXT_INPUTS, graph_bytes
from .parity import Parity, Vectors, compare, require, run_graph
from .smooth import round_products
from .tracing import trace
from .weights import store_int8

_TRACING_DIFFERENCE = 1e-4
_LEAST_MEAN_COSINE = 0.999  # of INT8 to float32 over the prompts
_LEAST_COSINE = 0.998
_CALIBRATING = 4  # one of so many of ImageNet's classes
_EXAMPLE = ("a photo of a mango leaf", "cow")  # texts of different lengths, so that the mask is traced too


@dataclass(frozen=True)
class TextGraph:
    """A graph that passed its gates, how near it is to PyTorch, and whether it computes in INT8."""

    data: bytes
    parity: Parity
    rounded: bool


def general_texts() -> list[str]:
    """Names and glosses of some of ImageNet's classes: texts of all lengths that are nobody's labels."""
    import timm.data

    info = timm.data.ImageNetInfo()
    some = range(0, info.num_classes(), _CALIBRATING)
    return [info.index_to_description(number, detailed=gloss) for number in some for gloss in (False, True)]


def export_text_encoder(
    tower: TextTower | WideTower,
    prompts: Sequence[str],
    metadata: Mapping[str, str],
    calibration: Sequence[str] | None = None,
) -> TextGraph:
    """Trace, compare, compute in INT8 where that passes the gate and else store as INT8, compare again.

    Args:
        tower: the text tower that the image encoder was trained against.
        prompts: texts to compare on: the labels that the bundle's packs hold.
        metadata: properties for the graph.
        calibration: texts whose activations give the ranges; None takes `general_texts`, so that the graph and with it
            the space of labels do not depend on the labels of the day.

    Raises:
        GateError: the graph differs from the tower.
    """
    reference = tower.embed(prompts)
    example = dict(zip(TEXT_INPUTS, tower.tokens(_EXAMPLE)))
    model = trace(tower, example, {name: {0: "N", 1: "T"} for name in TEXT_INPUTS})
    exact = graph_bytes(model, {}, metadata)
    require(
        "text encoder, float32",
        compare(reference, embed_prompts(exact, tower, prompts)),
        difference=_TRACING_DIFFERENCE,
    )
    rounded = onnx.load_from_string(round_products(exact, _feeds(tower, calibration or general_texts())))
    for made in (rounded, model):
        store_int8(made)
        data = graph_bytes(made, {}, metadata)
        parity = compare(reference, embed_prompts(data, tower, prompts))
        if parity.mean >= _LEAST_MEAN_COSINE and parity.least >= _LEAST_COSINE:
            break
    require("text encoder, INT8 weights", parity, mean=_LEAST_MEAN_COSINE, least=_LEAST_COSINE)
    return TextGraph(data, parity, any(node.op_type == "QuantizeLinear" for node in made.graph.node))


def _feeds(tower: TextTower | WideTower, texts: Sequence[str]) -> list[dict[str, npt.NDArray[Any]]]:
    """A run for each text, so that no padding is in it."""
    tokens = (tower.tokens([text]) for text in texts)
    return [dict(zip(TEXT_INPUTS, (part.numpy() for part in parts))) for parts in tokens]


def embed_prompts(graph: bytes, tower: TextTower | WideTower, prompts: Sequence[str]) -> Vectors:
    """Unit vectors float32 (N, D) of prompts by a graph, tokenised as for the tower."""
    with torch.inference_mode():
        tokens = tower.tokens(prompts)
    inputs: dict[str, npt.NDArray[np.generic]] = {name: part.numpy() for name, part in zip(TEXT_INPUTS, tokens)}
    return run_graph(graph, inputs)
