"""Names weights by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """One hash over names, types, shapes and bytes of tensors, whatever their order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
