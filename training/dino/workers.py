"""The processes that share a training: one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Workers:
    """This process among all.

    Attributes:
        rank: its number; the process of number 0 writes and speaks.
        count: of processes.
        device: where this process computes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.count > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor


@contextmanager
def workers(device: str) -> Iterator[Workers]:
    """Join the processes that ``torchrun`` started, if it did.

    Args:
        device: ``cpu`` or ``cuda``; with ``cuda`` each process takes the GPU of its local number.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device == "cuda" else torch.device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if count == 1:
        yield Workers(device=where)
        return
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Workers(rank, count, where)
    finally:
        dist.destroy_process_group()
