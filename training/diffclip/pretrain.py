"""One masked-diffusion pre-training of an encoder on all pixels of a scene: its state and its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality, Scene

from ..checkpoint import optimizer_tensors, prefixed, restore_optimizer, unprefixed
from ..fit import rate_at
from .config import DiffclipConfig
from .masking import draw_mask
from .network import Decoders, Encoder
from .spectrum import empty_components, fit_components
from .windows import Pixels, Windows

_ROWS = 64  # of a scene whose components are computed at once
_CHUNK = 1024  # windows at once
TURNS = 8  # ways to turn and mirror a square


class Pretraining:
    """Encoder, decoders and optimiser.

    All chance is drawn from (seed, step): a run that was cut off and resumed takes the same course.
    """

    def __init__(self, config: DiffclipConfig, scene: Scene) -> None:
        """Begin a training.

        Args:
            config: the recipe.
            scene: as `prepared`; its pixels with data of any modality are the centres of windows.

        Raises:
            UsageError: no pixel carries data.
        """
        self.config = config
        self.encoder = new_encoder(config, scene)
        self.decoders = Decoders(config, {name: self.encoder.components[name] for name in self.encoder.modalities})
        self.step = 0  # steps done
        self._windows = component_windows(self.encoder, scene)
        self._centres = np.argwhere(np.any([m.valid for m in scene.modalities], axis=0) & (scene.tile >= 0))
        if not len(self._centres):
            raise UsageError(f"{scene.name}: no pixel carries data")
        self._optimizer = torch.optim.AdamW(self._groups(), lr=0.0)
        gain = torch.linspace(*config.noise, config.noise_steps, dtype=torch.float64)
        self._clean_share = torch.cumprod(1 - gain, dim=0).float()  # of the variance, after each step

    def run(self) -> Iterator[dict[str, float]]:
        """Take the steps that are left; yields what each one measured."""
        self.encoder.train()
        self.decoders.train()
        while self.step < self.config.steps:
            yield self._step()

    def state(self) -> dict[str, Tensor]:
        """All that a later process needs to go on."""
        return {
            **prefixed("encoder", self.encoder.state_dict()),
            **prefixed("decoders", self.decoders.state_dict()),
            **prefixed("optimizer", optimizer_tensors(self._optimizer)),
        }

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on where `state` was taken, after ``step`` steps."""
        self.encoder.load_state_dict(unprefixed("encoder", tensors))
        self.decoders.load_state_dict(unprefixed("decoders", tensors))
        restore_optimizer(self._optimizer, unprefixed("optimizer", tensors))
        self.step = step

    def batch(self, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Clean windows of a step as tokens (N, T, R), and which carry data, bool (N, T), of each modality."""
        config, count = self.config, len(self._centres)
        epochs, places = np.divmod(np.arange(step * config.batch, (step + 1) * config.batch), count)
        orders = {int(epoch): _order(config.seed, int(epoch), count) for epoch in np.unique(epochs)}
        centres = self._centres[[orders[int(epoch)][place] for epoch, place in zip(epochs, places)]]
        generator = np.random.default_rng((config.seed, 0, step))
        turns = torch.from_numpy(generator.integers(TURNS, size=config.batch))
        lacking = _lacking(generator, config.batch, len(self._windows), config.drop_modality)
        tokens, valid = {}, {}
        for number, (name, windows) in enumerate(self._windows.items()):
            values, seen = windows.of(centres)
            there = torch.from_numpy(seen & ~lacking[:, number, None, None])
            tokens[name] = turned(torch.from_numpy(values).permute(0, 3, 1, 2), turns).flatten(2).transpose(1, 2)
            valid[name] = turned(there, turns).flatten(1)
        return tokens, valid

    def _step(self) -> dict[str, float]:
        config = self.config
        rate = config.rate * rate_at(self.step, config.steps, config.warm_up)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        clean, valid = self.batch(self.step)
        measured = self.losses(clean, valid, self._generator())
        loss = sum(
            config.visible_weight * visible + config.masked_weight * masked for visible, masked in measured.values()
        )
        loss.backward()
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        entry = {"loss": float(loss.detach()), "rate": rate}
        for name, (visible, masked) in measured.items():
            entry |= {f"{name} visible": float(visible.detach()), f"{name} masked": float(masked.detach())}
        return entry

    def losses(
        self, clean: Mapping[str, Tensor], valid: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean squared error of the clean components at shown and at hidden places, of each modality.

        Args:
            clean: components float32 (N, T, R).
            valid: bool (N, T): which carry data.
            generator: of the diffusion steps, one a window for all its modalities, and of noise and masks, one each.
        """
        count = len(next(iter(clean.values())))
        steps = torch.randint(self.config.noise_steps, (count,), generator=generator)
        share = self._clean_share[steps][:, None, None]
        noisy, masks = {}, {}
        for name, tokens in clean.items():
            noise = torch.randn(tokens.shape, generator=generator)
            noisy[name] = share.sqrt() * tokens + (1 - share).sqrt() * noise
            masks[name] = draw_mask(valid[name], self.config.mask_ratio, generator)
        predicted = self.decoders(self.encoder.encode(noisy, steps, valid, masks), masks)
        losses = {}
        for name, tokens in clean.items():
            error = (predicted[name] - tokens).square().mean(dim=-1)
            losses[name] = _mean(error, masks[name].shown), _mean(error, masks[name].hidden)
        return losses

    def _generator(self) -> torch.Generator:
        """Of this step's noise and masks."""
        seed = int(np.random.SeedSequence((self.config.seed, 1, self.step)).generate_state(1, np.uint64)[0] >> 1)
        return torch.Generator().manual_seed(seed)

    def _groups(self) -> list[dict[str, object]]:
        """Matrices decay; biases, norms and tokens do not."""
        parameters = [*self.encoder.parameters(), *self.decoders.parameters()]
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]


def new_encoder(config: DiffclipConfig, scene: Scene) -> Encoder:
    """An encoder with random weights; its components are those of the scene's pixels.

    Raises:
        UsageError: no pixel of a modality carries data.
    """
    inside = scene.tile >= 0
    parts = {}
    for m in scene.modalities:
        normalise = empty_components(config, m.name, 1, 1).normalise
        parts[m.name] = fit_components(m, inside, scene.tile, config.components, normalise=normalise)
    torch.manual_seed(config.seed)
    return Encoder(config, parts)


@torch.inference_mode()
def scene_components(encoder: Encoder, modality: Modality) -> npt.NDArray[np.float32]:
    """Components float32 (H, W, R) of a modality's raster, 0 where there are no data."""
    transform = encoder.components[modality.name]
    rows = []
    for start in range(0, len(modality.valid), _ROWS):
        part = slice(start, start + _ROWS)
        values = np.where(modality.valid[part, :, None], modality.values[part], 0).astype(np.float32)
        rows.append(transform(torch.from_numpy(values).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy())
    cube: npt.NDArray[np.float32] = np.concatenate(rows) * modality.valid[..., None]
    return cube


def component_windows(encoder: Encoder, scene: Scene, lacking: tuple[str, ...] = ()) -> dict[str, Windows]:
    """Windows of components (N, S, S, R) of each modality: computed once, as they never change."""
    return {
        m.name: Windows(scene_components(encoder, m), m.valid, scene.tile, encoder.config.window)
        for m in scene.modalities
        if m.name in encoder.components and m.name not in lacking
    }


@torch.inference_mode()
def scene_features(
    encoder: Encoder, scene: Scene, pixels: Pixels, lacking: tuple[str, ...] = (), turns: int = TURNS
) -> Tensor:
    """Features float32 (N, F) of the windows round N pixels, the mean over the ways to turn them.

    Args:
        encoder: of these modalities.
        scene: where the windows lie.
        pixels: rows and columns (N, 2).
        lacking: modalities to do without.
        turns: how many of the eight ways.
    """
    encoder.eval()
    cut = component_windows(encoder, scene, lacking)
    features = []
    for start in range(0, len(pixels), _CHUNK):
        parts, valid = {}, {}
        for name, windows in cut.items():
            values, seen = windows.of(pixels[start : start + _CHUNK])
            parts[name], valid[name] = torch.from_numpy(values).permute(0, 3, 1, 2), torch.from_numpy(seen)
        total = torch.zeros(())
        for turn in range(turns):
            views = {name: turn_all(part, turn) for name, part in parts.items()}
            total = total + encoder.of_components(views, {name: turn_all(v, turn) for name, v in valid.items()})
        features.append(total / turns)
    return torch.cat(features).clone()


def turned(windows: Tensor, turns: Tensor) -> Tensor:
    """Each of N windows (N, ..., S, S) turned and mirrored in its own of the eight ways, int (N,)."""
    result = torch.empty_like(windows)
    for turn in range(TURNS):
        own = turns == turn
        result[own] = turn_all(windows[own], turn)
    return result


def turn_all(windows: Tensor, turn: int) -> Tensor:
    """All windows (N, ..., S, S) turned by ``turn % 4`` right angles, and mirrored before from 4 on."""
    mirrored = windows.flip(-1) if turn >= TURNS // 2 else windows
    return mirrored.rot90(turn % 4, (-2, -1))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of those values that are meant; 0 where none is."""
    return (values * where).sum() / where.sum().clamp(min=1)


def _lacking(generator: np.random.Generator, count: int, modalities: int, chance: float) -> npt.NDArray[np.bool_]:
    """Which modality each window lacks, bool (N, M): at most one, and none where there is only one."""
    lacking = np.zeros((count, modalities), bool)
    if modalities > 1:
        which = generator.integers(modalities, size=count)
        lacking[np.arange(count), which] = generator.random(count) < chance
    return lacking


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The pixels in the order of an epoch."""
    return np.random.default_rng((seed, 2, epoch)).permutation(count)
