"""A contrastive training from shards to a model, able to go on after a cut at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import Collection, Photos
from ..evaluate import Vectors, judge
from ..progress import StatusLine
from .config import ContrastiveConfig
from .distributed import world
from .fit import Fit
from .model import Clip, build, save
from .report import Events, samples, write_report
from .stream import Captions, PairStream, Position, sample_photos
from .vectors import read_vectors

STATE = "state.safetensors"  # everything that going on needs
MODEL = "model.safetensors"  # what `training.contrastive.model.load` reads
LOG = "log.jsonl"
_NOT_IDENTITY = ("model", "pretrained", "wise", "threads", "save_every", "micro")  # the first two by their weights


def train_contrastive(
    roots: Sequence[Path],
    output: Path,
    config: ContrastiveConfig,
    captions: Captions,
    status: StatusLine,
    device: str = "",
) -> None:
    """Train, or go on where ``output`` was left; under torchrun in as many processes as it starts.

    Args:
        roots: folders that `build-shards` wrote.
        output: folder for state, model, log, report and events; made when missing.
        config: the recipe.
        captions: of a label; at least one.
        status: tells how far it is.
        device: ``cuda`` or ``cpu``; empty takes a GPU where there is one.

    Raises:
        DataError: the shards are incomplete.
        UsageError: ``output`` holds a run of another recipe or other data, or the recipe fits not the model.
    """
    with world(device) as among:
        stream = PairStream(roots, config, captions)
        torch.manual_seed(config.seed)
        clip = build(config.model, config.pretrained, bias=config.loss == "sigmoid")
        if config.loss == "sigmoid" and clip.net.logit_bias is None:
            raise UsageError(f"{config.pretrained} has no logit bias; accepted: the loss softmax")
        start = [clip.space("image"), clip.space("text")]
        identity = {"config": _identity(config), "shards": stream.sha256, "start": start}
        steps = config.max_steps or max(1, round(config.epochs * stream.pairs / config.batch))
        fit = Fit(config, clip, steps, among)
        position, history = _begin(fit, output, identity)
        run = _Run(fit, output, identity, history, roots, captions, status)
        anchors = read_vectors(Path(config.anchor_vectors)) if config.anchor_vectors else None
        if fit.step < steps:
            for batch in stream.batches(clip.size, among.share(config.batch), fit.step, position):
                if fit.step == 0:
                    run.show(batch.images, batch.captions)
                    if config.loss == "sigmoid" and clip.architecture.get("init_logit_bias") == 0:
                        fit.fit_bias(batch)
                dense = None if anchors is None or config.anchor == 0 else torch.from_numpy(anchors(batch.sha256))
                run.record(fit.train_step(batch, dense), batch.after)
                if fit.step == steps:
                    break
        run.finish()


class _Run:
    """What the first process keeps of a run, on disk and on the screen; the others keep nothing."""

    def __init__(
        self,
        fit: Fit,
        output: Path,
        identity: Mapping[str, Any],
        history: list[dict[str, float]],
        roots: Sequence[Path],
        captions: Captions,
        status: StatusLine,
    ) -> None:
        self._fit, self._output, self._identity, self._history = fit, output, identity, history
        self._status = status
        self._shown: list[tuple[bytes, str]] = []
        self._begun, self._first = time.monotonic(), fit.step
        if not fit.world.first:
            return
        output.mkdir(parents=True, exist_ok=True)
        self._monitor = _Monitor(fit, roots, captions)
        self._events = Events(output / "tensorboard", fit.step)
        if fit.step == 0 and not self._events.active:
            status.say("TensorBoard is not installed; install it with: pip install tensorboard")
        for number in range(len(list(output.glob("sample-*.jpg")))):
            data = (output / f"sample-{number:02d}.jpg").read_bytes()
            caption = (output / f"sample-{number:02d}.txt").read_text("utf-8")
            self._shown.append((data, caption))

    def show(self, images: Tensor, captions: Sequence[str]) -> None:
        """Keep the first photos of the first batch for the report."""
        if self._fit.world.first:
            self._shown = samples(images, captions)
            for number, (data, caption) in enumerate(self._shown):
                for suffix, content in ((".txt", caption.encode()), (".jpg", data)):  # counted by the pictures
                    with atomic_write(self._output / f"sample-{number:02d}{suffix}") as file:
                        file.write(content)

    def record(self, measured: dict[str, float], after: Position) -> None:
        """Note a step; judge, tell and save when it is time."""
        fit, config = self._fit, self._fit.config
        if not fit.world.first:
            return
        if fit.step % config.judge_every == 0 or fit.step == fit.steps:
            measured |= self._monitor.judge(fit.model())
        self._history.append(measured)
        if fit.step % config.judge_every == 0:
            self._report()
        seconds = time.monotonic() - self._begun
        pairs = (fit.step - self._first) * config.batch / seconds
        self._events.add(fit.step, {**measured, "pairs_per_second": pairs})
        text = f"step {fit.step}/{fit.steps}, loss {measured['loss']:.3f}, {pairs:.1f} pairs/s"
        self._status.step(fit.step, fit.steps, text)
        if fit.step % config.save_every == 0 or fit.step == fit.steps:
            self._save(after)

    def finish(self) -> None:
        """Write the model and the last report."""
        if self._fit.world.first:
            config, clip = self._fit.config, self._fit.model()
            description = {**self._identity, "wise": config.wise, "steps": self._fit.step}
            save(self._output / MODEL, clip, clip.net.state_dict(), description)
            self._log()
            self._report()
            self._events.close()

    def _save(self, after: Position) -> None:
        """The state comes last: a cut before it repeats some steps and loses none."""
        self._log()
        description = {"identity": self._identity, "history": self._history, "position": list(after)}
        write_checkpoint(self._output / STATE, self._fit.state(), description)

    def _log(self) -> None:
        with atomic_write(self._output / LOG) as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in self._history).encode())

    def _report(self) -> None:
        write_report(self._output / "report.html", self._fit.config, self._history, self._shown)


class _Monitor:
    """Held-out photos that show what is learnt and what of the start is kept."""

    def __init__(self, fit: Fit, roots: Sequence[Path], captions: Captions) -> None:
        found = sample_photos(roots, "val", fit.config.judge_photos, fit.config.seed)
        self._collection: Collection = found[0]
        self._photos: Photos = found[1]
        self._captions = captions
        self._start = fit.start.embed_photos(self._photos.rgb)
        self._right = self._accuracy(fit.start, self._start)

    def judge(self, model: Clip) -> dict[str, float]:
        """Accuracy of the model and of the start, and the mean cosine between their vectors of the same photos."""
        if not len(self._photos):
            return {}
        vectors = model.embed_photos(self._photos.rgb)
        kept = float((vectors * self._start).sum(axis=1).mean())
        return {"val": self._accuracy(model, vectors), "start": self._right, "kept": kept}

    def _accuracy(self, model: Clip, vectors: Vectors) -> float:
        if not len(self._photos):
            return 0.0
        texts = label_vectors(model, self._collection.labels, self._captions)
        return judge(vectors, texts, self._collection, self._photos).mean


def label_vectors(model: Clip, labels: Sequence[str], captions: Callable[[str], Sequence[str]]) -> Vectors:
    """Unit vectors float32 (L, D) of labels: each the mean over its captions."""
    of_labels = [list(captions(label)) for label in labels]
    vectors = model.embed([caption for group in of_labels for caption in group])
    ends = np.cumsum([len(group) for group in of_labels])
    means = np.stack([part.mean(axis=0) for part in np.split(vectors, ends[:-1])])
    unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit


def _begin(fit: Fit, output: Path, identity: Mapping[str, Any]) -> tuple[Position, list[dict[str, float]]]:
    """Restore the run in ``output`` when there is one; where its next batch begins, and its history."""
    if not (output / STATE).exists():
        return Position(), []
    tensors, description = read_checkpoint(output / STATE)
    if description["identity"] != json.loads(json.dumps(identity)):
        raise UsageError(f"{output} holds a run of another recipe or other data; choose another --output")
    history: list[dict[str, float]] = description["history"]
    fit.restore(tensors, len(history))
    return Position(*description["position"]), history


def _identity(config: ContrastiveConfig) -> dict[str, Any]:
    """The recipe less what may change between a cut and the rest of a run, and less names of what is hashed."""
    return {name: value for name, value in asdict(config).items() if name not in _NOT_IDENTITY}
