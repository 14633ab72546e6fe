"""The processes of one training, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is, and where it computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process tells and writes."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """This process's part of a batch that all divide."""
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, tensor: Tensor) -> Tensor:
        """All processes' rows in the order of their ranks, (R, D) to (B, D); gradients flow back to each."""
        return tensor if self.size == 1 else _Gather.apply(tensor, self)

    @torch.no_grad()
    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values / self.size


@contextmanager
def world(device: str = "") -> Iterator[World]:
    """Join the processes that torchrun started (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``), or be the only one.

    Args:
        device: ``cuda`` or ``cpu``; empty takes a GPU where there is one.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(place)
    if size > 1:
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        if size > 1:
            dist.destroy_process_group()


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums what every process's loss says about each row."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, among: World) -> Tensor:
        context.among = among
        parts = [torch.empty_like(tensor) for _ in range(among.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total[context.among.share(len(total))], None
