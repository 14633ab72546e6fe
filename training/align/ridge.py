"""Ridge regression with an intercept from streamed sums: any order of photos, any number of shards, one solution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AffineMap:
    """``y = x @ weight.T + bias``: weight float64 (D, F), bias float64 (D,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Map float (N, F) to float64 (N, D)."""
        return features.double() @ self.weight.T + self.bias


class RidgeSums:
    """Weighted sums in float64 of photos seen so far: all that the solution needs, in (F + D) * F values."""

    def __init__(self, features: int, dim: int) -> None:
        """Begin with no photo; maps go from ``features`` F to ``dim`` D values."""
        self.photos = torch.zeros((), dtype=torch.float64)  # their weights' sum
        self.x = torch.zeros(features, dtype=torch.float64)
        self.y = torch.zeros(dim, dtype=torch.float64)
        self.xx = torch.zeros(features, features, dtype=torch.float64)
        self.xy = torch.zeros(features, dim, dtype=torch.float64)

    def add(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> RidgeSums:
        """Add photos: features float (N, F), targets float (N, D), weights float (N,) or all 1; returns itself."""
        x, y = features.double(), targets.double()
        weighted = x if weights is None else x * weights.double()[:, None]
        share = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
        self.photos += share.sum()
        self.x += weighted.sum(dim=0)
        self.y += share @ y
        self.xx += weighted.T @ x
        self.xy += weighted.T @ y
        return self

    def merge(self, other: RidgeSums) -> RidgeSums:
        """Add all that another has seen; returns itself."""
        for name, own in vars(self).items():
            own += vars(other)[name]
        return self

    def solve(self, strengths: Sequence[float]) -> Iterator[AffineMap]:
        """The ridge solution for each penalty (Hoerl & Kennard 1970, eq. 2.1), its intercept not penalised.

        Args:
            strengths: penalties, as multiples of the features' mean variance; features that are all alike get none
                of their own and stay unused.
        """
        centre, middle = self.x / self.photos, self.y / self.photos
        covariance = self.xx / self.photos - torch.outer(centre, centre)
        crossed = self.xy / self.photos - torch.outer(centre, middle)
        # One decomposition serves all penalties; rounding may leave eigenvalues just below 0.
        values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
        turned, mean = vectors.T @ crossed, values.clamp_min(0).mean()
        floor = values.amax() * len(values) * torch.finfo(torch.float64).eps
        for strength in strengths:
            inverse = torch.where(values > floor, 1 / (values.clamp_min(floor) + strength * mean), 0.0)
            weight = (vectors @ (inverse[:, None] * turned)).T
            yield AffineMap(weight, middle - weight @ centre)

    def tensors(self) -> dict[str, Tensor]:
        """The sums by name, for a checkpoint."""
        return dict(vars(self))

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> RidgeSums:
        """What `tensors` gave."""
        sums = cls(*tensors["xy"].shape)
        for name, own in vars(sums).items():
            own.copy_(tensors[name])
        return sums


def explained(predicted: Tensor, targets: Tensor) -> Tensor:
    """R² of each dimension against its own mean, float64 (D,): of (N, D) each; 0 where a target does not vary."""
    predicted, targets = predicted.double(), targets.double()
    left = (targets - predicted).square().sum(dim=0)
    there = (targets - targets.mean(dim=0)).square().sum(dim=0)
    return torch.where(there > 0, 1 - left / there.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
