"""Checkpoints: tensors with a JSON description in one safetensors file, written beside and renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

_KEY = "agriclip-checkpoint"  # the only metadata key


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write a checkpoint; whoever reads ``path`` finds the former one or the whole new one."""
    data = checkpoint_bytes(tensors, description)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(data)


def checkpoint_bytes(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> bytes:
    """The file of a checkpoint: the same for the same content."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data: bytes = save(plain, {_KEY: json.dumps(description, sort_keys=True)})
    return data


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description of a checkpoint.

    Raises:
        UsageError: there is none, or it is not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            description = json.loads((file.metadata() or {})[_KEY])
    except FileNotFoundError:
        raise UsageError(f"no checkpoint at {path}") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"{path} is not a checkpoint of this program: {error}") from None
    return tensors, description


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under names that begin with ``prefix.``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors whose names begin with ``prefix.``, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's memory, named ``<number of parameter>.<what>``."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{what}": tensor for number, memory in state.items() for what, tensor in memory.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took out."""
    memory: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, what = name.split(".")
        memory.setdefault(int(number), {})[what] = tensor
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
