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


def test_mobileone_learns_with_channels_last() -> None:
    """Its first layer is where oneDNN wrote past its workspace: the gradients are those without oneDNN."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = ImageTower(4, "mobileone_s0").backbone.stem
        pixels = torch.rand(4, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    found = []
    for fast in (True, False):
        with torch.backends.mkldnn.flags(enabled=fast):
            stem.zero_grad()
            maps = stem(pixels)
            maps.square().sum().backward()
        found.append([maps.detach(), *(weight.grad for weight in stem.parameters())])
    assert found[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1.0)  # of up to 50,000


def test_stepping_over_pixels_is_the_stride() -> None:
    tower = ImageTower(4, "mobileone_s0")
    conv = tower.backbone.stem.conv_scale.conv
    pixels = torch.rand(1, 3, 9, 8)
    strided = torch.nn.functional.conv2d(pixels, conv.weight, stride=2)
    torch.testing.assert_close(conv(pixels), strided)
