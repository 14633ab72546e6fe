"""What training minimises: the right label among all and among its task's own, closeness to its text, old knowledge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms."""

    all_labels: float = 0.5
    own_task: float = 1.0
    alignment: float = 0.5  # keeps photos near their texts, for labels that nobody trained on
    general: float = 0.0  # keeps what the start weights knew of other things, in words
    smoothing: float = 0.1  # of both cross-entropies: some labels are wrong


def label_loss(
    images: Tensor, texts: Tensor, scale: Tensor, label: Tensor, task: Tensor, members: Tensor, config: LossConfig
) -> Tensor:
    """The loss of one batch.

    Args:
        images: unit vectors of photos, float32 (N, D).
        texts: unit vectors of all labels, float32 (L, D).
        scale: logit scale, a scalar (CLIP, Radford et al. 2021, section 2.3).
        label: number of each photo's label, int64 (N,).
        task: number of each photo's task, int64 (N,).
        members: which labels belong to which task, bool (T, L).
        config: weights of the terms.

    Returns:
        a scalar: weighted sum of the cross-entropy among all labels, the cross-entropy among the labels of the
        photo's own task (the choice that a label pack offers), and 1 - cosine to the label's text.
    """
    cosines = images @ texts.T  # (N, L)
    logits = scale * cosines
    among_all = nn.functional.cross_entropy(logits, label, label_smoothing=config.smoothing)
    among_own = masked_cross_entropy(logits, label, members[task], config.smoothing)
    apart = 1 - cosines.gather(1, label[:, None]).mean()
    return config.all_labels * among_all + config.own_task * among_own + config.alignment * apart


def general_loss(images: Tensor, texts: Tensor, scale: Tensor, probabilities: Tensor) -> Tensor:
    """How far photos have left what a classifier of other classes knew of them, through these classes' texts.

    The divergence of Kullback and Leibler from the classifier's probabilities to the softmax of scaled cosines
    (distillation, Hinton et al. 2015, section 2, with a text embedding in place of a student's own class weights).

    Args:
        images: unit vectors of photos, float32 (N, D).
        texts: unit vectors of G other classes, float32 (G, D).
        scale: logit scale of this term, a scalar.
        probabilities: of the classifier, float32 (N, G).
    """
    told = (scale * (images @ texts.T)).log_softmax(dim=1)
    return nn.functional.kl_div(told, probabilities, reduction="batchmean")


def masked_cross_entropy(logits: Tensor, label: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy over the labels that each row's mask admits, smoothed over those alone.

    Args:
        logits: float32 (N, L).
        label: int64 (N,); admitted by its row's mask.
        mask: bool (N, L).
        smoothing: share of the target that is spread evenly over the admitted labels.
    """
    log_probabilities = logits.masked_fill(~mask, float("-inf")).log_softmax(dim=1)
    right = log_probabilities.gather(1, label[:, None]).squeeze(1)
    even = log_probabilities.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
    return -((1 - smoothing) * right + smoothing * even).mean()


def membership(rows: tuple[tuple[int, ...], ...], labels: int) -> Tensor:
    """Which of L labels belong to which of T tasks: bool (T, L)."""
    members = torch.zeros(len(rows), labels, dtype=torch.bool)
    for task, own in enumerate(rows):
        members[task, list(own)] = True
    return members
