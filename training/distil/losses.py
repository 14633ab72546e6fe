"""What a student learns by: its teacher's vectors, choices among texts and order among photos, and the labels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from agriclip_edge.errors import UsageError


@dataclass(frozen=True)
class DistilLoss:
    """Weights of the terms; 0 switches a term off.

    Attributes:
        feature: 1 - cosine to the teacher's vector of the same view (CLIP-KD's feature distillation, Yang et al. 2024,
            section 3.2.2: it gives most of the gain).
        affinity: both directions of the teacher's image-text affinities (TinyCLIP, Wu et al. 2023, eq. 3 and 4).
        interactive: the student's photos contrasted with the teacher's (CLIP-KD, section 3.2.4).
        task: the labels, as `training.losses.label_loss`.
        whole: 1 - cosine of a crop to the teacher's vector of the whole photo.
        looks: 1 - cosine of how a view looks to what the teacher without words says (`training.looks`).
    """

    feature: float = 1.0
    affinity: float = 1.0
    interactive: float = 0.1
    task: float = 0.5
    whole: float = 0.25
    looks: float = 1.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            if getattr(self, entry.name) < 0:
                raise UsageError(f"loss {entry.name} is {getattr(self, entry.name)}; accepted: 0 or more")
        if not any(getattr(self, name) for name in TERMS):
            raise UsageError("every loss is 0; accepted: at least one above")


TERMS = tuple(entry.name for entry in fields(DistilLoss))


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cosine between unit vectors float32 (N, D) of the same photos; 0 when they are equal."""
    return (1 - (student * teacher).sum(dim=1)).mean()


def affinity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How far a student's affinities are from its teacher's, in both directions.

    Args:
        student: scaled cosines of N photos to C texts, float32 (N, C).
        teacher: the same of the teacher.

    Returns:
        a scalar: half the mean divergence of Kullback and Leibler over rows (which text a photo is like) and half that
        over columns (which photo a text is like). 0 when they are equal; turning both round changes nothing.
    """
    return 0.5 * (_divergence(student, teacher) + _divergence(student.T, teacher.T))


def interactive_loss(student: Tensor, teacher: Tensor, texts: Tensor, label: Tensor, scale: float) -> Tensor:
    """The student's photos among the teacher's photos and texts: each shall find its own.

    The texts are shared and frozen, so that CLIP-KD's student texts against teacher photos would teach nothing; the
    teacher's photos take their place. Photos of the same label are no counter-examples of each other.

    Args:
        student: unit vectors of N photos, float32 (N, D).
        teacher: unit vectors of the same photos, float32 (N, D).
        texts: unit vectors of all labels, float32 (L, D).
        label: of each photo, int64 (N,).
        scale: logit scale.
    """
    others = (label[:, None] == label[None, :]) & ~torch.eye(len(label), dtype=torch.bool)
    logits = (scale * student @ teacher.T).masked_fill(others, float("-inf"))
    own = torch.arange(len(label))
    photos = 0.5 * (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own))
    present, column = label.unique(return_inverse=True)
    return 0.5 * (photos + functional.cross_entropy(scale * student @ texts[present].T, column))


class Projections(nn.Module):
    """The student's vectors in the spaces of teachers of another text encoder; they are not part of the model."""

    def __init__(self, dim: int, dims: dict[str, int], seed: int) -> None:
        """Make a linear map a space.

        Args:
            dim: size of the student's vectors.
            dims: size of each space's vectors, by its name.
            seed: of the maps' weights.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.maps = nn.ModuleDict({name: nn.Linear(dim, size, bias=False) for name, size in dims.items()})

    def forward(self, vectors: Tensor, space: str) -> Tensor:
        """Unit vectors (N, size of the space) of unit vectors (N, D); the student's own space gives them back."""
        if space not in self.maps:
            return vectors
        return functional.normalize(self.maps[space](vectors), dim=-1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    told, known = student.log_softmax(dim=1), teacher.log_softmax(dim=1)
    return functional.kl_div(told, known, reduction="batchmean", log_target=True)
