"""Losses of a student: nothing to learn from an equal, gradients that lead to the teacher, weights that switch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from agriclip_edge.errors import UsageError
from training.distil.config import DistilConfig, read_recipe
from training.distil.losses import (
    DistilLoss,
    Projections,
    affinity_loss,
    feature_loss,
    interactive_loss,
)

LABEL = torch.tensor([0, 1, 2, 0, 1, 3])


def units(rows: int, seed: int, dim: int = 8) -> Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


STUDENT, TEACHER, TEXTS = units(6, 0), units(6, 1), units(5, 2)


def test_an_equal_student_has_nothing_to_learn_from_features_and_affinities() -> None:
    assert float(feature_loss(TEACHER, TEACHER)) == pytest.approx(0, abs=1e-6)
    cosines = (30 * TEACHER @ TEXTS.T).requires_grad_()
    loss = affinity_loss(cosines, cosines.detach())
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6) and float(cosines.grad.abs().max()) < 1e-6


def test_the_feature_loss_is_one_minus_cosine() -> None:
    assert float(feature_loss(STUDENT, TEACHER)) == pytest.approx(1 - float(cosine_similarity(STUDENT, TEACHER).mean()))
    assert float(feature_loss(TEACHER, -TEACHER)) == pytest.approx(2)


def test_affinities_count_alike_in_both_directions() -> None:
    own, other = 20 * STUDENT @ TEXTS.T, 20 * TEACHER @ TEXTS.T
    assert float(affinity_loss(own, other)) == pytest.approx(float(affinity_loss(own.T, other.T)))
    assert float(affinity_loss(own, other)) > 0.1
    # A shift of whole rows changes no choice among texts; the other direction sees it.
    assert float(affinity_loss(other + torch.arange(6.0)[:, None], other)) > 0.1


def test_photos_find_their_own_and_others_of_their_label_do_not_count_against() -> None:
    near = float(interactive_loss(TEACHER, TEACHER, TEXTS, LABEL, 20.0))
    assert near < float(interactive_loss(STUDENT, TEACHER, TEXTS, LABEL, 20.0))
    twins = torch.cat([TEACHER, TEACHER])
    one_label = torch.cat([LABEL, LABEL])
    # Twins of one label are no counter-examples; of two labels they are.
    other_label = torch.cat([LABEL, LABEL + 1])
    assert float(interactive_loss(twins, twins, TEXTS, one_label, 20.0)) == pytest.approx(near, rel=1e-4)
    assert float(interactive_loss(twins, twins, TEXTS, other_label, 20.0)) > near + 0.2


@pytest.mark.parametrize("term", ["feature", "affinity", "interactive"])
def test_following_a_loss_leads_to_the_teacher(term: str) -> None:
    losses = {
        "feature": lambda own: feature_loss(own, TEACHER),
        "affinity": lambda own: affinity_loss(10 * own @ TEXTS.T, 10 * TEACHER @ TEXTS.T),
        "interactive": lambda own: interactive_loss(own, TEACHER, TEXTS, torch.arange(6) % 5, 10.0),
    }
    free = STUDENT.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.05)
    before = float(losses[term](normalize(free, dim=-1)).detach())
    for _ in range(150):
        optimizer.zero_grad()
        losses[term](normalize(free, dim=-1)).backward()
        optimizer.step()
    after = normalize(free.detach(), dim=-1)
    assert float(losses[term](after)) < 0.75 * before
    assert float((after * TEACHER).sum(1).mean()) > float((STUDENT * TEACHER).sum(1).mean()) + 0.1


def test_another_space_is_reached_by_a_map_and_the_own_one_without() -> None:
    maps = Projections(8, {"far": 5}, seed=0)
    assert maps(STUDENT, "own") is STUDENT
    far = maps(STUDENT, "far")
    assert far.shape == (6, 5) and torch.allclose(far.norm(dim=1), torch.ones(6))
    assert torch.equal(far, Projections(8, {"far": 5}, seed=0)(STUDENT, "far"))


def test_a_recipe_takes_weights_from_a_file_and_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("batch = 16\nsizes = [64, 96]\n[teach]\nfeature = 2.0\n")
    found = read_recipe(DistilConfig(), tmp_path / "a.toml", ["affinity=0", "task=0.25"])
    assert (found.batch, found.sizes) == (16, (64, 96))
    assert found.teach == DistilLoss(feature=2.0, affinity=0.0, task=0.25)
    for words, complaint in ((["likeness=1"], "accepted: feature"), (["task"], "accepted: NAME=WEIGHT")):
        with pytest.raises(UsageError, match=complaint):
            read_recipe(DistilConfig(), None, words)
    (tmp_path / "b.toml").write_text("batches = 16\n")
    with pytest.raises(UsageError, match="sets 'batches'"):
        read_recipe(DistilConfig(), tmp_path / "b.toml", [])
    with pytest.raises(UsageError, match="every loss is 0"):
        DistilLoss(0, 0, 0, 0, 0, 0)
    with pytest.raises(UsageError, match="0 or more"):
        DistilLoss(feature=-1)
