"""Modules of towers that a file can name: what torch loads again by its name must lie at a module's top."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection


class ProjectedClip(nn.Module):
    """CLIP's image tower of transformers with its projection alone: (N, 3, 224, 224) to (N, 512)."""

    def __init__(self) -> None:
        """Build ViT-B/32 with random weights."""
        super().__init__()
        self.clip = CLIPVisionModelWithProjection(CLIPVisionConfig(patch_size=32))

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures."""
        embeddings: Tensor = self.clip(pixel_values=images).image_embeds
        return embeddings
