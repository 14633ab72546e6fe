"""What the start weights know of things in general: ImageNet's classes in words, and each photo's share in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import Embedder, embed_labels

from .checkpoint import read_checkpoint, write_checkpoint
from .data import Photos
from .fit import embed_all
from .image_tower import ImageTower, load_imagenet

_TEMPLATES = ("{}", "a photo of {}")
_CLASSES = 1000


@dataclass(frozen=True)
class General:
    """A classifier's knowledge of photos, as teaching material.

    Attributes:
        texts: unit vectors of its G classes' names, float32 (G, D).
        probabilities: of the classes for each of N photos, float32 (N, G).
    """

    texts: Tensor
    probabilities: Tensor


def imagenet_names() -> list[str]:
    """The first name of each of ImageNet's 1,000 classes, in the order of the classifier's rows (WordNet, by timm)."""
    import timm.data

    info = timm.data.ImageNetInfo()
    return [info.index_to_description(number).split(",")[0] for number in range(_CLASSES)]


def imagenet_texts(text: Embedder) -> Tensor:
    """Unit vectors of the class names, float32 (1000, D)."""
    return torch.from_numpy(embed_labels([Label(name) for name in imagenet_names()], _TEMPLATES, text))


def imagenet_knowledge(
    weights: Path, architecture: str, photos: Photos, size: int, text: Embedder, kept: Path
) -> General:
    """Judge photos by the ImageNet classifier of the start weights.

    Args:
        weights: the file of `training.image_tower.load_imagenet`; its last two tensors are the classifier.
        architecture: name of the timm model that they are for.
        photos: N of them.
        size: side of the classifier's input in pixels.
        text: embeds the class names.
        kept: file for the probabilities; read in place of judging when it is there and of these photos.

    Raises:
        UsageError: the file of weights has no classifier of 1,000 classes.
    """
    texts = imagenet_texts(text)
    if kept.exists():
        tensors, description = read_checkpoint(kept)
        if description["photos"] == photos.sha256:
            return General(texts, tensors["probabilities"].float())
    matrix, bias = list(torch.load(weights, map_location="cpu", weights_only=True).values())[-2:]
    tower = ImageTower(1, architecture).eval()
    load_imagenet(tower, weights)
    if matrix.shape != (_CLASSES, tower.head.in_features):
        raise UsageError(f"{weights} ends in a matrix {tuple(matrix.shape)}; accepted: ImageNet's classifier")
    features = embed_all(tower.features, photos.rgb, size)
    probabilities = nn.functional.linear(features, matrix, bias).softmax(dim=1)
    write_checkpoint(kept, {"probabilities": probabilities.half()}, {"photos": photos.sha256})
    return General(texts, probabilities)
