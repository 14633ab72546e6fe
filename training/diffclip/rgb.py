"""What the project's encoder of photos reaches with three bands: trained CLIP-style by the shots, or as it is."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.imaging.preprocess import preprocess

from .colours import picture
from .labelled import LabelledScene
from .protocol import Method, fingerprint
from .scores import Labels
from .windows import Pixels, Windows

if TYPE_CHECKING:
    import torch

    from ..evaluation.subjects import Subject
    from ..image_tower import ImageTower

WINDOW = 11  # pixels: what the other methods of windows see
_BATCH = 64

Vectors = npt.NDArray[np.float32]
Shown = npt.NDArray[Any]  # windows as photos, uint8 (N, S, S, 3)
Texts = Callable[[Sequence[str]], Vectors]  # class names to unit vectors (K, D)

# Of the fine-tuning, fixed beforehand.
_STEPS, _RATE, _DECAY = 200, 1e-3, 1e-3
_LOGIT_SCALE = 1 / 0.07  # at the start (Radford et al. 2021, section 2.5)

# Of the whole tower's, likewise. A window of 11 pixels holds no more than 128 show.
_SIDE, _TOWER_STEPS, _TOWER_BATCH, _TOWER_RATE, _TOWER_DECAY = 128, 60, 32, 1e-4, 0.05


def _seen(scene: LabelledScene) -> Windows:
    """The windows that an encoder of photos is shown: uint8 (N, 11, 11, 3)."""
    return Windows(picture(scene), scene.scene.tile >= 0, scene.scene.tile, WINDOW)  # type: ignore[arg-type]


class Eyes:
    """The image encoder's view of a scene: each pixel's window, enlarged to a photo, as a unit vector, made once."""

    def __init__(self, subject: Subject, folder: Path | None = None) -> None:
        """Take an encoder.

        Args:
            subject: of photos and texts.
            folder: where vectors are kept from run to run; None keeps them in memory.
        """
        self.subject, self._folder = subject, folder
        self._scene: LabelledScene | None = None
        self._rows: dict[int, int] = {}
        self._vectors = np.empty((0, 0), np.float32)

    def of(self, scene: LabelledScene, pixels: Pixels) -> Vectors:
        """Unit vectors float32 (N, D) of pixels' windows, int (N, 2)."""
        if scene is not self._scene:
            self._open(scene)
        flat = pixels[:, 0] * scene.labels.shape[1] + pixels[:, 1]
        new = [place for place in dict.fromkeys(flat.tolist()) if place not in self._rows]
        if new:
            self._embed(scene, np.stack(np.unravel_index(new, scene.labels.shape), axis=-1), new)
        return self._vectors[[self._rows[place] for place in flat.tolist()]]

    def _open(self, scene: LabelledScene) -> None:
        self._scene, self._rows, self._vectors = scene, {}, np.empty((0, 0), np.float32)
        self._windows = _seen(scene)
        key = hashlib.sha256(f"{fingerprint(scene)} {self.subject.model} {WINDOW}".encode()).hexdigest()[:32]
        self._path = None if self._folder is None else self._folder / "rgb" / f"{key}.safetensors"
        if self._path is not None and self._path.is_file():
            try:
                kept = load_file(self._path)
                self._vectors = kept["vectors"]
                self._rows = {int(place): row for row, place in enumerate(kept["places"])}
            except (SafetensorError, KeyError) as error:
                raise UsageError(f"{self._path} holds no vectors: {error}; delete it") from None

    def _embed(self, scene: LabelledScene, pixels: Pixels, places: list[int]) -> None:
        parts = [self._vectors] if len(self._rows) else []
        for start in range(0, len(pixels), _BATCH):
            cut, _ = self._windows.of(pixels[start : start + _BATCH])
            parts.append(self.subject.embed(list(cut)))
        self._vectors = np.concatenate(parts)
        self._rows.update({place: row for row, place in enumerate(places, len(self._rows))})
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._path) as file:
                file.write(save({"vectors": self._vectors, "places": np.array(list(self._rows), np.int64)}))


@dataclass(frozen=True)
class Rgb:
    """Three bands through the encoder of photos, as it is.

    ``linear head`` learns one on top of its own, which starts as the identity, and the logit scale, by cross-entropy
    against the texts of the classes; ``nearest mean`` takes the class whose mean is nearest by cosine; ``SVM`` is the
    one of the other baselines, on the same vectors.

    Args:
        eyes: the encoder.
        head: what is learnt from the shots.
        texts: class names to unit vectors; None embeds the names by the encoder's own templates.
        texts_name: what ``texts`` is called in the settings.
    """

    eyes: Eyes
    head: Literal["linear head", "nearest mean", "SVM"]
    texts: Texts | None = None
    texts_name: str = "names"

    @property
    def name(self) -> str:
        """Of its row in the table."""
        return f"RGB {self.head}"

    @property
    def settings(self) -> str:
        """All numbers that it depends on."""
        subject = self.eyes.subject
        learnt = f"steps={_STEPS} rate={_RATE} decay={_DECAY} scale={_LOGIT_SCALE}"
        return f"{self.head} {subject.model} {subject.text_encoder} window={WINDOW} texts={self.texts_name} {learnt}"

    def fit_predict(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels, seed: int) -> Labels:
        """Learn from the shots and name the test pixels, int (m,)."""
        own, ask = self.eyes.of(scene, shots), self.eyes.of(scene, test)
        if self.head == "SVM":
            from .baselines import classify_blocks

            return classify_blocks("SVM", [(own, ask)], labels, seed)
        if self.head == "nearest mean":
            known = np.unique(labels)
            means = _unit(np.stack([own[labels == label].mean(axis=0) for label in known]))
            named: Labels = known[(ask @ means.T).argmax(axis=1)]
            return named
        texts = (self.texts or _names(self.eyes.subject))(scene.classes)
        return linear_head(own, labels - 1, texts, ask) + 1


@dataclass(frozen=True)
class ClipStyle:
    """Three bands through the encoder of photos, all of whose weights the shots train.

    As CLIP is fine-tuned (Goyal et al. 2023): by its own objective, cross-entropy of cosines against the texts of the
    classes, with the logit scale. Shots are turned and mirrored; BatchNorm keeps the statistics of photos, as a few
    windows have none of their own.

    Args:
        subject: of photos and texts.
        tower: of the subject, with its weights; each draw trains a copy.
        texts: class names to unit vectors; None embeds the names by the encoder's own templates.
        texts_name: what ``texts`` is called in the settings.
    """

    subject: Subject
    tower: ImageTower
    texts: Texts | None = None
    texts_name: str = "names"
    name: str = "RGB CLIP-style"

    @property
    def settings(self) -> str:
        """All numbers that it depends on."""
        learnt = f"steps={_TOWER_STEPS} batch={_TOWER_BATCH} rate={_TOWER_RATE} decay={_TOWER_DECAY}"
        seen = f"window={WINDOW} side={_SIDE} texts={self.texts_name} {learnt} scale={_LOGIT_SCALE}"
        return f"{self.subject.model} {self.subject.text_encoder} {seen}"

    def fit_predict(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels, seed: int) -> Labels:
        """Train a copy of the tower on the shots and name the test pixels, int (m,)."""
        windows, texts = _seen(scene), (self.texts or _names(self.subject))(scene.classes)
        named = fine_tuned(self.tower, windows.of(shots)[0], labels - 1, texts, windows.of(test)[0], seed)
        return named + 1


def _names(subject: Subject) -> Texts:
    """Class names to unit vectors, by the templates of an encoder."""
    from agriclip_edge.labels.pack import Label
    from agriclip_edge.labels.prompts import embed_labels

    return lambda classes: embed_labels([Label(name) for name in classes], subject.templates, _Texts(subject))


@dataclass(frozen=True)
class _Texts:
    subject: Subject

    def embed(self, prompts: Sequence[str]) -> Vectors:
        return self.subject.embed_texts(prompts)


def rgb_methods(subject: Subject, folder: Path | None = None, texts: Texts | None = None) -> list[Method]:
    """The rows of one encoder of photos: fine-tuned CLIP-style where it can be trained, linear head, means, SVM."""
    eyes = Eyes(subject, folder)
    trained = [] if subject.tower is None else [ClipStyle(subject, subject.tower, texts)]
    return [*trained, Rgb(eyes, "linear head", texts), Rgb(eyes, "nearest mean"), Rgb(eyes, "SVM")]


def fine_tuned(
    tower: ImageTower,
    photos: Shown,
    labels: Labels,
    texts: Vectors,
    ask: Shown,
    seed: int,
) -> Labels:
    """Fine-tune a copy of a tower and the logit scale on labelled photos, and name others.

    Embeddings are taken about the mean of the shots', as the tower first gives them, and texts about that of the
    classes: windows of one scene are all alike beside photos at large.

    Args:
        tower: with its weights, which stay.
        photos: the shots, uint8 (n, S, S, 3).
        labels: their classes, int (n,), from 0 on.
        texts: unit vectors, float32 (K, D).
        ask: uint8 (m, S, S, 3).
        seed: of the order of the shots and how they are turned.

    Returns:
        Classes int64 (m,), from 0 on.
    """
    import torch
    from torch import nn

    from ..fit import embed_all
    from .pretrain import turned

    tower = copy.deepcopy(tower).eval().requires_grad_(True)
    own = torch.from_numpy(np.stack([preprocess(photo, _SIDE) for photo in photos]))
    target = torch.from_numpy(_unit(texts - texts.mean(axis=0)))
    truth = torch.from_numpy(np.asarray(labels, np.int64))
    centre = embed_all(tower, list(photos), _SIDE).mean(dim=0)
    scale = nn.Parameter(torch.tensor(float(np.log(_LOGIT_SCALE))))
    optimizer = torch.optim.AdamW([*tower.parameters(), scale], lr=_TOWER_RATE, weight_decay=_TOWER_DECAY)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _TOWER_STEPS)
    generator = torch.Generator().manual_seed(seed)

    def logits(images: torch.Tensor) -> torch.Tensor:
        return scale.exp() * nn.functional.normalize(tower(images) - centre, dim=1) @ target.T

    for _ in range(_TOWER_STEPS):
        chosen = torch.randperm(len(own), generator=generator)[:_TOWER_BATCH]
        way = torch.randint(8, (len(chosen),), generator=generator)
        shown = turned(own[chosen].permute(0, 3, 1, 2), way).permute(0, 2, 3, 1)
        loss = nn.functional.cross_entropy(logits(shown), truth[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.step()
    named: Labels = embed_all(logits, list(ask), _SIDE).argmax(dim=1).numpy().astype(np.int64)
    return named


def linear_head(vectors: Vectors, labels: Labels, texts: Vectors, ask: Vectors) -> Labels:
    """Fine-tune a linear head and the logit scale on labelled vectors, and name others.

    The head starts as the identity about the mean of the shots; the texts are centred over the classes, which takes
    the same from every class's logit.

    Args:
        vectors: float32 (n, D) of the shots.
        labels: their classes, int (n,), from 0 on.
        texts: unit vectors, float32 (K, D).
        ask: float32 (m, D).

    Returns:
        Classes int64 (m,), from 0 on.
    """
    import torch
    from torch import nn

    centre = torch.from_numpy(vectors.mean(axis=0))
    own, other = torch.from_numpy(vectors) - centre, torch.from_numpy(ask) - centre
    size = own.norm(dim=1).mean()
    own, other = own / size, other / size
    target = torch.from_numpy(_unit(texts - texts.mean(axis=0)))
    truth = torch.from_numpy(np.asarray(labels, np.int64))
    head = nn.Parameter(torch.zeros(vectors.shape[1], vectors.shape[1]))  # what is added to the identity
    shift = nn.Parameter(torch.zeros(vectors.shape[1]))
    scale = nn.Parameter(torch.tensor(float(np.log(_LOGIT_SCALE))))
    optimizer = torch.optim.Adam([head, shift, scale], lr=_RATE)

    def logits(features: torch.Tensor) -> torch.Tensor:
        return scale.exp() * nn.functional.normalize(features + features @ head + shift, dim=1) @ target.T

    for _ in range(_STEPS):
        loss = nn.functional.cross_entropy(logits(own), truth) + _DECAY * head.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        return logits(other).argmax(dim=1).numpy().astype(np.int64)


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
