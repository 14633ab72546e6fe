"""One training of student and teacher: its state and its steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.parallel import ordered_map

from ..augment import augment
from ..checkpoint import optimizer_tensors, prefixed, restore_optimizer, unprefixed
from ..data import Indices
from ..fit import embed_all
from ..half import trusted
from ..image_tower import ImageTower
from .config import DinoConfig
from .loss import ProjectionHead, centred_targets, sinkhorn_targets, view_loss
from .network import Network
from .schedule import cosine, ramp
from .workers import Workers

_GLOBAL_VIEWS = 2
Views = tuple[Tensor, ...]  # groups of views uint8 (views * photos, S, S, 3): global ones, then local ones if any


class DinoFit:
    """Student, teacher, centre and optimiser.

    All chance is drawn from (seed, step, place in the step), and BatchNorm sees micro-batches: a run that was cut off
    and resumed takes the same course, and so do any number of processes.
    """

    def __init__(self, config: DinoConfig, tower: ImageTower, photos: Sequence[RGB], team: Workers) -> None:
        """Begin a training.

        Args:
            config: the recipe.
            tower: as `training.dino.network.new_tower` makes it, with the weights to start from.
            photos: to train on, upright RGB uint8 (H, W, 3).
            team: the processes that share each step.

        Raises:
            UsageError: a step's micro-batches cannot be shared out evenly.
        """
        passes = config.batch // config.micro_batch
        if passes % team.count:
            raise UsageError(f"{passes} micro-batches a step for {team.count} processes; accepted: a multiple")
        if not photos:
            raise UsageError("no photo to train on; accepted: at least 1")
        torch.manual_seed(config.seed)  # of the head's weights
        head = ProjectionHead(int(tower.backbone.head_hidden_size), config.hidden, config.bottleneck, config.prototypes)
        self.config = config
        self.team = team
        self.student = Network(tower, head, config.frozen_blocks).to(team.device).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).train()
        self.centre = torch.zeros(config.prototypes, device=team.device)
        self.step = 0  # steps done
        self._photos = photos
        # Buffers are not shared: no loss depends on running statistics, and `model` takes its own.
        self._shared = DistributedDataParallel(self.student, forward_sync_buffers=False) if team.count > 1 else None
        self._optimizer = torch.optim.AdamW(self._groups(), lr=0.0)

    def run(self) -> Iterator[dict[str, float]]:
        """Take the steps that are left; yields what each one measured."""
        for batches in self._batches():
            with trusted(self.team.device, self.config.precision == "bfloat16"):
                measured = self._step(batches)
            yield measured

    @torch.no_grad()
    def model(self) -> ImageTower:
        """The teacher's backbone, with BatchNorm statistics of its own at the run-time size and preprocessing."""
        network = copy.deepcopy(self.teacher).train()
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all batches
        if norms:
            chosen = np.random.default_rng((self.config.seed, 0)).permutation(len(self._photos))
            some = [self._photos[int(index)] for index in chosen[: self.config.statistics]]
            embed_all(lambda x: network.tower.features(x.to(self.team.device)).cpu(), some, self.config.input_size)
        return network.tower.eval()

    def samples(self, photos: int) -> tuple[RGB, ...]:
        """The first views of a few photos, as the next step would see them, for a picture of the run."""
        step = min(self.step, self.config.steps - 1)
        return tuple(view for place in range(min(photos, self.config.batch)) for view in self._views(step, place))

    def state(self) -> dict[str, Tensor]:
        """All that a later process needs to go on."""
        return {
            **prefixed("student", self.student.state_dict()),
            **prefixed("teacher", self.teacher.state_dict()),
            **prefixed("optimizer", optimizer_tensors(self._optimizer)),
            "centre": self.centre,
        }

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on where `state` was taken, after ``step`` steps."""
        self.student.load_state_dict(unprefixed("student", tensors))
        self.teacher.load_state_dict(unprefixed("teacher", tensors))
        restore_optimizer(self._optimizer, unprefixed("optimizer", tensors))
        self.centre.copy_(tensors["centre"])
        self.step = step

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by their share of the rate and whether they decay: biases and norms do not."""
        groups = []
        for part, share in ((self.student.tower, self.config.backbone_share), (self.student.projection, 1.0)):
            learnt = [p for p in part.parameters() if p.requires_grad]
            for decays in (True, False):
                chosen = [p for p in learnt if (p.ndim > 1) == decays]
                groups += [{"params": chosen, "share": share, "decays": decays}] if chosen else []
        return groups

    def _views(self, step: int, place: int) -> list[RGB]:
        """All views of one photo of a step: global ones first."""
        config = self.config
        epoch, position = divmod(step * config.batch + place, len(self._photos))
        rgb = self._photos[int(_order(config.seed, epoch, len(self._photos))[position])]
        generator = np.random.default_rng((config.seed, step, place))
        large = [augment(rgb, config.global_size, config.global_view, generator) for _ in range(_GLOBAL_VIEWS)]
        return large + [
            augment(rgb, config.local_size, config.local_view, generator) for _ in range(config.local_views)
        ]

    def _batches(self) -> Iterator[list[Views]]:
        """This process's micro-batches of each step that is left; made ahead, in another thread."""
        size = self.config.micro_batch
        passes = range(self.team.rank, self.config.batch // size, self.team.count)

        def make(step: int) -> list[Views]:
            return [
                _stacked([self._views(step, place) for place in range(number * size, (number + 1) * size)])
                for number in passes
            ]

        return ordered_map(make, range(self.step, self.config.steps), workers=1)

    def _step(self, batches: Sequence[Views]) -> dict[str, float]:
        config, device = self.config, self.team.device
        rate, decay, momentum, sharpness = self._schedules()
        moved = [tuple(group.to(device, non_blocking=True) for group in batch) for batch in batches]
        with torch.no_grad(), self._autocast():
            logits = [self.teacher(batch[:1]) for batch in moved]
        told = torch.cat(logits).float()  # (micro-batches * 2 * photos, K)
        targets = self._targets(told, sharpness).reshape(len(moved), _GLOBAL_VIEWS, config.micro_batch, -1)
        network = self._shared or self.student
        total = torch.zeros((), device=device)
        for number, batch in enumerate(moved):
            # Gradients cross processes once a step, with the last micro-batch.
            last = number == len(moved) - 1
            with nullcontext() if last or self._shared is None else self._shared.no_sync():
                with self._autocast():
                    seen = network(batch)
                seen = seen.float().unflatten(0, (-1, config.micro_batch))
                loss = view_loss(seen, targets[number], config.student_temperature) / len(moved)
                loss.backward()
            total += loss.detach()
        self._update(rate, decay)
        self._follow(momentum)
        mean = self.team.add_up(told.mean(dim=0)) / self.team.count
        self.centre.lerp_(mean, 1 - config.centre_momentum)
        guess = self.team.add_up(targets.mean(dim=(0, 1, 2))) / self.team.count
        loss_and_entropy = torch.stack([total, _entropy(targets).mean()])
        value, entropy = (self.team.add_up(loss_and_entropy) / self.team.count).tolist()
        self.step += 1
        return {
            "loss": value,
            "target_entropy": entropy,  # near 0: one prototype a photo; near log K: the teacher says nothing
            "mean_entropy": float(_entropy(guess)),  # near 0: all photos on one prototype: collapse
            "rate": rate,
            "teacher_momentum": momentum,
        }

    def _schedules(self) -> tuple[float, float, float, float]:
        """Rate of the head, weight decay, momentum and temperature of the teacher at this step."""
        config, step = self.config, self.step
        top = config.rate * config.batch / 256
        rate = cosine(step, config.steps, top, config.last_rate, max(1, round(config.warm_up * config.steps)))
        decay = cosine(step, config.steps, *config.weight_decay)
        momentum = cosine(step, config.steps, *config.teacher_momentum)
        sharpness = ramp(step, round(config.temperature_rise * config.steps), *config.teacher_temperature)
        return rate, decay, momentum, sharpness

    def _targets(self, logits: Tensor, temperature: float) -> Tensor:
        if self.config.targets == "sinkhorn":
            return sinkhorn_targets(logits, temperature, self.config.sinkhorn_rounds, self.team.add_up)
        return centred_targets(logits, self.centre, temperature)

    def _update(self, rate: float, decay: float) -> None:
        """One step of the optimiser on the gradients that lie there."""
        for group in self._optimizer.param_groups:
            group["lr"], group["weight_decay"] = group["share"] * rate, decay if group["decays"] else 0.0
        learnt = [p for group in self._optimizer.param_groups for p in group["params"]]
        if self.step < round(self.config.fixed_prototypes * self.config.steps):
            self.student.projection.prototypes.grad = None
        nn.utils.clip_grad_norm_(learnt, self.config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    @torch.no_grad()
    def _follow(self, momentum: float) -> None:
        """Move the teacher towards the student."""
        for mean, now in zip(self.teacher.parameters(), self.student.parameters()):
            if now.requires_grad:
                mean.lerp_(now, 1 - momentum)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, photos: int) -> Indices:
    """The order of all photos in one pass over them."""
    return np.random.default_rng((seed, epoch)).permutation(photos)


def _stacked(photos: Sequence[Sequence[RGB]]) -> Views:
    """Views photo by photo become groups by size, view by view: uint8 (views * photos, S, S, 3) each."""
    large = [views[number] for number in range(_GLOBAL_VIEWS) for views in photos]
    small = [views[number] for number in range(_GLOBAL_VIEWS, len(photos[0])) for views in photos]
    return tuple(torch.from_numpy(np.stack(group)) for group in (large, small) if group)


def _entropy(probabilities: Tensor) -> Tensor:
    """In nats, over the last axis."""
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)
