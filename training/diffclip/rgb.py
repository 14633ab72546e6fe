"""What the project's encoder of photos reaches with three bands: the CLIP-style baseline, and prototypes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from .colours import picture
from .labelled import LabelledScene
from .protocol import Method, fingerprint
from .scores import Labels
from .windows import Pixels, Windows

if TYPE_CHECKING:
    from ..evaluation.subjects import Subject

WINDOW = 11  # pixels: what the other methods of windows see
_BATCH = 64

Vectors = npt.NDArray[np.float32]
Texts = Callable[[Sequence[str]], Vectors]  # class names to unit vectors (K, D)

# Of the fine-tuning, fixed beforehand.
_STEPS, _RATE, _DECAY = 200, 1e-3, 1e-3
_LOGIT_SCALE = 1 / 0.07  # at the start (Radford et al. 2021, section 2.5)


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
        shown = picture(scene)
        self._scene, self._rows, self._vectors = scene, {}, np.empty((0, 0), np.float32)
        self._windows = Windows(shown, scene.scene.tile >= 0, scene.scene.tile, WINDOW)  # type: ignore[arg-type]
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
    """Three bands through the encoder of photos.

    ``CLIP-style`` learns a linear head on the frozen tower, which starts as the one it has, and the logit scale, by
    cross-entropy against the texts of the classes; ``nearest mean`` takes the class whose mean is nearest by cosine;
    ``SVM`` is the one of the other baselines, on the same vectors.

    Args:
        eyes: the encoder.
        head: what is learnt from the shots.
        texts: class names to unit vectors; None embeds the names by the encoder's own templates.
        texts_name: what ``texts`` is called in the settings.
    """

    eyes: Eyes
    head: Literal["CLIP-style", "nearest mean", "SVM"]
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
        return clip_style(own, labels - 1, self._texts(scene), ask) + 1

    def _texts(self, scene: LabelledScene) -> Vectors:
        if self.texts is not None:
            return self.texts(scene.classes)
        from agriclip_edge.labels.pack import Label
        from agriclip_edge.labels.prompts import embed_labels

        subject = self.eyes.subject
        return embed_labels([Label(name) for name in scene.classes], subject.templates, _Texts(subject))


@dataclass(frozen=True)
class _Texts:
    subject: Subject

    def embed(self, prompts: Sequence[str]) -> Vectors:
        return self.subject.embed_texts(prompts)


def rgb_methods(subject: Subject, folder: Path | None = None, texts: Texts | None = None) -> list[Method]:
    """The rows of one encoder of photos: fine-tuned CLIP-style, nearest class mean, SVM."""
    eyes = Eyes(subject, folder)
    return [Rgb(eyes, "CLIP-style", texts), Rgb(eyes, "nearest mean"), Rgb(eyes, "SVM")]


def clip_style(vectors: Vectors, labels: Labels, texts: Vectors, ask: Vectors) -> Labels:
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
