"""The encoders that teach: whatever can be judged, named by one line."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from agriclip_edge.bundle.manifest import TensorSpec
from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.runtimes import open_graph

from ..checkpoint import checkpoint_bytes, read_checkpoint
from ..encoder import MODEL, load_tower
from ..evaluation.command import has_own_text, open_subject
from ..evaluation.subjects import Subject, Vectors

_OPEN_CLIP = "open_clip:"
_IMAGES, _VECTORS = "images", "embeddings"
_LEAST_COSINE = 0.99999  # to PyTorch: float32 in another order of sums


def open_teacher(spec: str) -> Subject:
    """The encoder of a line.

    Args:
        spec: folder of a run (of ``encoder``, ``align``, ``contrastive``, ``distil``), folder or zip of a bundle, or
            ``open_clip:NAME:WEIGHTS`` with open_clip's tag or a file.

    Raises:
        UsageError: it names none of these, or none that can be opened.
    """
    if spec.startswith(_OPEN_CLIP):
        name, _, pretrained = spec.removeprefix(_OPEN_CLIP).partition(":")
        if not name or not pretrained:
            raise UsageError(f"{spec!r} names no model of open_clip; accepted: open_clip:NAME:WEIGHTS")
        return open_subject(None, None, name, pretrained, None)
    path = Path(spec)
    if (path / "bundle.json").is_file() or path.suffix == ".zip":
        return open_subject(None, path, None, None, None)
    subject = without_texture(path, open_subject(path, None, None, None, None))
    return subject if has_own_text(path) or not _traces() else faster(path, subject)


def without_texture(run: Path, subject: Subject) -> Subject:
    """A run's subject as it was before a texture was fitted: a student has one of its own, which is not learnt."""
    if subject.tower is None or subject.tower.texture is None:
        return subject
    subject.tower.set_texture(None)
    before = checkpoint_bytes(subject.tower.state_dict(), read_checkpoint(run / MODEL)[1])
    return replace(subject, model=hashlib.sha256(before).hexdigest())


def faster(run: Path, subject: Subject) -> Subject:
    """The subject of a run with an image tower, run by ONNX Runtime: several times as fast as PyTorch on a CPU.

    Args:
        run: its folder.
        subject: the same in PyTorch.

    Raises:
        UsageError: the two do not give the same vectors.
    """
    tower, description = load_tower(run, texture=False)
    size = int(description["config"]["input_size"])
    buffer, example = io.BytesIO(), torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracing exporter is announced as the former one; it takes a second
        torch.onnx.export(
            tower,
            (example,),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=[_IMAGES],
            output_names=[_VECTORS],
            dynamic_axes={_IMAGES: {0: "N"}, _VECTORS: {0: "N"}},
        )
    inputs = [TensorSpec(_IMAGES, "uint8", [None, size, size, 3])]
    output = TensorSpec(_VECTORS, "float32", [None, tower.width])
    graph = open_graph("onnxruntime", buffer.getvalue(), inputs, output)

    def embed(photos: Sequence[RGB]) -> Vectors:
        return graph.run({_IMAGES: np.stack([preprocess(rgb, size) for rgb in photos])})

    proof = list(np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8))
    cosine = float((embed(proof) * subject.embed(proof)).sum(axis=1).min())
    if not cosine >= _LEAST_COSINE:
        raise UsageError(f"{run} gives other vectors in ONNX Runtime than in PyTorch (cosine {cosine:.5f})")
    return replace(subject, embed=embed)


def _traces() -> bool:
    """Whether PyTorch can write graphs here: it needs the package onnx for that, which training alone does not."""
    return importlib.util.find_spec("onnx") is not None
