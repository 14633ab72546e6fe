"""Which tokens of a window are shown, and how those that were come back to their places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """The tokens of N windows that are shown.

    Args:
        places: int64 (N, V): the places of shown tokens; the same V for all, so a window with few data names some
            places without data.
        shown: bool (N, T): carries data and is shown.
        hidden: bool (N, T): carries data and is not shown.
    """

    places: Tensor
    shown: Tensor
    hidden: Tensor


def draw_mask(valid: Tensor, ratio: float, generator: torch.Generator) -> Mask:
    """Hide a share of each window's tokens at random.

    Args:
        valid: bool (N, T): tokens that carry data; those that do not are shown last.
        ratio: share of the T tokens to hide; at least one is shown and one hidden.
        generator: of the draw.
    """
    count = valid.shape[1]
    keep = min(max(1, round(count * (1 - ratio))), count - 1)
    places = (torch.rand(valid.shape, generator=generator) + (~valid).float()).argsort(dim=1)[:, :keep]
    named = torch.zeros_like(valid).scatter_(1, places, True)
    return Mask(places, named & valid, ~named & valid)


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens (N, T, ...) at places (N, V): (N, V, ...)."""
    index = places.reshape(*places.shape, *[1] * (tokens.ndim - 2)).expand(-1, -1, *tokens.shape[2:])
    return tokens.gather(1, index)


def put(tokens: Tensor, places: Tensor, filler: Tensor) -> Tensor:
    """The opposite of `take`: tokens (N, V, D) at places (N, V) among fillers (N, T, D)."""
    return filler.scatter(1, places[..., None].expand_as(tokens), tokens)
