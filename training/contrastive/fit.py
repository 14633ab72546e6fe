"""One contrastive training: its state and its steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from agriclip_edge.errors import UsageError

from ..checkpoint import optimizer_tensors, prefixed, restore_optimizer, unprefixed
from ..fit import rate_at
from ..half import trusted
from .config import ContrastiveConfig
from .distributed import World
from .lora import adapt, merged_state
from .loss import anchor_loss, fitting_bias, positive_pairs, share_right, sigmoid_loss, softmax_loss
from .model import Clip
from .rates import parameter_groups, tower_of
from .stream import Batch
from .wise import interpolate

_LARGEST_SCALE = 100.0  # CLIP, section 2.5
_BETAS, _EPSILON = (0.9, 0.98), 1e-6  # CLIP, table 19


class Fit:
    """Two towers under training, the weights they began with, and the optimiser.

    A step over several passes takes the exact gradient of the whole batch: embeddings first without their
    activations, then the loss on all of them, then pass by pass what the loss says (GradCache, Gao et al. 2021).
    """

    def __init__(self, config: ContrastiveConfig, clip: Clip, steps: int, world: World) -> None:
        """Begin a training.

        Args:
            config: the recipe.
            clip: with start weights; trained in place.
            steps: of the whole training.
            world: the processes of this training.

        Raises:
            UsageError: the batch cannot be shared out.
        """
        if config.batch % world.size:
            raise UsageError(f"a batch of {config.batch} for {world.size} processes; accepted: a multiple of it")
        self.config = config
        self.steps = steps
        self.step = 0  # steps done
        self.world = world
        self.clip = clip.to(world.device)
        self.start = copy.deepcopy(self.clip).eval().requires_grad_(False)
        self._prepare()
        trained: Any = self.clip
        if world.size > 1:
            if world.device.type == "cuda":
                trained = nn.SyncBatchNorm.convert_sync_batchnorm(trained)
            trained = DistributedDataParallel(trained)
        self._module = trained
        self._average = {name: p.detach().clone() for name, p in self._trained()} if config.average else {}
        groups = parameter_groups(self.clip.net, config.rate, config.layer_decay, config.weight_decay)
        self._optimizer = torch.optim.AdamW(groups, betas=_BETAS, eps=_EPSILON)
        self._rates = [float(group["lr"]) for group in groups]
        self._texts: dict[str, Tensor] = {}  # of captions, where the text tower is frozen

    def train_step(self, batch: Batch, anchors: Tensor | None = None) -> dict[str, float]:
        """Take one step.

        Args:
            batch: of this process.
            anchors: dense captions of its photos, unit vectors float32 (R, D); without them the start model's own
                embeddings are taken where the recipe has an anchor.

        Returns:
            what was measured, over all processes.
        """
        device = self.world.device
        rate = rate_at(self.step, self.steps, self.config.warm_up)
        for group, top in zip(self._optimizer.param_groups, self._rates):
            group["lr"] = top * rate
        self._set_modes()
        images = batch.images.to(device)
        positives = positive_pairs(batch.labels, batch.captions, self.world.share(self.config.batch)).to(device)
        with trusted(device, self.config.bf16):
            if self.config.anchor > 0:
                anchors = self._start_vectors(images) if anchors is None else anchors.to(device)
            measured = self._backward(images, self._own_texts(batch), positives, anchors)
        norm = nn.utils.clip_grad_norm_([p for _, p in self._trained()], self.config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            self.clip.net.logit_scale.clamp_(max=math.log(_LARGEST_SCALE))
            share = 1 - min(self.config.average, (1 + self.step) / (10 + self.step))  # closely while it is young
            for name, parameter in self._trained() if self._average else ():
                self._average[name].lerp_(parameter, share)
        self.step += 1
        values = dict(zip(measured, self.world.mean(torch.stack(list(measured.values()))).tolist()))
        scale = float(self.clip.net.logit_scale.detach().exp())
        return {"step": self.step, **values, "gradient": float(norm), "scale": scale, "rate": self.config.rate * rate}

    def model(self, share: float | None = None) -> Clip:
        """The model: averaged weights where they are kept, adapters merged, mixed with the start's by WiSE-FT.

        Args:
            share: of the tuned weights; None takes the recipe's.
        """
        tuned, model = copy.deepcopy(self.clip.net), copy.deepcopy(self.start)
        with torch.no_grad():
            own = dict(tuned.named_parameters())
            for name, tensor in self._average.items():
                own[name].copy_(tensor)
            mixed = interpolate(
                model.net.state_dict(), merged_state(tuned), self.config.wise if share is None else share
            )
        model.net.load_state_dict(mixed)
        return model

    def state(self) -> dict[str, Tensor]:
        """All that later processes need to go on, besides the start weights."""
        buffers = dict(self.clip.net.named_buffers())
        kept = {name: buffers[name] for name in self.clip.net.state_dict() if name in buffers}
        return {
            **prefixed("net", {**{name: p.detach() for name, p in self._trained()}, **kept}),
            **prefixed("average", self._average),
            **prefixed("optimizer", optimizer_tensors(self._optimizer)),
        }

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on where `state` was taken, after ``step`` steps."""
        self.clip.net.load_state_dict(unprefixed("net", tensors), strict=False)
        for name, tensor in unprefixed("average", tensors).items():
            self._average[name].copy_(tensor)
        restore_optimizer(self._optimizer, unprefixed("optimizer", tensors))
        self.step = step

    def fit_bias(self, batch: Batch) -> None:
        """Set the logit bias of a start that has none of its own, by the first batch."""
        with torch.no_grad():
            self._set_modes()
            tokens = self.clip.tokens(batch.captions[self.world.share(self.config.batch)])
            images, texts, scale, _ = self._forward_parts(batch.images.to(self.world.device), tokens, self.clip)
            assert texts is not None
            positives = positive_pairs(batch.labels, batch.captions).to(self.world.device)
            cosines = self.world.gather(images) @ self.world.gather(texts).T
            self.clip.net.logit_bias.copy_(fitting_bias(cosines, positives, scale))

    def _prepare(self) -> None:
        """Freeze and adapt the towers as the recipe says."""
        net, config = self.clip.net, self.config
        if config.checkpointing:
            net.set_grad_checkpointing(True)
        for tower in ("image", "text"):
            mode = config.image if tower == "image" else config.text
            if mode == "full":
                continue
            for name, parameter in net.named_parameters():
                if tower_of(name) == tower:
                    parameter.requires_grad_(False)
            if mode == "lora":
                count = sum(adapt(m, config.lora_rank, config.lora_alpha) for m in self._tower_modules(tower))
                if count == 0:
                    raise UsageError(f"the {tower} tower has no linear layer for LoRA; accepted: full or frozen")
        if net.logit_bias is not None and config.loss == "softmax":
            net.logit_bias.requires_grad_(False)  # a softmax does not see it

    def _tower_modules(self, tower: str) -> list[nn.Module]:
        return [m for name, m in self.clip.net.named_children() if tower_of(f"{name}.") == tower]

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.clip.net.named_parameters() if p.requires_grad]

    def _set_modes(self) -> None:
        """Training mode, except for frozen towers, and for BatchNorm statistics of adapted ones."""
        self.clip.train()
        for tower, mode in (("image", self.config.image), ("text", self.config.text)):
            for module in self._tower_modules(tower):
                module.train(mode != "frozen")
                if mode == "lora":
                    for part in module.modules():
                        if isinstance(part, nn.modules.batchnorm._BatchNorm):
                            part.eval()

    def _own_texts(self, batch: Batch) -> Tensor:
        """Tokens of this process's captions, int64 (R, T), or where the tower is frozen their vectors, (R, D)."""
        own = batch.captions[self.world.share(self.config.batch)]
        if self.config.text != "frozen":
            return self.clip.tokens(own)
        new = [caption for caption in dict.fromkeys(own) if caption not in self._texts]
        with torch.no_grad(), self._autocast():
            for start in range(0, len(new), self.config.micro):
                part = new[start : start + self.config.micro]
                self._texts.update(zip(part, self.clip.texts(self.clip.tokens(part))))
        return torch.stack([self._texts[caption] for caption in own])

    @torch.no_grad()
    def _start_vectors(self, images: Tensor) -> Tensor:
        with self._autocast():
            return torch.cat([self.start.images(part) for part in images.split(self.config.micro)])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.bf16)

    def _forward(self, module: Any, images: Tensor, texts: Tensor, part: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One pass; its chance (dropout) is drawn from (seed, step, process, pass): alike both times, and resumed."""
        seeds = (self.config.seed, self.step, self.world.rank, part)
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        embedded = texts.is_floating_point()
        with self._autocast():
            found, own, scale, bias = module(images, None if embedded else texts)
        return found, texts if embedded else own, scale, bias

    def _forward_parts(self, images: Tensor, texts: Tensor, module: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        micro = self.config.micro
        found = [self._forward(module, *pair, n) for n, pair in enumerate(zip(images.split(micro), texts.split(micro)))]
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found]), found[0][2], found[0][3]

    def _backward(self, images: Tensor, texts: Tensor, positives: Tensor, anchors: Tensor | None) -> dict[str, Tensor]:
        """Leave the gradient of the whole batch's loss in the weights; returns this process's share of what it is."""
        micro = self.config.micro
        if len(images) <= micro:
            vectors = self._forward(self._module, images, texts, 0)
            loss, measured = self._loss(*vectors, positives, anchors)
            loss.backward()
            return measured
        with torch.no_grad():
            vectors = self._forward_parts(images, texts, self.clip)
        leaves = [vector.detach().requires_grad_() for vector in vectors]
        loss, measured = self._loss(leaves[0], leaves[1], leaves[2], leaves[3], positives, anchors)
        loss.backward()
        said = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        parts = list(zip(images.split(micro), texts.split(micro), said[0].split(micro), said[1].split(micro)))
        for number, (photos, words, *wanted) in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last or self.world.size == 1 else self._module.no_sync():
                found = self._forward(self._module, photos, words, number)
                products = [(vector * wish).sum() for vector, wish in zip(found, wanted)]
                if last:
                    products += [(found[2] * said[2]).sum(), (found[3] * said[3]).sum()]
                torch.stack(products).sum().backward()
        return measured

    def _loss(
        self,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        bias: Tensor,
        positives: Tensor,
        anchors: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        all_texts = self.world.gather(texts)
        if self.config.loss == "softmax":
            loss = softmax_loss(images, texts, self.world.gather(images), all_texts, positives, scale)
        else:
            loss = sigmoid_loss(images, all_texts, positives, scale, bias)
        measured = {"loss": loss.detach(), "right": share_right(images.detach(), all_texts.detach(), positives)}
        if anchors is not None:
            apart = anchor_loss(images, anchors)
            loss = loss + self.config.anchor * apart
            measured |= {"loss": loss.detach(), "anchor": apart.detach()}
        return loss, measured
