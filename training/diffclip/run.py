"""A pre-training in a folder: goes on after a cut, keeps its log and picture; read back as an encoder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.scene.scene import Scene

from ..checkpoint import read_checkpoint, unprefixed, write_checkpoint
from ..dino.hashing import tensors_sha256
from ..progress import StatusLine
from .binding import EXTRA, Classifier, Space
from .config import DiffclipConfig, ModalityRecord
from .network import Encoder
from .picture import draw_pretraining
from .pretrain import Pretraining
from .spectrum import empty_components, prepared

STATE = "state.safetensors"  # everything that going on needs, read by this module alone
ENCODER = "encoder.safetensors"
CLASSIFIER = "classifier.safetensors"
LOG = "log.jsonl"
PICTURE = "history.png"


def pretrain(scene: Scene, output: Path, config: DiffclipConfig, status: StatusLine) -> Encoder:
    """Pre-train, or go on where ``output`` was left; returns the encoder.

    Args:
        scene: to learn from; without its labels.
        output: folder for the encoder, the log and its picture; made when missing.
        config: the recipe.
        status: tells how far it is.

    Raises:
        UsageError: ``output`` holds a run of another recipe or scene.
    """
    fit = Pretraining(config, prepared(config, scene))
    pixels = {m.name: torch.from_numpy(np.ascontiguousarray(m.values)) for m in scene.modalities}
    identity = json.loads(json.dumps({"config": asdict(config), "scene": tensors_sha256(pixels)}))
    history = _resume(fit, output, identity)
    started, measured = time.monotonic(), []
    for values in fit.run():
        measured.append(values)
        status.step(fit.step, config.steps, f"step {fit.step}/{config.steps}, loss {values['loss']:.3f}")
        ended = fit.step == config.steps
        if fit.step % config.log_every and not ended:
            continue
        entry: dict[str, Any] = {"step": fit.step}
        entry |= {name: sum(each[name] for each in measured) / len(measured) for name in values}
        entry["windows_per_second"] = round(len(measured) * config.batch / (time.monotonic() - started), 1)
        history.append(entry)
        if ended or (fit.step // config.log_every) % config.save_every == 0:
            _keep(fit, output, identity, scene, history)
        started, measured = time.monotonic(), []
    return fit.encoder.eval()


def load_encoder(folder: Path) -> tuple[Encoder, dict[str, ModalityRecord]]:
    """The encoder of a finished pre-training, and what its modalities are.

    Raises:
        UsageError: the folder holds none.
    """
    tensors, description = read_checkpoint(folder / ENCODER)
    return encoder_of(tensors, description)


def encoder_of(
    tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> tuple[Encoder, dict[str, ModalityRecord]]:
    """An encoder from its tensors and the description that `describe` gave.

    Raises:
        UsageError: they do not belong together.
    """
    try:
        told: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in description["config"].items()
        }
        config = DiffclipConfig(**told)
        records, parts = {}, {}
        for name, kept in description["modalities"].items():
            nm = kept["wavelengths"]
            records[name] = ModalityRecord(kept["channels"], kept["unit"], None if nm is None else tuple(nm))
            count = len(tensors[f"components.{name}.offset"])
            parts[name] = empty_components(config, name, kept["channels"], count)
        encoder = Encoder(config, parts)
        encoder.load_state_dict(dict(tensors))
    except (KeyError, TypeError, RuntimeError) as error:
        raise UsageError(f"no scene encoder of this program: {str(error).splitlines()[0]}") from None
    return encoder.eval(), records


def write_classifier(classifier: Classifier, output: Path) -> None:
    """Keep a classifier in a folder, for `load_run`."""
    output.mkdir(parents=True, exist_ok=True)
    description = {
        "config": asdict(classifier.encoder.config),
        "modalities": {name: asdict(record) for name, record in classifier.modalities.items()},
        "classes": list(classifier.classes),
        "temperature": classifier.temperature,
    }
    write_checkpoint(output / CLASSIFIER, classifier.state_dict(), description)


def load_run(folder: Path) -> Classifier:
    """The classifier that `write_classifier` kept.

    Raises:
        UsageError: the folder holds none.
    """
    tensors, description = read_checkpoint(folder / CLASSIFIER)
    encoder, records = encoder_of(unprefixed("encoder", tensors), description)
    try:
        dim = len(tensors["map.bias"]) - EXTRA
        space = Space(encoder.parts, dim)
        texts, classes = tensors["texts"], [str(name) for name in description["classes"]]
        classifier = Classifier(encoder, space, texts, classes, float(description["temperature"]), records)
        classifier.load_state_dict(tensors)
        if len(classes) != len(texts):
            raise UsageError(f"{folder} holds {len(texts)} texts for {len(classes)} classes")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{folder} holds no scene classifier: {str(error).splitlines()[0]}") from None
    return classifier.eval()


def describe(config: DiffclipConfig, scene: Scene) -> dict[str, Any]:
    """What `encoder_of` needs beside the tensors."""
    return {
        "config": asdict(config),
        "scene": scene.name,
        "modalities": {
            m.name: {
                "channels": int(m.values.shape[-1]),
                "unit": m.unit,
                "wavelengths": None if m.wavelengths is None else _numbers(m.wavelengths),
            }
            for m in scene.modalities
        },
    }


def _numbers(values: npt.NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values]


def _resume(fit: Pretraining, output: Path, identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Restore the run in ``output`` when there is one; returns its log."""
    if not (output / STATE).exists():
        return []
    tensors, description = read_checkpoint(output / STATE)
    if description["identity"] != identity:
        raise UsageError(f"{output} holds a run of another recipe or scene; choose another --output")
    fit.restore(tensors, description["step"])
    return list(description["history"])


def _keep(
    fit: Pretraining, output: Path, identity: dict[str, Any], scene: Scene, history: Sequence[dict[str, Any]]
) -> None:
    """Save; the state last: a cut before it repeats steps and loses none."""
    output.mkdir(parents=True, exist_ok=True)
    if fit.step == fit.config.steps:
        description = {**describe(fit.config, scene), "steps": fit.step}
        write_checkpoint(output / ENCODER, fit.encoder.state_dict(), description)
    with atomic_write(output / LOG) as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in history).encode())
    draw_pretraining(history, list(fit.encoder.modalities), output / PICTURE)
    write_checkpoint(output / STATE, fit.state(), {"identity": identity, "step": fit.step, "history": list(history)})
