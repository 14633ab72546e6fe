"""Trains the image encoder from a folder of data to a checkpoint, epoch by epoch, able to go on after a cut."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import Embedder, embed_labels

from .captions import captions_for
from .checkpoint import read_checkpoint, unprefixed, write_checkpoint
from .config import EncoderConfig
from .data import Collection, Photos, hold_out, read_collection, read_joined
from .evaluate import Table, Vectors, evaluate
from .fit import Fit, embedder
from .general import General
from .image_tower import ImageTower
from .looks import Wide
from .picture import draw_history
from .progress import StatusLine
from .symptoms import with_symptoms
from .texture import Texture
from .words import Words

COLLECTION = "alive-mini"
STATE = "state.safetensors"  # everything that going on needs; removed by nobody, read by this module alone
MODEL = "model.safetensors"  # the averaged weights: what `export` reads
LOG = "log.jsonl"


@dataclass(frozen=True)
class Judged:
    """Photos that an epoch's model is judged on, and how the log calls them."""

    name: str
    photos: Photos


def train_encoder(
    data: Path,
    output: Path,
    config: EncoderConfig,
    tower: ImageTower,
    text: Embedder,
    status: StatusLine,
    dev: float = 0,
    *,
    fresh: bool = True,
    know: Callable[[Photos], General] | None = None,
    given: tuple[Collection, Photos] | None = None,
) -> None:
    """Train, or go on where ``output`` was left.

    Args:
        data: root of the data, with the recipe's collections.
        output: folder for the checkpoint, the log and its picture; made when missing.
        config: the recipe.
        tower: to begin with.
        text: embeds prompts; defines the text space.
        status: tells how far it is.
        dev: share of the training photos that is held out, to judge choices by, in place of ``val``.
        fresh: the tower has pretrained weights but no head yet; else it goes on as it is.
        know: what is known of the training photos in general, for a recipe that keeps it.
        given: the recipe's collections and their training photos, where they have been read already.

    Raises:
        DataError: the data are incomplete.
        UsageError: ``output`` holds a run of another recipe or other data.
    """
    collection, photos = given or read_joined(data, config.collections, "train", status.say)
    if dev > 0:
        photos, held = hold_out(photos, dev, config.seed)
        judged = Judged("dev", held)
    else:
        judged = Judged("val", read_joined(data, config.collections, "val")[1])
    texts = template_embeddings(text, collection, config.templates, config.symptoms)
    vectors = label_vectors(text, collection, config.templates, config.symptoms)
    told = torch.cat([texts, caption_embeddings(text, collection, config.captions, config.seed)])
    general = know(photos) if know is not None and config.loss.general > 0 else None
    fit = Fit(config, tower, told, collection, photos, general)

    def judge(model: ImageTower) -> dict[str, float]:
        table = evaluate(embedder(model, config.input_size), vectors, collection, judged.photos)
        return by_collection(table, judged.name, data, config)

    run_epochs(fit, output, {"config": asdict(config), "photos": photos.sha256}, judge, status, fresh=fresh)


def run_epochs(
    fit: Fit,
    output: Path,
    identity: Mapping[str, Any],
    judge: Callable[[ImageTower], Mapping[str, float]],
    status: StatusLine,
    *,
    fresh: bool,
) -> dict[str, Any]:
    """Train to the end, or go on where ``output`` was left; each epoch leaves a checkpoint, its log and its picture.

    Args:
        fit: the training.
        output: folder; made when missing.
        identity: of recipe and data; its ``config`` is the recipe.
        judge: accuracies of a model by the name that the log has for them.
        status: tells how far it is.
        fresh: the tower has no head yet.

    Returns:
        the last epoch's entry in the log.

    Raises:
        UsageError: ``output`` holds a run of another identity.
    """
    config = fit.config
    history = _begin(fit, output, identity, fresh)
    while fit.epoch < len(config.sizes):
        started = time.monotonic()

        def told(step: int, steps: int, loss: float, started: float = started) -> None:
            rate = step * config.batch / (time.monotonic() - started)
            status.step(_done(fit, step), _total(fit), f"{_text(fit, loss)}, {rate:.0f} photos/s")

        loss = fit.run_epoch(told)
        entry: dict[str, Any] = {"epoch": fit.epoch, "size": config.sizes[fit.epoch - 1], "loss": loss, **fit.terms()}
        entry |= {"logit_scale": float(fit.log_scale.exp().detach()), "seconds": round(time.monotonic() - started, 1)}
        model = fit.model()
        if fit.epoch % config.judge_every == 0 or fit.epoch == len(config.sizes):
            entry |= judge(model)
        history.append(entry)
        status.say(json.dumps(entry))
        _save(fit, model, output, identity, history)
    return history[-1]


def template_embeddings(
    text: Embedder, collection: Collection, templates: tuple[str, ...], symptoms: float = 0.0
) -> Tensor:
    """Unit vectors of the collection's labels through each template alone: float32 (K, L, D)."""
    sets = [label_vectors(text, collection, (template,), symptoms) for template in templates]
    return torch.from_numpy(np.stack(sets))


def caption_embeddings(text: Embedder, collection: Collection, number: int, seed: int) -> Tensor:
    """Unit vectors of captions, float32 (number, L, D): each set has one caption of each of the collection's labels."""
    found = [captions_for(label, number, seed) for label in collection.labels] if number else []
    sets = [[own[count % len(own)] for own in found] for count in range(number)]
    dim = text.embed(["photo"]).shape[1]
    return (
        torch.stack([torch.from_numpy(text.embed(prompts)) for prompts in sets])
        if sets
        else torch.empty(0, len(collection.labels), dim)
    )


def label_vectors(
    text: Embedder,
    collection: Collection,
    templates: tuple[str, ...],
    symptoms: float = 0.0,
    words: Words | None = None,
) -> Vectors:
    """Unit vectors of the collection's labels as packs hold them, float32 (L, D).

    Args:
        text: embeds prompts.
        collection: has L labels.
        templates: their mean is a name's vector.
        symptoms: share of what facts say is seen, where there are facts.
        words: what texts say of looks; the vectors are wider then, (L, D + looks).
    """
    wide = text if words is None else Wide(text, words)
    names = embed_labels([Label(label) for label in collection.labels], templates, wide)
    return with_symptoms(names, collection.labels, text, symptoms, words)


def vectors_of(
    config: Mapping[str, Any], text: Embedder, collection: Collection, words: Words | None = None
) -> Vectors:
    """`label_vectors` by the recipe of a checkpoint and by what its tower says of looks."""
    return label_vectors(text, collection, tuple(config["templates"]), float(config.get("symptoms", 0)), words)


def by_collection(table: Table, name: str, data: Path, config: EncoderConfig) -> dict[str, float]:
    """Mean accuracy over all tasks, and over those of each collection where there are several, as the log has them."""
    means = {name: table.mean}
    if len(config.collections) > 1:
        for part in config.collections:
            own = {task.name for task in read_collection(data / part).tasks}
            means[f"{name} {part}"] = Table(tuple(result for result in table.results if result.task in own)).mean
    return means


def load_tower(folder: Path, *, texture: bool = True) -> tuple[ImageTower, dict[str, Any]]:
    """The trained tower of a run, ready to embed, and the run's description.

    Args:
        folder: of the run.
        texture: with the part of the embedding that is fitted when all else is trained (`training.texture`), if the
            run has one; what is trained further, aligned or taught by has none.

    Raises:
        UsageError: the folder holds no finished epoch.
    """
    tensors, description = read_checkpoint(folder / MODEL)
    looks = int(description["config"].get("looks", 0))
    tower = ImageTower(tensors["head.weight"].shape[0] - looks, description["config"]["architecture"], looks)
    known = unprefixed("words", tensors)
    if known:
        tower.words = Words(known["labels"], known["seen"], known["things"], known["shown"])
    fitted = unprefixed("texture", tensors)
    if fitted:
        tower.set_texture(Texture(*reversed(fitted["project.weight"].shape)))
    tower.load_state_dict(tensors)
    if not texture:
        tower.set_texture(None)
    return tower.eval(), description


def _begin(fit: Fit, output: Path, identity: Mapping[str, Any], fresh: bool) -> list[dict[str, Any]]:
    """Restore the run in ``output`` when there is one, else start one; returns the history of its epochs."""
    if not (output / STATE).exists():
        fit.start(fresh=fresh)
        return []
    tensors, description = read_checkpoint(output / STATE)
    if description["identity"] != json.loads(json.dumps(identity)):
        raise UsageError(f"{output} holds a run of another recipe or other data; choose another --output")
    history: list[dict[str, Any]] = description["history"]
    fit.restore(tensors, len(history))
    return history


def _save(
    fit: Fit, model: ImageTower, output: Path, identity: Mapping[str, Any], history: list[dict[str, Any]]
) -> None:
    """Write the model first and the state last: a cut between them repeats an epoch and loses none."""
    # No times in it: the same recipe on the same photos gives the same bytes.
    write_checkpoint(output / MODEL, model.state_dict(), {**identity, "epochs": fit.epoch, "collection": COLLECTION})
    with atomic_write(output / LOG) as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in history).encode())
    draw_history(history, output / "history.png")
    write_checkpoint(output / STATE, fit.state(), {"identity": identity, "history": history})


def _done(fit: Fit, step: int) -> float:
    """Work done so far, in photos of one pixel: epochs of larger views count for more."""
    areas = [size * size for size in fit.config.sizes]
    return sum(areas[: fit.epoch]) * fit.steps_per_epoch + areas[fit.epoch] * step


def _total(fit: Fit) -> float:
    return sum(size * size for size in fit.config.sizes) * fit.steps_per_epoch


def _text(fit: Fit, loss: float) -> str:
    return f"epoch {fit.epoch + 1}/{len(fit.config.sizes)} at {fit.config.sizes[fit.epoch]} px, loss {loss:.3f}"
