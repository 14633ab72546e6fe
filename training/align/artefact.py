"""What stage 3 leaves: an affine map that names both its spaces, an image encoder, a mix of two encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError

from ..checkpoint import prefixed, read_checkpoint, unprefixed, write_checkpoint
from ..dino.hashing import tensors_sha256
from ..image_tower import ImageTower
from ..text_tower import TextTower
from .encoders import Backbone, FeatureSpace, TextSpace, describe, text_sha256
from .ridge import AffineMap

MODEL = "model.safetensors"  # an image tower like stage 1's: `export` and `evaluate` read it
ALIGNMENT = "alignment.safetensors"
ENSEMBLE = "ensemble.safetensors"


@dataclass(frozen=True)
class Alignment:
    """A map from one feature space to one text-aligned space.

    Attributes:
        map: from features to vectors that are not yet of length 1.
        source: the space of the features.
        target: the space of the vectors.
        strength: the penalty that was chosen.
        cosine: mean over held-out photos to their targets.
        explained: R² of each dimension on held-out photos, float64 (D,).
        tried: mean cosine by penalty.
    """

    map: AffineMap
    source: FeatureSpace
    target: TextSpace
    strength: float
    cosine: float
    explained: Tensor
    tried: tuple[tuple[float, float], ...]

    def tower(self, backbone: Backbone) -> ImageTower:
        """The one image encoder: the backbone with the map as its head.

        Raises:
            UsageError: the backbone gives features of another space.
        """
        if backbone.space != self.source:
            raise UsageError(f"this map takes features of {self.source}, not of {backbone.space}")
        tower = ImageTower(self.target.dim, self.source.architecture)
        tower.backbone.load_state_dict(backbone.tower.backbone.state_dict())
        with torch.no_grad():
            tower.head.weight.copy_(self.map.weight)
            tower.head.bias.copy_(self.map.bias)
        return tower.eval()

    def vectors(self, features: Tensor) -> Tensor:
        """Unit vectors float32 (N, D) of features float32 (N, F)."""
        return nn.functional.normalize(self.map(features), dim=-1).float()


class Ensemble(nn.Module):
    """Two image encoders of one text space as one: the weighted sum of their unit vectors, at length 1."""

    def __init__(self, aligned: ImageTower, contrastive: ImageTower, share: float) -> None:
        """Join them.

        Args:
            aligned: takes photos of the same size as the other.
            contrastive: the other.
            share: of the first in the sum, 0 to 1.
        """
        super().__init__()
        self.aligned, self.contrastive, self.share = aligned, contrastive, share

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors float32 (N, D) of photos uint8 (N, S, S, 3)."""
        return mix(self.aligned(images), self.contrastive(images), self.share)


def mix(aligned: Tensor, contrastive: Tensor, share: float) -> Tensor:
    """Unit vectors (N, D): the weighted sum of two encoders' (N, D) each."""
    return nn.functional.normalize(share * aligned + (1 - share) * contrastive, dim=-1)


def write_alignment(folder: Path, alignment: Alignment, backbone: Backbone, description: Mapping[str, Any]) -> None:
    """Write the map, and the encoder that it makes of the backbone.

    Args:
        folder: made when missing.
        alignment: what to write.
        backbone: its source.
        description: of the run; ``config`` holds what a run of stage 1 says there.
    """
    spaces = {"source": describe(alignment.source), "target": describe(alignment.target)}
    tensors = {"weight": alignment.map.weight, "bias": alignment.map.bias, "explained": alignment.explained}
    chosen = {"strength": alignment.strength, "cosine": alignment.cosine, "tried": alignment.tried}
    write_checkpoint(folder / ALIGNMENT, tensors, {**spaces, **chosen})
    write_checkpoint(folder / MODEL, alignment.tower(backbone).state_dict(), {**description, **spaces})


def read_alignment(path: Path, text: TextTower) -> Alignment:
    """Read a map, to be used beside a text tower.

    Raises:
        UsageError: it is missing or broken, or maps into the space of another text tower.
    """
    tensors, description = read_checkpoint(path)
    check_text(path, description, text)
    return Alignment(
        AffineMap(tensors["weight"], tensors["bias"]),
        FeatureSpace(**description["source"]),
        TextSpace(**description["target"]),
        description["strength"],
        description["cosine"],
        tensors["explained"],
        tuple((strength, cosine) for strength, cosine in description["tried"]),
    )


def load_aligned(folder: Path, text: TextTower) -> tuple[ImageTower, dict[str, Any]]:
    """The encoder of a run of stage 3, to be used beside a text tower, and the run's description.

    Raises:
        UsageError: it is missing or broken, belongs to another text tower, or holds another backbone than it names.
    """
    tensors, description = read_checkpoint(folder / MODEL)
    check_text(folder, description, text)
    tower = ImageTower(description["target"]["dim"], description["source"]["architecture"])
    tower.load_state_dict(tensors)
    if tensors_sha256(tower.backbone.state_dict()) != description["source"]["weights"]:
        raise UsageError(f"{folder} holds another backbone than it names; align again")
    return tower.eval(), description


def write_ensemble(folder: Path, ensemble: Ensemble, description: Mapping[str, Any]) -> None:
    """Write both encoders and their mix in one file."""
    tensors = {
        **prefixed("aligned", ensemble.aligned.state_dict()),
        **prefixed("contrastive", ensemble.contrastive.state_dict()),
    }
    write_checkpoint(folder / ENSEMBLE, tensors, {**description, "share": ensemble.share})


def load_ensemble(folder: Path, text: TextTower) -> tuple[Ensemble, dict[str, Any]]:
    """The mix of a run of stage 3, to be used beside a text tower, and its description.

    Raises:
        UsageError: it is missing or broken, or belongs to another text tower.
    """
    tensors, description = read_checkpoint(folder / ENSEMBLE)
    check_text(folder, description, text)

    def tower(name: str) -> ImageTower:
        made = ImageTower(description["target"]["dim"], description["architectures"][name])
        made.load_state_dict(unprefixed(name, tensors))
        return made

    return Ensemble(tower("aligned"), tower("contrastive"), description["share"]).eval(), description


def check_text(where: Path, description: Mapping[str, Any], text: TextTower) -> None:
    """Refuse a text tower that does not define the space of a checkpoint of stage 3.

    Raises:
        UsageError: it is another one, or the checkpoint names none.
    """
    named = description.get("target", {}).get("text")
    if named is None:
        raise UsageError(f"{where} names no text tower; accepted: what stage 3 wrote")
    if named != (found := text_sha256(text)):
        raise UsageError(f"{where} is aligned to the text tower {named[:12]}; this one is {found[:12]}")
