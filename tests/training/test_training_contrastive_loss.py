from __future__ import annotations

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.contrastive.loss import fitting_bias, positive_pairs, share_right, sigmoid_loss, softmax_loss

SCALE, BIAS = torch.tensor(12.0), torch.tensor(-3.0)


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 6, 8, generator=generator)
    return normalize(images, dim=1), normalize(texts, dim=1)


def test_pairs_that_share_a_class_or_a_caption_belong_together() -> None:
    found = positive_pairs(["a", "b", "a", "c"], ["1", "2", "3", "2"])
    assert found.nonzero().tolist() == [[0, 0], [0, 2], [1, 1], [1, 3], [2, 0], [2, 2], [3, 1], [3, 3]]
    part = positive_pairs(["a", "b", "a", "c"], ["1", "2", "3", "2"], slice(2, 4))
    assert torch.equal(part, found[2:4])


def test_without_repeats_the_losses_are_those_of_open_clip(pairs: tuple[Tensor, Tensor]) -> None:
    images, texts = pairs
    alone = torch.eye(6, dtype=torch.bool)
    theirs = open_clip.loss.ClipLoss()(images, texts, SCALE)
    torch.testing.assert_close(softmax_loss(images, texts, images, texts, alone, SCALE), theirs)
    siglip = open_clip.loss.SigLipLoss()(images, texts, SCALE, BIAS)
    torch.testing.assert_close(sigmoid_loss(images, texts, alone, SCALE, BIAS), siglip)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_gradient_of_a_false_negative_is_gone(kind: str) -> None:
    """Photos 0 and 1 are of one class: nothing drives photo 0 away from the caption of photo 1."""

    def gradient(positives: Tensor) -> Tensor:
        images = torch.eye(4)[[0, 0, 1, 2]]  # classes that are learnt to the end: like photos alike, others apart
        texts = images.clone()
        logits = (20 * images @ texts.T).requires_grad_()
        if kind == "softmax":
            loss = softmax_loss(logits, logits.T, torch.eye(4), torch.eye(4), positives, torch.tensor(1.0))
        else:
            loss = sigmoid_loss(logits, torch.eye(4), positives, torch.tensor(1.0), torch.tensor(-10.0))
        (found,) = torch.autograd.grad(loss, logits)
        return found

    false = gradient(torch.eye(4, dtype=torch.bool))
    assert false[0, 1] > 0.05  # open_clip's own losses push them apart
    ours = gradient(positive_pairs(["rust", "rust", "scab", "healthy"], ["a", "b", "c", "d"]))
    assert ours.abs().max() < 1e-4
    assert ours[0, 1] == ours[0, 0]  # treated as its own caption
    captions = gradient(positive_pairs(["rust", "mildew", "scab", "healthy"], ["same", "same", "c", "d"]))
    torch.testing.assert_close(captions, ours)


def test_a_fitting_text_that_is_far_is_drawn_near(pairs: tuple[Tensor, Tensor]) -> None:
    images, texts = pairs
    positives = positive_pairs(list("aabcde"), list("uvwxyz"))
    for kind in ("softmax", "sigmoid"):
        logits = (images @ texts.T).requires_grad_()
        if kind == "softmax":
            loss = softmax_loss(logits, logits.T, torch.eye(6), torch.eye(6), positives, torch.tensor(1.0))
        else:
            loss = sigmoid_loss(logits, torch.eye(6), positives, torch.tensor(1.0), torch.tensor(-1.0))
        (found,) = torch.autograd.grad(loss, logits)
        assert found[0, 1] < 0 and found[1, 0] < 0
        assert found[0, 2] > 0


def test_the_fitting_bias_expects_as_many_pairs_as_there_are(pairs: tuple[Tensor, Tensor]) -> None:
    images, texts = pairs
    positives = positive_pairs(list("aabbcd"), list("uvwxyz"))
    cosines = images @ texts.T
    bias = fitting_bias(cosines, positives, SCALE)
    expected = torch.sigmoid(SCALE * cosines + bias).sum()
    torch.testing.assert_close(expected, positives.sum().float(), rtol=1e-3, atol=0)


def test_share_right_counts_any_fitting_text() -> None:
    texts = torch.eye(3)
    images = texts[[1, 1, 0]]
    assert share_right(images, texts, positive_pairs(["a", "a", "b"], ["1", "2", "3"])) == pytest.approx(2 / 3)
