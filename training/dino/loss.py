"""What DINO minimises: the student's view of a photo should say what the teacher says of another view."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def centred_targets(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """The teacher's probabilities, kept apart by a centre (Caron et al. 2021, section 3.1, eq. 1 and 4).

    Args:
        logits: of the teacher, float (N, K).
        centre: running mean of such logits, float (K,).
        temperature: below the student's, which sharpens.
    """
    return ((logits - centre) / temperature).softmax(dim=-1)


def sinkhorn_targets(logits: Tensor, temperature: float, rounds: int, add_up: Callable[[Tensor], Tensor]) -> Tensor:
    """The teacher's probabilities, spread evenly over prototypes (Caron et al. 2020, section 3.1, eq. 3 and 4).

    Args:
        logits: cosines of this process's views, float (N, K), in [-1, 1].
        temperature: the entropic weight.
        rounds: of Sinkhorn-Knopp; each scales prototypes, then photos.
        add_up: sums a tensor over all processes.

    Returns:
        float (N, K): each row sums to 1, and over all processes each column nearly to photos / K.
    """
    mass = ((logits - 1) / temperature).exp()  # cosines are at most 1: nothing overflows
    for _ in range(rounds):
        mass = mass / add_up(mass.sum(dim=0))
        mass = mass / mass.sum(dim=1, keepdim=True)
    return mass


def view_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy over all pairs of a teacher's view and another view of the student's.

    Args:
        student: logits of V views of N photos, float (V, N, K); the first G are the views that the teacher saw.
        targets: the teacher's probabilities of these, float (G, N, K).
        temperature: of the student.

    Returns:
        a scalar (Caron et al. 2021, eq. 3).
    """
    log_probabilities = (student / temperature).log_softmax(dim=-1)
    entropies = -torch.einsum("gnk,vnk->gv", targets, log_probabilities) / student.shape[1]
    same = torch.eye(len(targets), len(student), dtype=torch.bool, device=student.device)
    return entropies.masked_fill(same, 0).sum() / (~same).sum()


class ProjectionHead(nn.Module):
    """Features to cosines with K prototypes: three layers, a bottleneck at length 1, a weight-normalised last layer."""

    def __init__(self, features: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        """Build the head with random weights (Caron et al. 2021, appendix C).

        Args:
            features: size F of what comes in.
            hidden: width of the layers.
            bottleneck: size before the prototypes.
            prototypes: K.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        # Weight normalisation with all lengths fixed at 1: only directions are learnt.
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, features: Tensor) -> Tensor:
        """Cosines float (N, K) of features float (N, F)."""
        directions = nn.functional.normalize(self.layers(features), dim=-1)
        return directions @ nn.functional.normalize(self.prototypes, dim=-1).T
