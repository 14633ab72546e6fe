"""One training of an image tower: its state, its steps and its epochs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from agriclip_edge.imaging.decode import RGB
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.parallel import ordered_map

from .augment import augment
from .checkpoint import optimizer_tensors, prefixed, restore_optimizer, unprefixed
from .config import EncoderConfig
from .data import Collection, Indices, Photos
from .evaluate import Vectors
from .image_tower import ImageTower
from .losses import general_loss, label_loss, membership
from .ridge import fit_head
from .sampling import draw_order, photo_weights

if TYPE_CHECKING:
    from .general import General

_INFERENCE_BATCH = 32
Progress = Callable[[int, int, float], None]  # step, steps of the epoch, loss


class Fit:
    """A tower under training, the moving average of its weights, and the optimiser.

    All chance is drawn from (seed, epoch, step): a run that was cut off and resumed takes the same course.
    """

    def __init__(
        self,
        config: EncoderConfig,
        tower: ImageTower,
        texts: Tensor,
        collection: Collection,
        photos: Photos,
        general: General | None = None,
    ) -> None:
        """Begin a training.

        Args:
            config: the recipe.
            tower: with pretrained weights; its head is overwritten by `start`.
            texts: unit vectors of L labels through K templates, float32 (K, L, D).
            collection: the tasks that the photos belong to.
            photos: to train on.
            general: knowledge of the photos that is to be kept.
        """
        self.config = config
        self.tower = tower
        self.tower.freeze(config.frozen_blocks)
        self.average = copy.deepcopy(tower).eval().requires_grad_(False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale)))
        self.general_log_scale = nn.Parameter(torch.tensor(math.log(config.general_scale)))
        self.epoch = 0  # epochs done
        self._general = general
        self._texts = texts
        self._photos = photos
        self._members = membership(collection.rows, len(collection.labels))
        self._weights = photo_weights(photos, collection, config.by_class, config.by_task)
        self._optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.99))
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch; a last smaller batch is left out, as BatchNorm would see too little."""
        return len(self._photos) // self.config.batch

    def start(self, *, fresh: bool) -> None:
        """Begin the average; a ``fresh`` tower first gets its head in closed form on the pretrained features."""
        if not fresh:
            self.average.load_state_dict(self.tower.state_dict())
            return
        self.tower.eval()
        features = embed_all(self.tower.features, self._photos.rgb, min(self.config.sizes))
        targets = nn.functional.normalize(self._texts.mean(dim=0), dim=-1)[torch.from_numpy(self._photos.label)]
        self._begin_rows(slice(0, self.tower.dim), features, targets, torch.from_numpy(self._weights))
        self.average.load_state_dict(self.tower.state_dict())

    def _begin_rows(self, rows: slice, features: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Set rows of the head to the ridge solution."""
        head = nn.utils.skip_init(nn.Linear, features.shape[1], targets.shape[1])
        fit_head(head, features, targets, weights, self.config.ridge)
        with torch.no_grad():
            self.tower.head.weight[rows] = head.weight
            self.tower.head.bias[rows] = head.bias

    def run_epoch(self, progress: Progress | None = None) -> float:
        """Train for one epoch and return its mean loss."""
        self.tower.train_above(self.config.frozen_blocks)
        total = 0.0
        for step, (images, chosen) in enumerate(self._batches()):
            loss = self._step(self.epoch * self.steps_per_epoch + step, images, chosen)
            total += loss
            if progress is not None:
                progress(step + 1, self.steps_per_epoch, loss)
        self.epoch += 1
        return total / self.steps_per_epoch

    def terms(self) -> dict[str, float]:
        """Further figures of the last epoch for the log."""
        return {}

    def model(self) -> ImageTower:
        """The averaged weights, with BatchNorm statistics of their own at the run-time size and preprocessing."""
        model = copy.deepcopy(self.average)
        generator = np.random.default_rng((self.config.seed, 0))
        chosen = generator.permutation(draw_order(self._weights, generator))[: self.config.statistics]
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        model.train_above(self.config.frozen_blocks)
        for norm in norms:
            if norm.training:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over all batches
        embed_all(model.features, [self._photos.rgb[int(index)] for index in chosen], self.config.input_size)
        return model.eval()

    def state(self) -> dict[str, Tensor]:
        """All that a later process needs to go on."""
        return {
            **prefixed("tower", self.tower.state_dict()),
            **prefixed("average", self.average.state_dict()),
            **prefixed("optimizer", optimizer_tensors(self._optimizer)),
            "log_scale": self.log_scale.detach(),
            "general_log_scale": self.general_log_scale.detach(),
        }

    def restore(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Go on where `state` was taken, after ``epoch`` epochs."""
        self.tower.load_state_dict(unprefixed("tower", tensors))
        self.average.load_state_dict(unprefixed("average", tensors))
        restore_optimizer(self._optimizer, unprefixed("optimizer", tensors))
        with torch.no_grad():
            self.log_scale.copy_(tensors["log_scale"])
            self.general_log_scale.copy_(tensors["general_log_scale"])
        self.epoch = epoch

    def _groups(self) -> list[dict[str, Any]]:
        config = self.config
        learnt = [p for p in self.tower.backbone.parameters() if p.requires_grad]
        return [
            {
                "params": [p for p in learnt if p.ndim > 1],
                "lr": config.backbone_rate,
                "weight_decay": config.weight_decay,
            },
            {"params": [p for p in learnt if p.ndim == 1], "lr": config.backbone_rate, "weight_decay": 0.0},
            {"params": list(self.tower.head.parameters()), "lr": config.head_rate, "weight_decay": config.weight_decay},
            {"params": [self.log_scale, self.general_log_scale], "lr": config.head_rate, "weight_decay": 0.0},
        ]

    def _batches(self) -> Iterator[tuple[Tensor, Indices]]:
        """Augmented photos uint8 (B, S, S, 3) and their numbers; made ahead, in another thread."""
        config, size = self.config, self.config.sizes[self.epoch]
        order = draw_order(self._weights, np.random.default_rng((config.seed, self.epoch, 0)))

        def make(step: int) -> tuple[Tensor, Indices]:
            generator = np.random.default_rng((config.seed, self.epoch, step + 1))
            chosen = order[step * config.batch : (step + 1) * config.batch]
            views = [self._view(int(index), size, generator) for index in chosen]
            return torch.from_numpy(np.stack(views)), chosen

        return ordered_map(make, range(self.steps_per_epoch), workers=1)

    def _view(self, index: int, size: int, generator: np.random.Generator) -> RGB:
        return augment(self._photos.rgb[index], size, self.config.augment, generator)

    def _step(self, step: int, images: Tensor, chosen: Indices) -> float:
        rate = rate_at(step, self.steps_per_epoch * len(self.config.sizes), self.config.warm_up)
        for group, top in zip(self._optimizer.param_groups, self._rates):
            group["lr"] = top * rate
        loss = self._loss(step, self.tower(images), chosen)
        loss.backward()
        nn.utils.clip_grad_norm_(
            [p for group in self._optimizer.param_groups for p in group["params"]], self.config.clip
        )
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._follow(step)
        return float(loss.detach())

    def _loss(self, step: int, vectors: Tensor, chosen: Indices) -> Tensor:
        vectors = self.tower.text_part(vectors)
        label, task = torch.from_numpy(self._photos.label[chosen]), torch.from_numpy(self._photos.task[chosen])
        texts = self._texts[step % len(self._texts)]  # templates and captions take turns
        scale = self.log_scale.exp()
        loss = label_loss(vectors, texts, scale, label, task, self._members, self.config.loss)
        if self._general is not None:
            known = self._general.probabilities[torch.from_numpy(chosen)]
            apart = general_loss(vectors, self._general.texts, self.general_log_scale.exp(), known)
            loss = loss + self.config.loss.general * apart
        return loss

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights; it follows closely while it is young."""
        share = 1 - min(self.config.average, (1 + step) / (10 + step))
        for mean, now in zip(self.average.parameters(), self.tower.parameters()):
            if now.requires_grad:
                mean.lerp_(now, share)


def rate_at(step: int, steps: int, warm_up: float) -> float:
    """Share of the top learning rate: a linear rise, then half a cosine down to 0 (Loshchilov & Hutter 2017)."""
    rise = max(1, round(warm_up * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


@torch.inference_mode()
def embed_all(function: Callable[[Tensor], Tensor], photos: Sequence[RGB], size: int) -> Tensor:
    """Apply a function of photos uint8 (N, S, S, 3) to many, as at run time: preprocessed, without chance."""
    parts = []
    for start in range(0, len(photos), _INFERENCE_BATCH):
        squares = [preprocess(rgb, size) for rgb in photos[start : start + _INFERENCE_BATCH]]
        parts.append(function(torch.from_numpy(np.stack(squares))))
    return torch.cat(parts).clone()


def embedder(tower: ImageTower, size: int) -> Callable[[Sequence[RGB]], Vectors]:
    """A tower as `training.evaluate.evaluate` wants it: photos of any size to unit vectors."""

    def embed(photos: Sequence[RGB]) -> Vectors:
        return embed_all(tower, photos, size).numpy()

    return embed
