"""Weights between the start's and the tuned ones: what was learnt is kept with most of what was known."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from agriclip_edge.errors import UsageError


def interpolate(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """WiSE-FT (Wortsman et al. 2022, equation 1): ``(1 - share) * start + share * tuned``, tensor by tensor.

    Args:
        start: weights before training.
        tuned: weights after it, of the same names and shapes.
        share: 0 gives the start's, 1 the tuned ones, both exactly. Whole numbers (counts) are the tuned ones always.

    Raises:
        UsageError: the two are not of one model, or the share is outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"the share of the tuned weights is {share}; accepted: 0 to 1")
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (start, tuned)]
    if shapes[0] != shapes[1]:
        odd = sorted(dict(shapes[0].items() ^ shapes[1].items()))[0]
        raise UsageError(f"start and tuned weights differ at {odd}: they are not of one model")
    return {
        name: start[name].lerp(tensor, share) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tuned.items()
    }
