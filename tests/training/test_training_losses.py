from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from training.losses import LossConfig, general_loss, label_loss, masked_cross_entropy, membership


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mask_that_admits_all_changes_nothing(logits: torch.Tensor, smoothing: float) -> None:
    label = torch.tensor([0, 1, 2, 3, 4, 0])
    ours = masked_cross_entropy(logits, label, torch.ones(6, 5, dtype=torch.bool), smoothing)
    torch.testing.assert_close(ours, cross_entropy(logits, label, label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mask_gives_loss_and_gradient_of_the_smaller_choice(logits: torch.Tensor, smoothing: float) -> None:
    label, columns = torch.tensor([1, 3, 4, 1, 3, 4]), [1, 3, 4]
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, columns] = True
    whole, part = logits.clone().requires_grad_(), logits[:, columns].clone().requires_grad_()
    ours = masked_cross_entropy(whole, label, mask, smoothing)
    theirs = cross_entropy(part, torch.tensor([columns.index(int(k)) for k in label]), label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(whole.grad[:, columns], part.grad)
    assert whole.grad[:, [0, 2]].abs().max() == 0


def test_membership_names_each_tasks_labels() -> None:
    expected = [[True, False, True, False], [False, True, False, True]]
    assert membership(((0, 2), (1, 3)), 4).tolist() == expected


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    generator = torch.Generator().manual_seed(1)
    images = normalize(torch.randn(4, 8, generator=generator), dim=1)
    texts = normalize(torch.randn(4, 8, generator=generator), dim=1)
    label, task = torch.tensor([0, 2, 1, 3]), torch.tensor([0, 0, 1, 1])
    members, scale = membership(((0, 2), (1, 3)), 4), torch.tensor(10.0)

    def loss(**weights: float) -> torch.Tensor:
        plain = {"all_labels": 0.0, "own_task": 0.0, "alignment": 0.0, "smoothing": 0.0}
        return label_loss(images, texts, scale, label, task, members, LossConfig(**{**plain, **weights}))

    logits = 10 * images @ texts.T
    torch.testing.assert_close(loss(all_labels=1), cross_entropy(logits, label))
    torch.testing.assert_close(loss(own_task=1), masked_cross_entropy(logits, label, members[task], 0))
    torch.testing.assert_close(loss(alignment=1), 1 - (images * texts[label]).sum(dim=1).mean())
    total = loss(all_labels=2) + loss(own_task=3) + loss(alignment=4)
    torch.testing.assert_close(loss(all_labels=2, own_task=3, alignment=4), total)


def test_general_loss_is_zero_where_photos_say_what_the_classifier_said() -> None:
    texts = torch.eye(4)
    images = normalize(torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]), dim=1)
    scale = torch.tensor(7.0)
    same = (scale * images @ texts.T).softmax(dim=1)
    assert general_loss(images, texts, scale, same).item() == pytest.approx(0, abs=1e-6)
    other = same.flip(0)
    expected = (other * (other.log() - same.log())).sum(dim=1).mean()
    assert general_loss(images, texts, scale, other).item() == pytest.approx(expected.item(), rel=1e-5)
