from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import nn

from training.data import ClassEntry, Collection, Photos, Task
from training.ridge import fit_head
from training.sampling import draw_order, photo_weights


def test_the_head_is_the_ridge_solution_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(40, 6, generator=generator) + 3, torch.randn(40, 4, generator=generator)
    weights = torch.rand(40, generator=generator) + 0.1
    head = nn.Linear(6, 4)
    fit_head(head, features, targets, weights, strength=0.3)
    share = (weights / weights.sum()).numpy()
    spread = features.numpy() - share @ features.numpy()
    penalty = 0.3 * (share[:, None] * spread**2).sum(axis=0).mean()
    reference = Ridge(alpha=penalty, solver="cholesky").fit(features.numpy(), targets.numpy(), sample_weight=share)
    np.testing.assert_allclose(head.weight.detach().numpy(), reference.coef_, atol=1e-5)
    np.testing.assert_allclose(head.bias.detach().numpy(), reference.intercept_, atol=1e-5)


def test_every_photo_comes_as_often_as_it_weighs() -> None:
    weights = np.array([1.0, 1.0, 2.0, 4.0, 0.0])
    counts = np.zeros(5)
    for seed in range(400):
        order = draw_order(weights, np.random.default_rng(seed))
        assert len(order) == 5
        counts += np.bincount(order, minlength=5)
    np.testing.assert_allclose(counts / 400, weights / weights.sum() * 5, atol=0.1)


def test_equal_weights_show_every_photo_once() -> None:
    order = draw_order(np.ones(50), np.random.default_rng(0))
    assert sorted(order) == list(range(50)) and order.tolist() != list(range(50))


def test_rare_classes_and_small_tasks_weigh_more() -> None:
    def task(name: str, *labels: str) -> Task:
        return Task(name, name, "", "", "", "", "", "", tuple(ClassEntry(label) for label in labels))

    tasks = (task("a", "x", "y"), task("b", *"pqrstuvw"))
    collection = Collection(Path(), "c", tasks, ("x", "y", *"pqrstuvw"), ((0, 1), tuple(range(2, 10))))
    label = np.array([0, 0, 0, 0, 1, 2])
    photos = Photos((), np.array([0, 0, 0, 0, 0, 1]), label, "")
    np.testing.assert_allclose(photo_weights(photos, collection, 1, 0), [0.25] * 4 + [1, 1])
    np.testing.assert_allclose(photo_weights(photos, collection, 0, 1), [0.5] * 5 + [0.125])
