"""The two encoders that an alignment joins: a backbone that gives features, and one that is aligned to a text space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from agriclip_edge.imaging.preprocess import preprocessing_id

from ..dino.hashing import tensors_sha256
from ..dino.network import new_tower
from ..dino.run import load_backbone
from ..encoder import load_tower
from ..image_tower import ARCHITECTURE, ImageTower, lite0_weights, load_imagenet
from ..text_tower import TextTower

_NAMED = 10  # ImageNet classes that a photo is described by (Norouzi et al. 2014, section 4)


@dataclass(frozen=True)
class FeatureSpace:
    """What features mean: only vectors of equal spaces may be compared or mapped by one map.

    Attributes:
        architecture: a timm name.
        weights: sha256 of the backbone's tensors.
        input_size: side of the photos in pixels.
        preprocessing: of the photos, `agriclip_edge.imaging.preprocess.preprocessing_id`.
    """

    architecture: str
    weights: str
    input_size: int
    preprocessing: str


@dataclass(frozen=True)
class TextSpace:
    """A text-aligned space: which text tower defines it, and which image encoder's vectors stand in it.

    Attributes:
        text: sha256 of the text tower's vocabulary and tensors.
        image: sha256 of the image encoder.
        dim: size D.
    """

    text: str
    image: str
    dim: int


@dataclass(frozen=True)
class Backbone:
    """Photos to features."""

    tower: ImageTower
    space: FeatureSpace

    def features(self, images: Tensor) -> Tensor:
        """Float32 (N, F) of photos uint8 (N, S, S, 3)."""
        features: Tensor = self.tower.features(images)
        return features


@dataclass(frozen=True)
class TextAligned:
    """Photos to unit vectors in a text space.

    Attributes:
        backbone: the first part of the way.
        project: features float32 (N, F) to unit vectors float32 (N, D).
        space: of these.
        tower: the same way as one module, where there is one.
        symptoms: share of what facts say is seen in the labels' vectors that it was trained with.
    """

    backbone: Backbone
    project: Callable[[Tensor], Tensor]
    space: TextSpace
    tower: ImageTower | None = None
    symptoms: float = 0.0


def imagenet_backbone(input_size: int) -> Backbone:
    """EfficientNet-Lite0 as trained on ImageNet."""
    tower = new_tower(ARCHITECTURE)
    load_imagenet(tower, lite0_weights())
    return _backbone(tower.eval(), ARCHITECTURE, input_size)


def dino_backbone(run: Path, input_size: int) -> Backbone:
    """The backbone of a run of stage 2.

    Raises:
        UsageError: there is none.
    """
    return _backbone(*load_backbone(run), input_size)


def trained_encoder(run: Path, text: TextTower) -> tuple[TextAligned, tuple[str, ...], str]:
    """The encoder of a run of stage 1, its prompt templates, and the hash of the photos that it was trained on.

    Raises:
        UsageError: there is none.
    """
    tower, description = load_tower(run, texture=False)
    config = description["config"]
    backbone = _backbone(tower, config["architecture"], config["input_size"])
    space = TextSpace(text_sha256(text), tensors_sha256(tower.state_dict()), tower.dim)

    @torch.no_grad()
    def project(features: Tensor) -> Tensor:
        return nn.functional.normalize(tower.head(features)[:, : tower.dim], dim=-1)

    encoder = TextAligned(backbone, project, space, None if tower.looks else tower, float(config.get("symptoms", 0)))
    return encoder, tuple(config["templates"]), description["photos"]


def default_encoder(text: TextTower, input_size: int) -> TextAligned:
    """ConSE (Norouzi et al. 2014, eq. 3): a photo is the mean of the texts of its likeliest ImageNet classes.

    It needs no pair of a photo and a text, and so is what a text-aligned encoder is before any training on ALive.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    texts = [info.index_to_description(index, detailed=True) for index in range(1000)]
    classifier = list(torch.load(lite0_weights(), map_location="cpu", weights_only=True).values())[-2:]
    return conse_encoder(imagenet_backbone(input_size), classifier[0], classifier[1], texts, text)


def conse_encoder(
    backbone: Backbone, weight: Tensor, bias: Tensor, texts: Sequence[str], text: TextTower
) -> TextAligned:
    """ConSE for any classifier: weight float32 (C, F), bias (C,), and a text for each of its C classes."""
    vectors = torch.from_numpy(text.embed(texts))

    def project(features: Tensor) -> Tensor:
        probabilities, classes = (features @ weight.T + bias).softmax(dim=1).topk(min(_NAMED, len(texts)), dim=1)
        return nn.functional.normalize((probabilities[:, :, None] * vectors[classes]).sum(dim=1), dim=-1)

    image = tensors_sha256({**backbone.tower.state_dict(), "weight": weight, "bias": bias, "texts": vectors})
    return TextAligned(backbone, project, TextSpace(text_sha256(text), image, vectors.shape[1]))


def text_sha256(text: TextTower) -> str:
    """Names a text tower: its words and its tensors."""
    words = torch.frombuffer(bytearray(text.vocabulary), dtype=torch.uint8)
    return tensors_sha256({**text.state_dict(), "vocabulary": words})


def describe(space: FeatureSpace | TextSpace) -> dict[str, str | int]:
    """A space as it stands in a checkpoint's description."""
    return asdict(space)


def _backbone(tower: ImageTower, architecture: str, input_size: int) -> Backbone:
    weights = tensors_sha256(tower.backbone.state_dict())
    return Backbone(tower, FeatureSpace(architecture, weights, input_size, preprocessing_id(input_size)))
