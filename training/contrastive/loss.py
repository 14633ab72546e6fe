"""Contrastive losses that know which texts fit a photo besides its own: equal captions and equal classes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid


def positive_pairs(labels: Sequence[Hashable], captions: Sequence[Hashable], rows: slice = slice(None)) -> Tensor:
    """Which photos and texts of a batch belong together: bool (R, B), symmetric when ``rows`` is all.

    Args:
        labels: class of each of B pairs.
        captions: caption of each.
        rows: those of the photos to tell of.
    """
    either = torch.zeros(len(labels[rows]), len(labels), dtype=torch.bool)
    for names in (labels, captions):
        number = {name: value for value, name in enumerate(dict.fromkeys(names))}
        ids = torch.tensor([number[name] for name in names])
        either |= ids[rows, None] == ids[None]
    return either


def softmax_loss(
    images: Tensor, texts: Tensor, all_images: Tensor, all_texts: Tensor, positives: Tensor, scale: Tensor
) -> Tensor:
    """CLIP's loss (Radford et al. 2021, figure 3) with its target spread evenly over all texts that fit.

    A wrong negative is gone: its target is what every fitting text has (Khosla et al. 2020, equation 2, by the
    cross-entropy to an even target).

    Args:
        images: unit vectors of this process's photos, float32 (R, D).
        texts: of their captions, float32 (R, D).
        all_images: of all processes' photos, float32 (B, D).
        all_texts: of all captions, float32 (B, D).
        positives: which belong together, bool (R, B).
        scale: logit scale, a scalar.

    Returns:
        a scalar; its mean over processes is the loss of the whole batch.
    """
    target = positives / positives.sum(dim=1, keepdim=True)
    towards_texts = cross_entropy(scale * images @ all_texts.T, target)
    towards_images = cross_entropy(scale * texts @ all_images.T, target)
    return (towards_texts + towards_images) / 2


def sigmoid_loss(images: Tensor, all_texts: Tensor, positives: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """SigLIP's loss (Zhai et al. 2023, section 3.2): every pair is a yes or a no; each fitting text is a yes.

    Arguments and result as `softmax_loss`, with the logit bias.
    """
    signs = torch.where(positives, 1.0, -1.0)
    return -logsigmoid(signs * (scale * images @ all_texts.T + bias)).sum() / len(images)


def fitting_bias(cosines: Tensor, positives: Tensor, scale: Tensor) -> Tensor:
    """The bias at which `sigmoid_loss` expects as many pairs as there are: where a start without one begins.

    Args:
        cosines: float32 (R, B).
        positives: bool (R, B).
        scale: logit scale.
    """
    low, high = -2 * scale.detach() - 20, 2 * scale.detach() + 20
    share = positives.float().mean()
    for _ in range(60):  # halvings: beyond float32
        middle = (low + high) / 2
        above = torch.sigmoid(scale.detach() * cosines + middle).mean() > share
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def anchor_loss(images: Tensor, anchors: Tensor) -> Tensor:
    """Mean of 1 - cosine to each photo's dense caption: unit vectors, float32 (R, D) both."""
    return 1 - (images * anchors).sum(dim=1).mean()


def share_right(images: Tensor, all_texts: Tensor, positives: Tensor) -> Tensor:
    """Share of the photos whose nearest text of the batch is one that fits."""
    nearest = (images @ all_texts.T).argmax(dim=1)
    return positives[torch.arange(len(nearest), device=nearest.device), nearest].float().mean()
