"""The network: 1×1 stems and decoders of each modality, and one transformer for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError

from .config import DiffclipConfig
from .masking import Mask, put, take
from .spectrum import Components

_SINUSOIDS = 64  # of a diffusion step, before they are mixed
_LONGEST = 10_000.0  # wavelength of the slowest sinusoid (Vaswani et al. 2017)
_TOKENS = 3  # in a modality's feature: class token, centre pixel, mean of the window
MIDDLE = 2  # pixels to each side of the centre over which components are averaged: about a crown or a row of crop


class Block(nn.Module):
    """Attention and a feed-forward net, each after LayerNorm and beside a shortcut (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, heads: int, ratio: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        """Tokens (N, T, D) in and out; ``seen`` bool (N, T) says which may be looked at, None all."""
        query, key, value = self.mix(self.before_attention(tokens)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        attended = nn.functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=None if seen is None else seen[:, None, None, :],
        )
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.before_mlp(tokens))


class Encoder(nn.Module):
    """Windows of one or more modalities in, one feature a modality out.

    All modalities of a window pass the transformer as one sequence; one that is missing is simply not in it.
    """

    positions: Tensor
    middle: Tensor

    def __init__(self, config: DiffclipConfig, components: Mapping[str, Components]) -> None:
        """Build it, with random weights.

        Args:
            config: the recipe.
            components: what each modality's channels become first; the order is the order of the features.
        """
        super().__init__()
        width = config.width
        self.config = config
        self.components = nn.ModuleDict(dict(components))
        self.stems = nn.ModuleDict({name: _stem(part.count, width) for name, part in components.items()})
        self.kinds = nn.ParameterDict({name: nn.Parameter(_small(width)) for name in components})
        self.classes = nn.ParameterDict({name: nn.Parameter(_small(width)) for name in components})
        self.time = nn.Sequential(nn.Linear(_SINUSOIDS, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList([Block(width, config.heads) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", places_on_grid(config.window, width), persistent=False)
        away = (torch.arange(config.window) - config.window // 2).abs() <= MIDDLE
        self.register_buffer("middle", (away[:, None] & away).flatten().float(), persistent=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(self.components)

    @property
    def parts(self) -> dict[str, int]:
        """Numbers of each modality in a window's feature."""
        return {name: _TOKENS * self.config.width + self.components[name].count for name in self.modalities}

    @property
    def features(self) -> int:
        """Numbers of a window's feature."""
        return sum(self.parts.values())

    def forward(self, windows: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """Features of clean windows: the diffusion step is 0, so nothing here is left to chance.

        Args:
            windows: raw values float32 (N, C, S, S) of any of the modalities, in their units.
            valid: bool (N, S, S), which pixels carry data; a window without any lacks the modality. None: all do.

        Returns:
            float32 (N, `features`); see `of_components`.

        Raises:
            UsageError: no modality that the encoder knows is given.
        """
        parts = {name: self.components[name](values) for name, values in windows.items() if name in self.components}
        return self.of_components(parts, valid)

    def of_components(self, windows: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """The same of components, for who computes those of a scene once.

        Args:
            windows: components float32 (N, R, S, S) of any of the modalities.
            valid: bool (N, S, S), which pixels carry data; a window without any lacks the modality. None: all do.

        Returns:
            float32 (N, `features`): of each modality, in order, its class token, its centre pixel, the mean of its
            window, and the mean of the components in the middle; zeros where the modality is missing.

        Raises:
            UsageError: no modality that the encoder knows is given.
        """
        given = [name for name in self.modalities if name in windows]
        if not given:
            raise UsageError(f"none of the model's modalities is given: {', '.join(self.modalities)}")
        flat = {name: windows[name].flatten(2).transpose(1, 2) for name in given}
        count = len(flat[given[0]])
        seen = None if valid is None else {name: valid[name].flatten(1) for name in given}
        tokens = self.encode(flat, torch.zeros(count, dtype=torch.int64), seen)
        features = []
        for name in self.modalities:
            if name not in tokens:
                features.append(torch.zeros(count, self.parts[name]))
                continue
            own = tokens[name]
            inside = torch.ones(count, own.shape[1] - 1, 1) if seen is None else seen[name].float()[..., None]
            near = inside * self.middle[:, None]
            centre = own[:, 1 + self.config.window**2 // 2] * inside[:, self.config.window**2 // 2]
            parts = [own[:, 0], centre, _mean(own[:, 1:], inside), _mean(flat[name], near)]
            features.append(torch.cat(parts, dim=1) * (inside.sum(dim=1) > 0))
        return torch.cat(features, dim=1)

    def encode(
        self,
        parts: Mapping[str, Tensor],
        steps: Tensor,
        valid: Mapping[str, Tensor] | None = None,
        masks: Mapping[str, Mask] | None = None,
    ) -> dict[str, Tensor]:
        """Tokens after the transformer.

        Args:
            parts: components float32 (N, T, R), perhaps noisy, of any of the modalities.
            steps: int64 (N,): how noisy, 0 for clean.
            valid: bool (N, T) of each; all carry data when None.
            masks: which tokens are shown, of each; all when None.

        Returns:
            Of each modality float32 (N, 1 + V, D): its class token, and the shown tokens in the order of the mask.
        """
        told = self.time(sinusoids(steps.float(), _SINUSOIDS))[:, None]
        names, tokens, seen = list(parts), [], []
        for name in names:
            own = self.stems[name](parts[name]) + self.positions
            data = None if valid is None else valid[name]
            there = torch.ones(len(own), 1, dtype=torch.bool) if data is None else data.any(dim=1, keepdim=True)
            if masks is not None:
                own = take(own, masks[name].places)
                data = None if data is None else take(data, masks[name].places)
            first = self.classes[name].expand(len(own), 1, -1)
            tokens.append(torch.cat([first, own], dim=1) + self.kinds[name] + told)
            seen.append(torch.cat([there, torch.ones(own.shape[:2], dtype=torch.bool) if data is None else data], 1))
        sequence = torch.cat(tokens, dim=1)
        looked = torch.cat(seen, dim=1)
        # A window without any data attends to its class tokens: a softmax over nothing would be no number.
        looked = looked | ~looked.any(dim=1, keepdim=True)
        whole = None if bool(looked.all()) else looked
        for block in self.blocks:
            sequence = block(sequence, whole)
        return dict(zip(names, self.norm(sequence).split([part.shape[1] for part in tokens], dim=1)))


class Decoders(nn.Module):
    """Shown tokens of each modality in, clean components of all its places out."""

    positions: Tensor

    def __init__(self, config: DiffclipConfig, components: Mapping[str, Components]) -> None:
        super().__init__()
        width = config.decoder_width
        self.enter = nn.ModuleDict({name: nn.Linear(config.width, width) for name in components})
        self.blank = nn.ParameterDict({name: nn.Parameter(_small(width)) for name in components})
        self.blocks = nn.ModuleDict(
            {
                name: nn.ModuleList([Block(width, config.heads) for _ in range(config.decoder_depth)])
                for name in components
            }
        )
        self.leave = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, part.count))
                for name, part in components.items()
            }
        )
        self.register_buffer("positions", places_on_grid(config.window, width), persistent=False)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Mask]) -> dict[str, Tensor]:
        """Components float32 (N, T, R) of each modality from what `Encoder.encode` returned for the same masks."""
        clean = {}
        for name, own in tokens.items():
            inner = self.enter[name](own)
            blanks = self.blank[name].expand(len(own), len(self.positions), -1)
            placed = put(inner[:, 1:], masks[name].places, blanks) + self.positions
            sequence = torch.cat([inner[:, :1], placed], dim=1)
            for block in self.blocks[name]:
                sequence = block(sequence, None)
            clean[name] = self.leave[name](sequence[:, 1:])
        return clean


def sinusoids(values: Tensor, width: int) -> Tensor:
    """Sines and cosines (N, width) of numbers (N,), at rates from 1 down to 1/10,000 (Vaswani et al. 2017)."""
    rates = torch.exp(-math.log(_LONGEST) * torch.arange(width // 2) / (width // 2))
    angles = values[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def places_on_grid(side: int, width: int) -> Tensor:
    """Fixed codes (side², width) of a window's places, row by row: half for the row, half for the column."""
    codes = sinusoids(torch.arange(side).float(), width // 2)
    rows, columns = codes[:, None].expand(side, side, -1), codes[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)


def _mean(tokens: Tensor, weights: Tensor) -> Tensor:
    """Mean (N, D) of tokens (N, T, D) by weights (N, T, 1); 0 where there is no weight."""
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6)


def _stem(components: int, width: int) -> nn.Sequential:
    """Two 1×1 convolutions, as matrices over a window's pixels."""
    return nn.Sequential(nn.Linear(components, width), nn.GELU(), nn.Linear(width, width))


def _small(width: int) -> Tensor:
    return torch.randn(width) * 0.02
