"""The image tower over architectures of timm whose last features are as many as their maps, or not."""

from __future__ import annotations

import pytest
import torch

from training.image_tower import ImageTower


@pytest.mark.parametrize("architecture", ["test_efficientnet", "mobilenetv4_conv_small_035", "test_vit"])
def test_the_head_takes_what_the_backbone_gives(architecture: str) -> None:
    side = 160 if architecture == "test_vit" else 32
    tower = ImageTower(6, architecture, looks=4).eval()
    with torch.inference_mode():
        vectors = tower(torch.zeros(2, side, side, 3, dtype=torch.uint8))
    assert vectors.shape == (2, 10)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(tower.text_part(vectors).norm(dim=1), torch.ones(2))
