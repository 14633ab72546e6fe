"""Trains stage 2 from folders of photos to a backbone, step by step, able to go on after a cut."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import Photos, read_collection, read_photos
from ..fit import embed_all
from ..image_tower import ARCHITECTURE, ImageTower, lite0_weights, load_imagenet
from ..progress import StatusLine
from .config import DinoConfig
from .fit import DinoFit
from .hashing import tensors_sha256
from .monitors import Labelled, few_per_class, monitor
from .network import new_tower
from .picture import draw_run
from .workers import Workers

STATE = "state.safetensors"  # everything that going on needs, read by this module alone
BACKBONE = "backbone.safetensors"  # the teacher's: what `load_backbone` reads
LOG = "log.jsonl"
_SAMPLES = 4  # photos in the picture


def train_dino(
    data: Path,
    output: Path,
    config: DinoConfig,
    tower: ImageTower,
    collections: Sequence[str],
    status: StatusLine,
    team: Workers | None = None,
    *,
    given: Sequence[Photos] | None = None,
) -> None:
    """Train, or go on where ``output`` was left.

    Args:
        data: root of the data.
        output: folder for the backbone, the log and its picture; made when missing.
        config: the recipe.
        tower: from `start_tower`.
        collections: folders under ``data`` whose training photos are used, without their labels; the first one's
            validation photos are what the monitors are judged on.
        status: tells how far it is.
        team: the processes that share the work; by default this one alone.
        given: the collections' training photos, where they have been read already.

    Raises:
        DataError: the data are incomplete.
        UsageError: ``output`` holds a run of another recipe, start or other data.
    """
    team = team or Workers()
    say = status.say if team.first else None
    parts = given or [read_photos(read_collection(data / name), "train", say) for name in collections]
    identity = {
        "config": asdict(config),
        "photos": [part.sha256 for part in parts],
        "start": tensors_sha256(tower.backbone.state_dict()),
    }
    fit = DinoFit(config, tower, [rgb for part in parts for rgb in part.rgb], team)
    history = _resume(fit, output, json.loads(json.dumps(identity)))
    if fit.step == config.steps:
        return
    labelled = _labelled(data / collections[0], parts[0], config) if team.first else None
    if labelled and not history:
        history.append({"step": 0, **_judge(fit, labelled)})
        status.say(json.dumps(history[-1]))
    started, measured = time.monotonic(), []
    for values in fit.run():
        measured.append(values)
        if team.first:
            status.step(fit.step, config.steps, f"step {fit.step}/{config.steps}, loss {values['loss']:.3f}")
        if fit.step % config.log_every and fit.step < config.steps:
            continue
        if labelled:
            entry: dict[str, Any] = {"step": fit.step, **_mean(measured)}
            entry["images_per_second"] = round(len(measured) * config.batch / (time.monotonic() - started), 1)
            history.append(entry)
            _keep(fit, output, identity, history, labelled, status)
        started, measured = time.monotonic(), []


def start_tower(architecture: str, start: str) -> tuple[ImageTower, str]:
    """A tower to start stage 2 from, and its architecture.

    Args:
        architecture: name of a timm model; a run's own is taken where ``start`` is one.
        start: ``imagenet``, ``random``, or the folder of a run of stage 1 or 2.

    Raises:
        UsageError: no such weights.
    """
    if start not in ("imagenet", "random"):
        return load_backbone(Path(start))
    tower = new_tower(architecture)
    if start == "imagenet":
        if architecture != ARCHITECTURE:
            raise UsageError(f"no ImageNet weights of {architecture} lie here; accepted: random, a run, {ARCHITECTURE}")
        load_imagenet(tower, lite0_weights())
    return tower, architecture


def load_backbone(folder: Path) -> tuple[ImageTower, str]:
    """The backbone of a run of stage 1 or 2, ready to give features, and its architecture.

    Raises:
        UsageError: the folder holds neither.
    """
    path = folder / BACKBONE
    tensors, description = read_checkpoint(path if path.exists() else folder / "model.safetensors")
    architecture = description["config"]["architecture"]
    tower = new_tower(architecture)
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("backbone.")}
    try:
        tower.load_state_dict(own)
    except RuntimeError:
        raise UsageError(f"{folder} holds a backbone that is not of {architecture}") from None
    return tower.eval(), architecture


def _labelled(root: Path, photos: Photos, config: DinoConfig) -> Labelled:
    """What the monitors learn from and are judged on."""
    collection = read_collection(root)
    support = few_per_class(photos, config.monitor_shots, config.seed)
    return Labelled(collection, support, read_photos(collection, "val"))


def _resume(fit: DinoFit, output: Path, identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Restore the run in ``output`` when there is one; returns its log."""
    if not (output / STATE).exists():
        return []
    tensors, description = read_checkpoint(output / STATE)
    if description["identity"] != identity:
        raise UsageError(f"{output} holds a run of another recipe, start or other data; choose another --output")
    fit.restore(tensors, description["step"])
    return description["history"]


def _keep(
    fit: DinoFit,
    output: Path,
    identity: dict[str, Any],
    history: list[dict[str, Any]],
    labelled: Labelled,
    status: StatusLine,
) -> None:
    """Judge and save, where it is time; the state last: a cut before it repeats steps and loses none."""
    config, entries, ended = fit.config, fit.step // fit.config.log_every, fit.step == fit.config.steps
    if not ended and entries % config.save_every:
        return
    if ended or entries % config.monitor_every == 0:
        history[-1] |= _judge(fit, labelled)
        status.say(json.dumps(history[-1]))
    output.mkdir(parents=True, exist_ok=True)
    if ended:
        write_checkpoint(output / BACKBONE, fit.model().state_dict(), {**identity, "steps": fit.step})
    with atomic_write(output / LOG) as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in history).encode())
    columns = 2 + config.local_views
    draw_run(history, fit.samples(_SAMPLES), columns, output / "history.png")
    write_checkpoint(output / STATE, fit.state(), {"identity": identity, "step": fit.step, "history": history})


def _judge(fit: DinoFit, labelled: Labelled) -> dict[str, float]:
    """The monitors on the teacher as it is now."""
    model, size, device = fit.model(), fit.config.monitor_size, fit.team.device

    def features(photos: Photos) -> torch.Tensor:
        return embed_all(lambda images: model.features(images.to(device)).cpu(), photos.rgb, size)

    return {name: round(value, 4) for name, value in monitor(features, labelled, fit.config.neighbours).items()}


def _mean(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each value, but the last of those that follow a schedule."""
    scheduled = ("rate", "teacher_momentum")
    last = measured[-1]
    return {
        name: last[name] if name in scheduled else sum(values[name] for values in measured) / len(measured)
        for name in last
    }
