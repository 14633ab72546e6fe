"""Low-rank adaptation: a frozen weight matrix plus a learnt product of two thin ones (Hu et al. 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """A weight matrix in, the same plus ``alpha / rank * up @ down`` out."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))  # so that training begins at the start weights
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self._scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted matrix, float32 (out, in), whatever autocast says: bfloat16 would round the start away."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.addmm(weight, self.up, self.down, alpha=self._scale)


def adapt(module: nn.Module, rank: int, alpha: float) -> int:
    """Freeze a module and adapt each of its linear layers, attention's stacked query, key and value among them.

    As parametrisations of the weights they also reach attention's fused kernels, which never call the layer.

    Returns:
        how many matrices are adapted.
    """
    module.requires_grad_(False)
    chosen = [(part, name) for part in module.modules() for name in _matrices(part)]
    for part, name in chosen:
        parametrize.register_parametrization(part, name, LowRank(getattr(part, name), rank, alpha))
    return len(chosen)


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of the plain module that computes exactly what the adapted one does, tensor by tensor.

    Nothing is changed: a removed parametrisation would be missing in every copy of the module too.
    """
    plain = {}
    for name, tensor in module.state_dict().items():
        before, found, after = name.partition("parametrizations.")
        if not found:
            plain[name] = tensor
        elif after.endswith(".original"):
            own = after.removesuffix(".original")
            plain[before + own] = getattr(module.get_submodule(before.rstrip(".")), own).detach()
    return plain


def _matrices(part: nn.Module) -> list[str]:
    own = dict(part.named_parameters(recurse=False))
    if isinstance(part, nn.Linear):
        return ["weight"]
    return [name for name in ("in_proj_weight",) if name in own]
