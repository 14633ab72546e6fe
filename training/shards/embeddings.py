"""Embeddings of candidates by a bundle or a training run, kept as they come so that a killed build goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from agriclip_edge.imaging.decode import RGB
from agriclip_edge.parallel import ordered_map

from .candidates import Candidate

Embed = Callable[[Sequence[RGB]], npt.NDArray[np.float32]]

_BATCH = 32


def open_encoder(path: Path) -> tuple[Embed, str]:
    """An image encoder and a name for it that no other has.

    Args:
        path: folder of a training run, or a bundle.

    Raises:
        BundleError: it is neither.
    """
    from ..encoder import MODEL, load_tower

    if (path / MODEL).is_file():
        from ..fit import embedder
        from ..results import model_sha256

        tower, description = load_tower(path)
        return embedder(tower, description["config"]["input_size"]), model_sha256(path)
    import agriclip_edge

    classifier = agriclip_edge.load(path)
    manifest = msgspec.json.encode(classifier.bundle.manifest)
    return lambda pictures: classifier.embed(list(pictures)), hashlib.sha256(manifest).hexdigest()


def embed_candidates(
    candidates: Sequence[Candidate], encoder: Path, folder: Path, workers: int, progress: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    """Unit vectors float32 (N, D) of the candidates, in order.

    Args:
        candidates: photos that can be decoded.
        encoder: as `open_encoder`.
        folder: where rows are kept.
        workers: threads that decode.
        progress: called with the number of photos done since the last call.
    """
    embed, name = open_encoder(encoder)
    order = hashlib.sha256(name.encode())
    for candidate in candidates:
        order.update(candidate.key.encode())
    path = folder / f"embeddings-{order.hexdigest()[:16]}.f32"
    dim = embed([np.zeros((32, 32, 3), np.uint8)]).shape[1]
    done = path.stat().st_size // (4 * dim) if path.exists() else 0
    progress(done)
    with path.open("ab") as file:
        file.truncate(done * 4 * dim)  # a row that a kill cut off
        pictures = ordered_map(lambda candidate: candidate.rgb(candidate.blob.read()), candidates[done:], workers)
        for batch in _batches(pictures):
            file.write(np.ascontiguousarray(embed(batch), "<f4").tobytes())
            file.flush()
            progress(len(batch))
    return np.fromfile(path, "<f4").reshape(-1, dim)


def _batches(pictures: Iterator[RGB]) -> Iterator[list[RGB]]:
    while batch := list(islice(pictures, _BATCH)):
        yield batch
