"""Embeddings of photos: made once, counted, and kept by the hash of all that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from agriclip_edge.errors import AgriclipError, PhotoError
from agriclip_edge.files import atomic_write
from agriclip_edge.imaging.decode import RGB, decode
from agriclip_edge.parallel import ordered_map

from ..data import DataError
from .subjects import Subject, Vectors
from .tasks import PhotoSet

_BATCH = 32
_DECODERS = 2


class EvaluationError(AgriclipError):
    """An encoder did not answer for every photo, or records cannot be compared: the message says which and why."""


def embed_photos(
    subject: Subject, photos: PhotoSet, folder: Path | None = None, progress: Callable[[int], None] | None = None
) -> Vectors:
    """Embed all photos, the last batch whatever its size.

    Args:
        subject: the encoder.
        photos: N of them.
        folder: where embeddings are kept from run to run; None keeps none.
        progress: told how many photos are done.

    Returns:
        unit vectors, float32 (N, D).

    Raises:
        DataError: a photo cannot be decoded.
        EvaluationError: the encoder gave another number of vectors than it was given photos.
    """
    if not len(photos):
        return np.empty((0, 0), np.float32)
    path = folder / f"{_key(subject, photos)}.safetensors" if folder is not None else None
    kept = _read(path, len(photos)) if path is not None else None
    if kept is None:
        kept = _embed(subject, photos, progress)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(save({"vectors": kept}))
    if progress is not None:
        progress(len(photos))
    return kept


def _embed(subject: Subject, photos: PhotoSet, progress: Callable[[int], None] | None) -> Vectors:
    parts: list[Vectors] = []
    for start in range(0, len(photos), _BATCH):
        rgb = _decode(photos, start, min(start + _BATCH, len(photos)))
        vectors = np.asarray(subject.embed(rgb), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(rgb):  # a vector for one photo, or photos dropped on the way
            message = f"{subject.name} gave {vectors.shape} for {len(rgb)} photos; accepted: one unit vector a photo"
            raise EvaluationError(message)
        if not np.isfinite(vectors).all():
            raise EvaluationError(f"{subject.name} gave values that are no numbers, from {photos.names[start]} on")
        parts.append(vectors)
        if progress is not None:
            progress(start + len(rgb))
    return np.concatenate(parts)


def _decode(photos: PhotoSet, start: int, stop: int) -> list[RGB]:
    def one(number: int) -> RGB:
        try:
            return decode(photos.files[number])
        except PhotoError as error:
            raise DataError(f"{photos.names[number]}: {error}") from None

    return list(ordered_map(one, range(start, stop), workers=_DECODERS))


def _key(subject: Subject, photos: PhotoSet) -> str:
    return hashlib.sha256("\n".join(("1", subject.model, subject.preprocessing, photos.sha256)).encode()).hexdigest()


def _read(path: Path, photos: int) -> Vectors | None:
    try:
        vectors: Vectors = load_file(path)["vectors"]
    except (OSError, SafetensorError, KeyError):
        return None
    return vectors if vectors.ndim == 2 and len(vectors) == photos else None
