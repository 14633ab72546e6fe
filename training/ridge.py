"""A linear head in closed form: ridge regression from features to text embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fit_head(head: nn.Linear, features: Tensor, targets: Tensor, weights: Tensor, strength: float) -> None:
    """Set a head to the ridge solution (Hoerl & Kennard 1970, eq. 2.1, weighted and with a free bias).

    A head that fits from the first step sends small gradients into the backbone; a random one would erase it.

    Args:
        head: F to D, overwritten.
        features: float32 (N, F).
        targets: unit vectors, float32 (N, D).
        weights: of the photos, float32 (N,), any scale.
        strength: penalty, as a multiple of the features' mean variance.
    """
    share = (weights / weights.sum()).double()[:, None]
    features, targets = features.double(), targets.double()
    centre, middle = (share * features).sum(0), (share * targets).sum(0)
    spread, wanted = features - centre, targets - middle
    gram = spread.T @ (share * spread)
    gram.diagonal().add_(strength * gram.diagonal().mean())
    solution = torch.linalg.solve(gram, spread.T @ (share * wanted))  # (F, D)
    with torch.no_grad():
        head.weight.copy_(solution.T)
        head.bias.copy_(middle - centre @ solution)
