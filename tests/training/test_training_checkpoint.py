from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agriclip_edge.errors import UsageError
from training.checkpoint import optimizer_tensors, read_checkpoint, restore_optimizer, write_checkpoint


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(5), "c": torch.randn(4, 2).T}
    write_checkpoint(tmp_path / "new" / "x.safetensors", tensors, {"epoch": 2, "words": ["ä", "b"]})
    found, description = read_checkpoint(tmp_path / "new" / "x.safetensors")
    assert description == {"epoch": 2, "words": ["ä", "b"]}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_refuses_what_it_did_not_write(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.safetensors"
    if damage == "truncated":
        write_checkpoint(path, {"a": torch.randn(30)}, {})
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "foreign":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match=r"x\.safetensors"):
        read_checkpoint(path)


def test_a_restored_optimiser_takes_the_same_steps() -> None:
    def steps(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, count: int) -> None:
        for number in range(count):
            weight.grad = torch.sin(weight.detach() + number)
            optimizer.step()

    straight = torch.nn.Parameter(torch.arange(4.0))
    optimizer = torch.optim.AdamW([straight], lr=0.1)
    steps(optimizer, straight, 3)
    resumed = torch.nn.Parameter(straight.detach().clone())
    other = torch.optim.AdamW([resumed], lr=0.1)
    restore_optimizer(other, {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()})
    steps(optimizer, straight, 3)
    steps(other, resumed, 3)
    assert torch.equal(straight, resumed)
