"""Quantisation-aware fine-tuning: a tower that computes with rounded weights and activations, and learns exact ones.

The rounding is that of `export.quantise`: weights symmetric with a scale for each output channel, activations with one
scale and zero point a tensor from their least and greatest value, the first convolutions in float. A BatchNorm that is
folded into its convolution multiplies whole output channels, so that rounding before or after folding is the same.
Gradients pass through the rounding as if it were not there (straight-through, Jacob et al. 2018, section 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver
from torch.nn.utils import parametrize

from ..image_tower import ImageTower
from .config import QuantisationAware

_LEVELS = 127  # INT8, symmetric: -127 to 127
_ROUNDING = "input_rounding"
_LEARNT = "parametrizations.weight.original"  # torch's name for a weight before its rounding


class RoundedWeight(nn.Module):
    """A weight as INT8 has it: one symmetric scale for each output channel."""

    def forward(self, weight: Tensor) -> Tensor:
        """Float32 of the same shape, on the levels of INT8."""
        largest = weight.detach().abs().flatten(1).amax(dim=1)
        scale = largest.clamp_min(1e-12) / _LEVELS
        zero = torch.zeros(len(scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -_LEVELS, _LEVELS)


def prepare(tower: ImageTower, config: QuantisationAware) -> ImageTower:
    """Make a tower compute with rounded values; it is changed and given back.

    Args:
        tower: a trained one.
        config: what is rounded.
    """
    layers = [module for module in tower.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    for layer in layers[config.float_layers :]:
        parametrize.register_parametrization(layer, "weight", RoundedWeight())
        observed = FakeQuantize(MovingAverageMinMaxObserver, 0, 255, dtype=torch.quint8, averaging_constant=config.keep)
        layer.add_module(_ROUNDING, observed)
        layer.register_forward_pre_hook(_round_input)
    return tower


def plain(tower: ImageTower) -> dict[str, Tensor]:
    """The tensors of a prepared tower under the names of before, without the rounding: the weights that were learnt."""
    found = {}
    for name, tensor in tower.state_dict().items():
        if f".{_ROUNDING}." not in f".{name}":
            found[name.replace(_LEARNT, "weight")] = tensor
    return found


def _round_input(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (getattr(layer, _ROUNDING)(inputs[0]), *inputs[1:])
