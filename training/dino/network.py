"""A backbone with a projection head, any timm model, views of one size in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from timm.models import group_modules, group_parameters
from torch import Tensor, nn

from ..image_tower import ImageTower
from .loss import ProjectionHead


def new_tower(architecture: str) -> ImageTower:
    """An image tower without a head into the text space, whose backbone takes photos of any size.

    Its backbone has the tensors of ``ImageTower(dim, architecture)``, so that either loads the other's.
    """
    tower = ImageTower(1, architecture)
    if hasattr(tower.backbone, "dynamic_img_size"):  # vision transformers fix the size unless they are told
        tower.backbone = timm.create_model(architecture, num_classes=0, dynamic_img_size=True)
    tower.head = nn.Identity()
    return tower


class Network(nn.Module):
    """Student or teacher."""

    def __init__(self, tower: ImageTower, head: ProjectionHead, frozen_blocks: int) -> None:
        """Join the parts.

        Args:
            tower: as `new_tower` makes it.
            head: from the tower's features.
            frozen_blocks: how many blocks after the stem are fixed, as timm groups the layers; 0 fixes nothing.
        """
        super().__init__()
        self.tower = tower
        self.projection = head
        self._frozen = _freeze(tower.backbone, frozen_blocks)

    def train(self, mode: bool = True) -> Network:
        """Training mode, except for BatchNorm statistics of what is frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Cosines float (views in all, K) of groups of views uint8 (n, S, S, 3), each group of a size S of its own."""
        features = [self.tower.features(group) for group in views]
        return self.projection(torch.cat(features))


def _freeze(backbone: nn.Module, blocks: int) -> tuple[nn.Module, ...]:
    """Fix the stem and ``blocks`` blocks; returns the modules that hold them."""
    if blocks == 0:
        return ()
    matcher = backbone.group_matcher(coarse=True)
    names, modules = group_parameters(backbone, matcher), group_modules(backbone, matcher)
    own = dict(backbone.named_parameters())
    for group in range(blocks + 1):
        for name in names[group]:
            own[name].requires_grad_(False)
    return tuple(backbone.get_submodule(name) for group in range(blocks + 1) for name in modules[group])
