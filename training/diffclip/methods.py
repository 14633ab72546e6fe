"""Rows of the few-shot table: the bound encoder, and what it is held against."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Scene

from ..dino.hashing import tensors_sha256
from .baselines import own_channels, standardised
from .binding import Bound, Classifier, Space, bind, fit_space, likeliest_temperature
from .config import BindingConfig, ModalityRecord
from .labelled import LabelledScene
from .network import Encoder
from .pretrain import scene_features
from .protocol import Method, fingerprint
from .scores import Labels
from .spectrum import prepared
from .texts import Embed, class_vectors, read_class_texts
from .windows import Pixels

_UNLABELLED = 3000  # pixels that the feature space is fitted on, whatever their labels
_VIEWS = 1  # ways to turn each window that features are the mean of: as a map sees it, which turns none
FULL, NO_PRETRAINING, RANDOM_TRANSFORMER, NO_TRANSFORMER, CODE = (
    "DiffCLIP",
    "DiffCLIP, no pre-training",
    "DiffCLIP, transformer not pre-trained",
    "DiffCLIP, no transformer",
    "DiffCLIP, class code for text",
)


@dataclass
class Features:
    """Features of a scene's pixels by one encoder, computed once and kept.

    Args:
        encoder: frozen.
        lacking: modalities to do without.
        folder: where features are kept from run to run; None keeps them in memory.
    """

    encoder: Encoder
    lacking: tuple[str, ...] = ()
    folder: Path | None = None
    _scene: LabelledScene | None = field(default=None, init=False)

    @property
    def settings(self) -> str:
        """All that they depend on besides the scene."""
        weights = tensors_sha256(self.encoder.state_dict())
        return f"{weights} {asdict(self.encoder.config)} {self.lacking} {_UNLABELLED} {_VIEWS}"

    def of(self, scene: LabelledScene, pixels: Pixels) -> Tensor:
        """Features float32 (N, F) of N pixels."""
        self._open(scene)
        rows = self._rows[tuple(pixels.T)]
        if (rows < 0).any():
            raise UsageError(f"{scene.scene.name}: a pixel without a label is asked for")
        return self._features[torch.from_numpy(rows)]

    def unlabelled(self, scene: LabelledScene) -> Tensor:
        """Features float32 (N, F) of a fixed random choice of all pixels that carry data."""
        self._open(scene)
        return self._features[: self._free]

    def _open(self, scene: LabelledScene) -> None:
        if scene is self._scene:
            return
        carrying = np.argwhere(scene.carries)
        free = carrying[np.sort(np.random.default_rng(0).permutation(len(carrying))[:_UNLABELLED])]
        labelled = np.argwhere(scene.labels > 0)
        pixels = np.concatenate([free, labelled])
        key = hashlib.sha256(f"{fingerprint(scene)} {self.settings}".encode()).hexdigest()[:32]
        path = None if self.folder is None else self.folder / "features" / f"{key}.safetensors"
        if path is not None and path.is_file():
            features = load_file(path)["features"]
        else:
            seen = prepared(self.encoder.config, scene.scene)
            features = scene_features(self.encoder, seen, pixels, self.lacking, _VIEWS)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                save_file({"features": features}, path)
        self._rows = np.full(scene.labels.shape, -1, np.int64)
        self._rows[tuple(labelled.T)] = np.arange(len(free), len(pixels))
        self._features, self._free, self._scene = features, len(free), scene


@dataclass
class Diffclip:
    """The encoder's features bound to class texts by the shots.

    Args:
        name: of its row in the table.
        features: of one encoder.
        embed: the text encoder.
        config: of the binding.
        language: False takes a learnt code in place of each class text.
    """

    name: str
    features: Features
    embed: Embed
    config: BindingConfig = field(default_factory=BindingConfig)
    language: bool = True
    _space: tuple[LabelledScene, Space, Tensor] | None = field(default=None, init=False)

    @property
    def settings(self) -> str:
        """All that its figures depend on besides the scene."""
        said = hashlib.sha256(repr(sorted(read_class_texts().items())).encode()).hexdigest() if self.language else ""
        return f"{self.features.settings} {self.config} language={self.language} {said}"

    def fit_predict(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels, seed: int) -> Labels:
        """Learn from the shots and name the test pixels, int (m,)."""
        named: Labels = self.log_probabilities(scene, shots, labels, test).argmax(dim=1).numpy() + 1
        return named

    def log_probabilities(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels) -> Tensor:
        """Of each class at each test pixel, learnt from the shots, float32 (m, K)."""
        space, texts = self._ready(scene)
        bound = self._bind(scene, space, texts, shots, labels)
        prototypes = nn.functional.normalize(bound.map(texts), dim=1)
        return (space(self.features.of(scene, test)) @ prototypes.T / bound.temperature).log_softmax(dim=1)

    def classifier(self, scene: LabelledScene, shots: Pixels, labels: Labels) -> Classifier:
        """The same as one network from windows to class vectors, for maps and students."""
        space, texts = self._ready(scene)
        records = {m.name: modality_record(scene.scene, m.name) for m in scene.scene.modalities}
        bound = self._bind(scene, space, texts, shots, labels)
        classifier = Classifier(self.features.encoder, space, texts, scene.classes, bound.temperature, records)
        classifier.map.load_state_dict(bound.map.state_dict())
        return classifier.eval()

    @torch.no_grad()
    def unseen(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels) -> list[float | None]:
        """How well each class is told by its text alone: the area under the ROC curve of the cosine to its prototype.

        Each class in turn gives no shot; its prototype is where the map, learnt from the others, puts its text. 0.5 is
        chance. None where a class has no test pixel, or shots are of no other class.
        """
        space, texts = self._ready(scene)
        vectors = space(self.features.of(scene, test))
        truth = scene.labels[tuple(test.T)]
        areas: list[float | None] = []
        for label in range(1, len(scene.classes) + 1):
            others, own = labels != label, truth == label
            if not others.any() or not own.any() or own.all():
                areas.append(None)
                continue
            mapped = self._bind(scene, space, texts, shots[others], labels[others]).map
            cosines = (vectors @ nn.functional.normalize(mapped(texts[label - 1]), dim=0)).numpy()
            ranks = np.empty(len(cosines))
            ranks[cosines.argsort()] = np.arange(1, len(cosines) + 1)
            positives = int(own.sum())
            above = ranks[own].sum() - positives * (positives + 1) / 2
            areas.append(float(above / (positives * (len(own) - positives))))
        return areas

    def _ready(self, scene: LabelledScene) -> tuple[Space, Tensor]:
        """Space and class vectors of a scene, made once."""
        if self._space is None or self._space[0] is not scene:
            space = fit_space(self.features.unlabelled(scene), self.features.encoder, self.config)
            if self.language:
                texts = torch.from_numpy(class_vectors(scene.classes, self.embed, read_class_texts()))
            else:
                texts = torch.eye(len(scene.classes))
            self._space = (scene, space, texts)
        return self._space[1], self._space[2]

    def _bind(self, scene: LabelledScene, space: Space, texts: Tensor, shots: Pixels, labels: Labels) -> Bound:
        vectors, own = space(self.features.of(scene, shots)), torch.from_numpy(np.asarray(labels, np.int64)) - 1
        with torch.enable_grad():
            bound = bind(vectors, own, texts, self.config, language=self.language)
        bound.map.requires_grad_(False)
        return bound


@dataclass
class WithChannels:
    """The bound encoder and the nearest mean on the pixel's own channels, as one: the product of what both think.

    Each is as sure as the shots warrant (`likeliest_temperature`); one shot a class warrants nothing of the channels.
    For channels that are no spectrum, as a season's series, and pixels as large as fields.

    Args:
        method: the bound encoder.
        name: of its row in the table.
    """

    method: Diffclip
    name: str = f"{FULL} and channels"

    @property
    def settings(self) -> str:
        """All that its figures depend on besides the scene."""
        return f"{self.method.settings} and channels, from two shots of a class on"

    def fit_predict(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels, seed: int) -> Labels:
        """Learn from the shots and name the test pixels, int (m,)."""
        thought = self.method.log_probabilities(scene, shots, labels, test)
        if len(np.unique(labels)) == len(labels):
            alone: Labels = thought.argmax(dim=1).numpy() + 1
            return alone
        values = own_channels(scene)
        seen, asked = (torch.from_numpy(block) for block in standardised(values[tuple(shots.T)], values[tuple(test.T)]))
        there, own = torch.from_numpy(np.asarray(labels, np.int64) - 1).unique(return_inverse=True)
        means = torch.stack([seen[own == number].mean(dim=0) for number in range(len(there))])
        temperature = likeliest_temperature(torch.cdist(seen, means).square(), own, torch.bincount(own))
        total = thought[:, there] + (-torch.cdist(asked, means).square() / (2 * temperature)).log_softmax(dim=1)
        named: Labels = there[total.argmax(dim=1)].numpy() + 1
        return named


def modality_record(scene: Scene, name: str) -> ModalityRecord:
    """What a modality of a scene is, as a run keeps it."""
    modality = next(m for m in scene.modalities if m.name == name)
    nm = None if modality.wavelengths is None else tuple(float(value) for value in modality.wavelengths)
    return ModalityRecord(int(modality.values.shape[-1]), modality.unit, nm)


def diffclip_methods(
    encoder: Encoder, scene: Scene, embed: Embed, config: BindingConfig, folder: Path | None = None
) -> list[Diffclip]:
    """The full method and its controls: what is left out is in the name.

    Args:
        encoder: pre-trained on the scene, without its labels.
        scene: whose modalities are left out in turn.
        embed: the text encoder.
        config: of the binding.
        folder: where features are kept.
    """

    def row(name: str, encoder: Encoder, lacking: tuple[str, ...] = (), *, language: bool = True) -> Diffclip:
        return Diffclip(name, Features(encoder, lacking, folder), embed, config, language)

    names = [m.name for m in scene.modalities]
    rows = [
        row(FULL, encoder),
        row(NO_PRETRAINING, untrained(encoder, keep_components=False)),
        row(RANDOM_TRANSFORMER, untrained(encoder, keep_components=True)),
    ]
    without = BindingConfig(**{**asdict(config), "token_weight": 0.0})
    rows.append(Diffclip(NO_TRANSFORMER, Features(encoder, (), folder), embed, without))
    if len(names) > 1:
        rows += [row(f"DiffCLIP, {name} only", encoder, tuple(n for n in names if n != name)) for name in names]
    return [*rows, row(CODE, encoder, language=False)]


@torch.no_grad()
def untrained(encoder: Encoder, *, keep_components: bool) -> Encoder:
    """The same encoder with random weights.

    Args:
        encoder: pre-trained; stays as it is.
        keep_components: False also replaces the components by random directions of the scaled channels.
    """
    generator = torch.Generator().manual_seed(encoder.config.seed)
    with torch.random.fork_rng():
        torch.manual_seed(encoder.config.seed)
        fresh = Encoder(encoder.config, {name: copy.deepcopy(encoder.components[name]) for name in encoder.modalities})
    if not keep_components:
        for part in fresh.components.values():
            directions = torch.randn(part.channels, part.count, generator=generator)
            part.projection.copy_(torch.linalg.qr(directions).Q.T)
            part.offset.zero_()
    return fresh.eval()


def pairs(methods: Sequence[Method]) -> list[tuple[str, str]]:
    """The full method against each other one."""
    return [(FULL, method.name) for method in methods if method.name != FULL]
