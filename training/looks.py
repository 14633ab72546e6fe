"""How a photo looks, beside what words say of it: a further part of an embedding, and what words say of that part.

An encoder that is trained against texts forgets what its labels do not speak of, and then tells apart badly what it is
shown by photos alone. So its embedding may have a second part: what ImageNet's features say of the photo, in few
numbers. Measured on ten tasks that an encoder had never seen, five photos a class, nearest class mean: 67.4 % by the
part that texts share, 73.8 % by 128 numbers of ImageNet's features, 76.1 % by both at equal parts.

Words have a second part too: what photos of classes with such words look like, of the classes that were trained on and
of ImageNet's (`Words`). Measured with ridge maps from ImageNet's features, each of 33 tasks left out with its labels in
turn (chance 21.9 %): 36.7 % by the part that texts share, 41.0 % by both (``python -m benchmarks facts``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.labels.prompts import Embedder

from .checkpoint import read_checkpoint, write_checkpoint
from .directions import Directions
from .evaluation.subjects import Vectors
from .fit import embed_all
from .image_tower import ARCHITECTURE, ImageTower, load_imagenet
from .text_tower import TextTower
from .words import Words

WORDLESS = "wordless"  # in a run's description: its vectors share no space with any text
CLASSES = "classes.safetensors"  # beside it: how ImageNet's classes look
_SIZE = 224  # pixels, as the ImageNet weights were trained


class Wide:
    """A text encoder whose vectors also say how what they name looks."""

    def __init__(self, text: Embedder, words: Words) -> None:
        """Give a text encoder a second part.

        Args:
            text: embeds prompts, (N, D).
            words: what these say of looks.
        """
        self._text, self._words = text, words

    def embed(self, prompts: Sequence[str]) -> Vectors:
        """Unit vectors float32 (N, D + L) of N prompts."""
        return self._words.of(self._text.embed(prompts))


class Narrow:
    """The first part alone of a text encoder whose vectors also say how what they name looks."""

    def __init__(self, text: Embedder, dim: int) -> None:
        """Leave out a text encoder's second part.

        Args:
            text: embeds prompts, (N, D + L).
            dim: D.
        """
        self._text, self._dim = text, dim

    def embed(self, prompts: Sequence[str]) -> Vectors:
        """Unit vectors float32 (N, D) of N prompts."""
        vectors = self._text.embed(prompts)[:, : self._dim]
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class WideTower(nn.Module):
    """A text tower with `Words` after it, for the export."""

    def __init__(self, tower: TextTower, words: Words) -> None:
        super().__init__()
        self.tower, self.words = tower, words
        self.dim = words.width
        self.vocabulary, self.tokens = tower.vocabulary, tower.tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """As `TextTower.forward`: float32 (N, D + L)."""
        vectors: Tensor = self.words(self.tower(input_ids, attention_mask))
        return vectors

    def embed(self, prompts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 (N, D + L), of N prompts."""
        return self.words.of(self.tower.embed(prompts))


def fit_looks(photos: Sequence[RGB], dim: int, weights: Path, run: Path) -> None:
    """Write a run whose vectors are the ``dim`` directions in which ImageNet's features of some photos differ most.

    Args:
        photos: upright RGB uint8 (H, W, 3).
        dim: number of directions; each is divided by its standard deviation.
        weights: file of `training.image_tower.load_imagenet`; where it ends in ImageNet's classifier, its rows say how
            the classes look (`CLASSES`).
        run: folder to write; made when missing.

    Raises:
        UsageError: there are no more directions than features.
    """
    backbone = ImageTower(1, ARCHITECTURE).eval()
    load_imagenet(backbone, weights)
    if not 0 < dim <= backbone.head.in_features:
        raise UsageError(f"looks of {dim} numbers; accepted: 1 to {backbone.head.in_features}")
    found = Directions.of(embed_all(backbone.features, photos, _SIZE), dim)
    weight, bias = found.as_layer()
    tensors = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith("head.")}
    head = {"head.weight": weight, "head.bias": bias}
    config: dict[str, Any] = {"architecture": ARCHITECTURE, "input_size": _SIZE, "templates": []}
    run.mkdir(parents=True, exist_ok=True)
    classifier = imagenet_classes(weights)
    if classifier is not None:
        write_checkpoint(run / CLASSES, {"looks": found.of_classes(classifier)}, {})
    write_checkpoint(run / "model.safetensors", tensors | head, {"config": config, WORDLESS: True})


def imagenet_classes(weights: Path) -> Tensor | None:
    """Rows of the classifier that a file of ImageNet's weights ends in, float32 (1000, F); None where it has none."""
    rows: Tensor = list(torch.load(weights, map_location="cpu", weights_only=True).values())[-2]
    return rows if rows.ndim == 2 and len(rows) == 1000 else None


def class_looks(run: Path, dim: int) -> Tensor:
    """How ImageNet's classes look, from a run of `fit_looks`: float32 (1000, dim); (0, dim) where it was not kept."""
    path = run / CLASSES
    return read_checkpoint(path)[0]["looks"] if path.exists() else torch.zeros(0, dim)


def fit_words(labels: Tensor, label: Tensor, looks: Tensor, things: Tensor, shown: Tensor) -> Words:
    """What words say of looks, from the photos that a student is trained on and from ImageNet's classes.

    Args:
        labels: unit vectors of L labels, float32 (L, D).
        label: of each photo, int64 (N,).
        looks: unit vectors of how the photos look, float32 (N, l).
        things: unit vectors of the names of further things, float32 (G, D).
        shown: how these look, float32 (G, l); where it has no row, they are left out.
    """
    sums = torch.zeros(len(labels), looks.shape[1]).index_add_(0, label, looks.float())
    present = torch.bincount(label, minlength=len(labels)) > 0
    things, shown = (part[: min(len(things), len(shown))] for part in (things, shown))
    return Words(labels[present], nn.functional.normalize(sums[present], dim=1), things, shown)
