"""The losses of stage 2 and their gradients against plain loops in float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.dino.loss import ProjectionHead, centred_targets, sinkhorn_targets, view_loss
from training.dino.schedule import cosine, ramp

Array = npt.NDArray[np.float64]
VIEWS, GLOBAL, PHOTOS, PROTOTYPES = 5, 2, 3, 7
GENERATOR = np.random.default_rng(0)


def softmax(row: Array) -> Array:
    weights = np.exp(row - row.max())
    return weights / weights.sum()


def alone(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over processes where there is one."""
    return tensor


def plain_loss(student: Array, targets: Array, temperature: float) -> tuple[float, Array]:
    """The loss and its gradient to the student's logits, pair by pair (d CE / d z = (softmax - p) / temperature)."""
    pairs = [(g, v) for g in range(GLOBAL) for v in range(VIEWS) if g != v]
    total, gradient = 0.0, np.zeros_like(student)
    for g, v in pairs:
        for n in range(PHOTOS):
            guess = softmax(student[v, n] / temperature)
            for k in range(PROTOTYPES):
                total -= targets[g, n, k] * math.log(guess[k])
            gradient[v, n] += (guess - targets[g, n]) / temperature
    return total / len(pairs) / PHOTOS, gradient / len(pairs) / PHOTOS


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_loss_and_gradient_are_those_of_a_plain_loop(temperature: float) -> None:
    student = GENERATOR.uniform(-1, 1, (VIEWS, PHOTOS, PROTOTYPES))
    targets = np.apply_along_axis(softmax, 2, GENERATOR.normal(size=(GLOBAL, PHOTOS, PROTOTYPES)))
    logits = torch.from_numpy(student).requires_grad_(True)
    loss = view_loss(logits, torch.from_numpy(targets), temperature)
    loss.backward()
    expected, gradient = plain_loss(student, targets, temperature)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, atol=1e-13)


def test_centred_targets_are_those_of_a_plain_loop() -> None:
    logits, centre = GENERATOR.uniform(-1, 1, (4, PROTOTYPES)), GENERATOR.uniform(-1, 1, PROTOTYPES)
    found = centred_targets(torch.from_numpy(logits), torch.from_numpy(centre), 0.04)
    expected = [softmax((row - centre) / 0.04) for row in logits]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-13)


def test_sinkhorn_targets_are_those_of_a_plain_loop() -> None:
    logits = GENERATOR.uniform(-1, 1, (6, PROTOTYPES))
    mass = [[math.exp(value / 0.1) for value in row] for row in logits]
    for _ in range(3):
        for k in range(PROTOTYPES):
            column = sum(row[k] for row in mass)
            for row in mass:
                row[k] /= column * PROTOTYPES
        for row in mass:
            whole = sum(row)
            row[:] = [value / whole / len(mass) for value in row]
    found = sinkhorn_targets(torch.from_numpy(logits), 0.1, 3, alone)
    np.testing.assert_allclose(found.numpy(), np.array(mass) * len(mass), atol=1e-13)


def test_sinkhorn_spreads_photos_evenly_over_prototypes() -> None:
    logits = torch.from_numpy(GENERATOR.uniform(-0.2, 0.2, (40, 5))) + torch.eye(5)[0] * 0.5  # all prefer the first
    even = sinkhorn_targets(logits, 0.1, 60, alone)
    assert torch.allclose(even.sum(dim=0), torch.full((5,), 8.0, dtype=torch.float64), atol=1e-3)
    assert torch.allclose(even.sum(dim=1), torch.ones(40, dtype=torch.float64))


def test_the_head_is_weight_normalised_and_its_gradient_is_right() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(6, 8, 4, 5).double()
    features = torch.randn(3, 6, dtype=torch.float64)
    x = features.numpy()
    for layer in head.layers[::2]:
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if layer is not head.layers[-1]:
            x = np.vectorize(lambda value: value * 0.5 * (1 + math.erf(value / math.sqrt(2))))(x)
    prototypes = head.prototypes.detach().numpy()
    x, prototypes = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, prototypes))
    np.testing.assert_allclose(head(features).detach().numpy(), x @ prototypes.T, atol=1e-12)
    assert torch.autograd.gradcheck(head, features.requires_grad_(True))
    head(features.detach())[:, 0].sum().backward()
    # Only directions are learnt: no gradient along a prototype's length.
    along = (head.prototypes.grad * head.prototypes).sum(dim=1)
    assert torch.allclose(along, torch.zeros(5, dtype=torch.float64), atol=1e-12)
    assert float(head.prototypes.grad.norm()) > 1e-3


def test_schedules_rise_and_fall() -> None:
    rates = [cosine(step, 10, 2.0, 0.5, rise=3) for step in range(10)]
    assert rates[:3] == pytest.approx([2 / 3, 4 / 3, 2.0]) and rates[-1] == 0.5
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert [ramp(step, 0, 0.1, 0.2) for step in (0, 5)] == [0.2, 0.2]
