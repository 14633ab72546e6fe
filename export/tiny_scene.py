"""A complete bundle for scenes of some ten kilobytes, and a field to try it on: both from the synthetic scene."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from agriclip_edge.files import atomic_write
from training.diffclip.config import DiffclipConfig
from training.diffclip.labelled import STORED, LabelledScene
from training.diffclip.methods import FULL, Diffclip, Features
from training.diffclip.run import pretrain
from training.diffclip.splits import few_shot
from training.diffclip.student import StudentConfig, Teacher, distil
from training.diffclip.synthetic import synthetic_scene
from training.progress import StatusLine

from .scene import SceneConfig, export_scene

BANDS = 16
_SHOTS = 40  # a class
_FIELD_SEED, _FIELD_SIDE = 7, 30  # of the field, which taught nothing
_STUDENT = StudentConfig(width=16, steps=300, timed=128)
_CONFIG = SceneConfig(
    name="agriclip-tiny-scene", version="1", description="fields of a made-up farm; for tests", tile=64
)


def tiny_teacher(scene: LabelledScene, folder: Path, status: StatusLine) -> Teacher:
    """The per-pixel classifier at its smallest: pre-trained, and bound by a class code, which needs no text encoder."""
    encoder = pretrain(scene.scene, folder, DiffclipConfig.tiny(), status)
    method = Diffclip(FULL, Features(encoder), _no_text, language=False)
    shots, labels, _ = few_shot(scene.labels, *scene.splits[STORED], _SHOTS, 0)
    return method.classifier(scene, shots, labels)


def _no_text(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    raise AssertionError(f"a class code embeds nothing: {texts}")


def write_tiny_scene(
    output: Path, say: Callable[[str], None] = lambda line: None, config: StudentConfig = _STUDENT
) -> None:
    """Write ``bundle/``, and of a field ``scene.npy``, ``dsm.npy`` and ``classes.npy`` (0 unlabelled, 1 to K).

    Args:
        output: folder; made when missing.
        say: is told what was measured.
        config: of the student; a smaller one takes less time and says less.

    Raises:
        UsageError: ``bundle`` there is something else than a bundle.
    """
    torch.manual_seed(0)
    scene = synthetic_scene(bands=BANDS)
    quiet = StatusLine(Console(quiet=True))
    with tempfile.TemporaryDirectory() as folder:
        teacher = tiny_teacher(scene, Path(folder) / "run", quiet)
        distil(teacher, scene, Path(folder) / "student", config, say)
        output.mkdir(parents=True, exist_ok=True)
        export_scene(Path(folder) / "student", output / "bundle", _CONFIG, scene, say=say)
    field = synthetic_scene(_FIELD_SEED, tiles=2, side=_FIELD_SIDE, bands=BANDS)
    spectra, heights = (modality.values[:_FIELD_SIDE] for modality in field.scene.modalities)
    for name, values in (
        ("scene", spectra.astype(np.float16)),
        ("dsm", heights.astype(np.float16)),
        ("classes", field.labels[:_FIELD_SIDE].astype(np.uint8)),
    ):
        with atomic_write(output / f"{name}.npy") as file:
            np.save(file, values)
