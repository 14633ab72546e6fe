"""Features of photos, kept in a folder by shard, so that a cut-off run computes none twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import Photos
from ..fit import embed_all
from ..progress import StatusLine
from .encoders import Backbone, describe

_SHARD = 1024  # photos


class FeatureStore:
    """Files named by the feature space and by the photos: other weights or other photos are other files."""

    def __init__(self, folder: Path, status: StatusLine) -> None:
        self._folder = folder
        self._status = status

    def features(self, backbone: Backbone, photos: Photos) -> Tensor:
        """Float32 (N, F) of all photos."""
        identity = {"space": describe(backbone.space), "photos": photos.sha256}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
        parts = []
        for start in range(0, len(photos), _SHARD):
            path = self._folder / f"{key}-{start:07d}.safetensors"
            if not path.exists():
                rgb = photos.rgb[start : start + _SHARD]
                features = embed_all(backbone.features, rgb, backbone.space.input_size)
                write_checkpoint(path, {"features": features}, identity)
            parts.append(read_checkpoint(path)[0]["features"])
            self._status.step(min(start + _SHARD, len(photos)), len(photos), f"features {key[:8]}")
        return torch.cat(parts)
