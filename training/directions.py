"""In which directions the features of some photos differ most: principal components, each divided by its spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SHRINK = 1.0  # of the variances towards their mean: the small ones are noise, and would be blown up


@dataclass(frozen=True)
class Directions:
    """In which directions the features of some photos differ most.

    Attributes:
        mean: of the features, float64 (F,).
        directions: unit vectors, float64 (F, L).
        spread: standard deviation along each, float64 (L,).
    """

    mean: Tensor
    directions: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor, dim: int) -> Directions:
        """Those of features (N, F): ``dim`` of them, the widest first."""
        features = features.double()
        mean = features.mean(dim=0)
        variances, directions = torch.linalg.eigh(torch.cov((features - mean).T, correction=0))
        spread = (variances.flip(0)[:dim] + _SHRINK * variances.mean()).sqrt()
        return cls(mean, directions.flip(1)[:, :dim], spread)

    def as_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (L, F) and bias (L,) of the linear layer that gives what `of_photos` brings to length 1, float32."""
        basis = self.directions / self.spread
        return basis.T.float().contiguous(), (-self.mean @ basis).float()

    def of_photos(self, features: Tensor) -> Tensor:
        """How photos of these features (N, F) look: unit vectors float32 (N, L)."""
        told = (features.double() - self.mean) @ (self.directions / self.spread)
        return nn.functional.normalize(told, dim=1).float()

    def of_classes(self, classifier: Tensor) -> Tensor:
        """How the classes of a linear classifier's rows (K, F) look: unit vectors float32 (K, L)."""
        rows = (classifier - classifier.mean(dim=0)).double() @ (self.directions * self.spread)
        return nn.functional.normalize(rows, dim=1).float()
