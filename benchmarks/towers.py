"""The image towers that people would pick today, with random weights, each graph made once and kept in a folder."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .environment import versions

TORCH, FLOAT, ORT_INT8, NNCF_INT8 = "tower.pt", "float.onnx", "int8.onnx", "int8.xml"
FORMS = (TORCH, FLOAT, ORT_INT8, NNCF_INT8)
_CALIBRATION = 4  # random pictures: with random weights the scales change the speed of nothing
_PACKAGES = ("torch", "timm", "open_clip_torch", "transformers", "onnx", "onnxslim", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Tower:
    """An image tower.

    Attributes:
        name: as people know it.
        size: side of its input in pixels; it takes float32 (N, 3, size, size), normalised outside of the graph.
        build: gives it as a module in evaluation mode, with random weights.
        transformer: whether attention makes most of it.
    """

    name: str
    size: int
    build: Callable[[], Any]
    transformer: bool = False


def _open_clip(name: str, reparameterise: bool) -> Any:
    import open_clip
    from timm.utils.model import reparameterize_model

    with _silence():
        tower = open_clip.create_model(name, pretrained=None).visual.eval()
    return reparameterize_model(tower) if reparameterise else tower


def _clip_of_transformers() -> Any:
    from .tower_modules import ProjectedClip

    return ProjectedClip().eval()


def timm_tower(name: str) -> Any:
    """A timm network without its classifier."""
    import timm

    return timm.create_model(name, num_classes=0).eval()


VIT = Tower("open_clip ViT-B-32", 224, partial(_open_clip, "ViT-B-32", False), transformer=True)
TRANSFORMERS = Tower("transformers CLIP ViT-B/32", 224, _clip_of_transformers, transformer=True)
LITE0 = Tower("timm efficientnet_lite0", 224, partial(timm_tower, "tf_efficientnet_lite0"))
TOWERS = (
    VIT,
    Tower("open_clip MobileCLIP2-S0", 256, partial(_open_clip, "MobileCLIP2-S0", True)),
    Tower("open_clip MobileCLIP2-S2", 256, partial(_open_clip, "MobileCLIP2-S2", True)),
    TRANSFORMERS,
    LITE0,
)


def default_cache() -> Path:
    """Where graphs are kept: the user's cache folder."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "agriclip-edge-benchmarks"


def graph_path(tower: Tower, form: str, cache: Path) -> Path:
    """One form of a tower on disk, made now if it is not there; other versions of the makers make it again.

    Args:
        tower: which.
        form: one of `FORMS`: PyTorch's module, ONNX float32, ONNX Runtime's INT8 (QDQ), OpenVINO's by NNCF.
        cache: folder of all of them.
    """
    import hashlib

    makers = hashlib.sha256(repr(sorted(versions(*_PACKAGES).items())).encode()).hexdigest()[:12]
    folder = cache / makers / tower.name.replace("/", "-").replace(" ", "-")
    path = folder / form
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            made = Path(beside) / form
            _MAKE[form](tower, made, cache)
            for file in sorted(Path(beside).iterdir(), key=lambda file: file == made):  # an .xml after its .bin
                file.replace(folder / file.name)
    return path


def _make_torch(tower: Tower, path: Path, cache: Path) -> None:
    import torch

    torch.manual_seed(0)
    torch.save(tower.build(), path)


def _make_float(tower: Tower, path: Path, cache: Path) -> None:
    import onnx
    import torch

    from export.graphs import IMAGES
    from export.tracing import trace

    module = torch.load(graph_path(tower, TORCH, cache), weights_only=False)  # written by us, above
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused call that the exporter does not know
    try:
        example = torch.zeros(1, 3, tower.size, tower.size)
        onnx.save(trace(module, {IMAGES: example}, {IMAGES: {0: "N"}}), path)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _make_ort_int8(tower: Tower, path: Path, cache: Path) -> None:
    from export.quantise import QuantiseConfig, quantise

    pictures: Any = _pictures(tower, _CALIBRATION)  # float32, as its graph takes them
    graph = graph_path(tower, FLOAT, cache).read_bytes()
    with _silence():  # that a LayerNorm's weights have no second axis, for each of them
        path.write_bytes(quantise(graph, pictures, QuantiseConfig(float_convolutions=0)))


def _make_nncf_int8(tower: Tower, path: Path, cache: Path) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(graph_path(tower, FLOAT, cache))
    pictures = nncf.Dataset([picture[np.newaxis] for picture in _pictures(tower, _CALIBRATION)])
    kind = nncf.ModelType.TRANSFORMER if tower.transformer else None
    with _silence():
        quantised = nncf.quantize(model, pictures, model_type=kind, subset_size=_CALIBRATION)
    openvino.save_model(quantised, path)


@contextmanager
def _silence() -> Iterator[None]:
    """Without the makers' warnings, as the weights are random, and without their own progress bars."""
    import io
    import logging
    from contextlib import redirect_stdout

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _pictures(tower: Tower, count: int) -> Any:
    generator = np.random.default_rng(0)
    return generator.standard_normal((count, 3, tower.size, tower.size), np.float32)


_MAKE: dict[str, Callable[[Tower, Path, Path], None]] = {
    TORCH: _make_torch,
    FLOAT: _make_float,
    ORT_INT8: _make_ort_int8,
    NNCF_INT8: _make_nncf_int8,
}
