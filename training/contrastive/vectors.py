"""Stored embeddings of photos: one file a shard, read as one table by the photos' hashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from agriclip_edge.files import atomic_write

from ..data import DataError
from ..evaluate import Vectors

_KEY = "agriclip-vectors"


def write_vectors(path: Path, sha256: Sequence[str], vectors: Vectors, identity: Mapping[str, str]) -> None:
    """Write unit vectors (N, D) as float16, with the photos' hashes and what they were made of."""
    names = np.frombuffer(bytes.fromhex("".join(sha256)), np.uint8).reshape(-1, 32)
    data = save({"vectors": vectors.astype(np.float16), "sha256": names}, {_KEY: json.dumps(dict(identity))})
    with atomic_write(path) as file:
        file.write(data)


def vectors_identity(path: Path) -> dict[str, str] | None:
    """What a file says that it was made of; None where there is none, or none that is whole."""
    try:
        with safe_open(path, framework="np") as file:
            found: dict[str, str] = json.loads((file.metadata() or {})[_KEY])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return found


def read_vectors(folder: Path) -> Callable[[Sequence[str]], Vectors]:
    """A function from hashes of N photos to their unit vectors, float32 (N, D).

    Raises:
        DataError: the folder holds no vectors, or vectors of two models; the function: a photo has none.
    """
    tables, names, models = [], [], set()
    for path in sorted(folder.glob("*.safetensors")):
        identity = vectors_identity(path)
        if identity is None:
            raise DataError(f"{path} is not a file of embed-shards; embed it again")
        models.add(identity["model"])
        with safe_open(path, framework="np") as file:
            tables.append(file.get_tensor("vectors"))
            names += [row.tobytes() for row in file.get_tensor("sha256")]
    if len(models) != 1:
        raise DataError(f"{folder} holds vectors of {len(models)} models; accepted: a folder that embed-shards wrote")
    table = np.concatenate(tables)
    row = {name: number for number, name in enumerate(names)}

    def look_up(sha256: Sequence[str]) -> Vectors:
        try:
            found = table[[row[bytes.fromhex(name)] for name in sha256]].astype(np.float32)
        except KeyError as error:
            raise DataError(f"{folder} has no vector of the photo {error.args[0].hex()}; embed the shards") from None
        unit: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    return look_up
