from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from training.contrastive.lora import adapt, merged_state


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.linear = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(self.attention(x, x, x, need_weights=False)[0]))


@pytest.fixture
def block() -> Block:
    torch.manual_seed(0)
    return Block()


def learn(block: Block, x: torch.Tensor) -> None:
    optimizer = torch.optim.SGD([p for p in block.parameters() if p.requires_grad], lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        block(x).square().sum().backward()
        optimizer.step()


def test_adapters_begin_at_the_start_weights(block: Block) -> None:
    x = torch.randn(2, 5, 16)
    before = block(x)
    assert adapt(block, 2, 4.0) == 3  # query-key-value, the attention's output, the linear layer
    assert torch.equal(block(x), before)


@pytest.mark.parametrize("training", [True, False])
def test_merged_adapters_compute_exactly_the_same(block: Block, training: bool) -> None:
    x = torch.randn(2, 5, 16)
    start = copy.deepcopy(block.state_dict())
    adapt(block, 2, 4.0)
    learn(block, x)
    block.train(training)
    plain = Block().train(training)
    plain.load_state_dict(merged_state(block))
    with torch.no_grad():
        assert torch.equal(plain(x), block(x))
        assert torch.equal(copy.deepcopy(block)(x), block(x))
    for name in ("attention.in_proj_weight", "attention.out_proj.weight", "linear.weight"):
        change = plain.state_dict()[name] - start[name]
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2, name
    for name in ("linear.bias", "norm.weight", "attention.in_proj_bias"):
        assert torch.equal(plain.state_dict()[name], start[name])


def test_only_the_thin_matrices_learn(block: Block) -> None:
    adapt(block, 2, 4.0)
    learnt = {name: p.numel() for name, p in block.named_parameters() if p.requires_grad}
    assert all(name.endswith((".down", ".up")) for name in learnt)
    assert sum(learnt.values()) == 2 * (16 + 48) + 2 * (16 + 16) + 2 * (16 + 8)
