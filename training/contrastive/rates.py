"""Which weights learn how fast: the last layers at the full rate, each layer below slower."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

_BLOCK = re.compile(r"\b(?:resblocks|blocks|layers|layer|stages|block)\.(\d+)\.|\bvisual\.layer(\d+)\.")
_STEM = re.compile(
    r"\b(?:conv1|class_embedding|positional_embedding|token_embedding|ln_pre|conv_stem|bn1|stem|embeddings|patch_embed"
    r"|pos_embed|cls_token|cls_emb|norm_pre)\b"
)


def tower_of(name: str) -> str:
    """``image``, ``text`` or ``scale``: the part of an open_clip model that a weight belongs to."""
    if name.startswith("logit_"):
        return "scale"
    return "image" if name.startswith("visual.") else "text"


def depth(name: str) -> int | None:
    """0 for what stands before the first block, n for block n - 1, None for what stands after the last."""
    block = _BLOCK.search(name)
    if block is not None:
        return int(block.group(1) or block.group(2)) + 1
    return 0 if _STEM.search(name) else None


def parameter_groups(net: nn.Module, rate: float, layer_decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: a rate for each layer of each tower; vectors and scalars do not decay.

    With L blocks a weight of depth d learns at ``rate * layer_decay ** (L + 1 - d)``, what stands after the blocks
    and the logit scale at ``rate``.

    Args:
        net: an open_clip model; weights that are frozen are left out.
        rate: of the last layers.
        layer_decay: factor a layer.
        weight_decay: of matrices.
    """
    blocks = dict.fromkeys(("image", "text", "scale"), 0)
    for name, _ in net.named_parameters():
        blocks[tower_of(name)] = max(blocks[tower_of(name)], depth(name) or 0)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        found = depth(name)
        below = 0 if found is None else blocks[tower_of(name)] + 1 - found
        decay = 0.0 if parameter.ndim < 2 or "embedding" in name or tower_of(name) == "scale" else weight_decay
        key = (rate * layer_decay**below, decay)
        group = groups.setdefault(key, {"params": [], "lr": key[0], "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())
