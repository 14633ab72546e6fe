"""What a simple classifier reaches: SVM, random forest and nearest class mean on spectra and on smoothed components."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality

from .labelled import LabelledScene
from .protocol import Method
from .scores import Labels
from .windows import Pixels

Classifier = Literal["SVM", "random forest", "nearest mean"]
Features = npt.NDArray[np.float32]
Block = Literal["spectra", "PCA+7×7", "lidar", "lidar+7×7"]

_COMPONENTS = 20  # of the principal components
_SIDE = 7  # pixels, of the mean
_C, _TREES = 100.0, 100  # fixed beforehand, never tuned
_CLIP = 10.0  # standard deviations
_FLOOR = 1e-6  # of a standard deviation of the shots, in the block's unit
_MOST_PIXELS = 50_000  # that the components are fitted on
_OTHERS = "lidar"  # stands for every modality but the first

# Rows of the table: a name, and the blocks that lie side by side.
FEATURES: dict[str, tuple[Block, ...]] = {
    "spectra": ("spectra",),
    "lidar": ("lidar",),
    "spectra+lidar": ("spectra", "lidar"),
    "PCA+7×7": ("PCA+7×7",),
    "PCA+7×7+lidar": ("PCA+7×7", "lidar+7×7"),
}
CLASSIFIERS: tuple[Classifier, ...] = ("SVM", "random forest", "nearest mean")


@dataclass(frozen=True)
class Baseline:
    """One classifier on one choice of features, neither ever tuned.

    Args:
        classifier: SVM (RBF, C = 100, gamma = 1 / (D var)), random forest (100 trees) or nearest class mean.
        features: a key of `FEATURES`.
        others: what the scene's modalities after the first are called in the table.
    """

    classifier: Classifier
    features: str
    others: str = field(default=_OTHERS, repr=False)  # a name changes no number

    @property
    def name(self) -> str:
        """Of its row in the table."""
        return f"{self.classifier}, {self.features.replace(_OTHERS, self.others)}"

    @property
    def settings(self) -> str:
        """All numbers that it depends on."""
        numbers = f"C={_C} trees={_TREES} components={_COMPONENTS} side={_SIDE} clip={_CLIP} floor={_FLOOR}"
        return f"{self} {FEATURES[self.features]} {numbers}"

    def fit_predict(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels, seed: int) -> Labels:
        """Learn from the shots and name the test pixels, int (m,).

        Raises:
            UsageError: the features need a second modality, which the scene has not.
        """
        blocks = [
            (values[tuple(shots.T)], values[tuple(test.T)])
            for block in FEATURES[self.features]
            for values in _blocks(scene, block)
        ]
        return classify_blocks(self.classifier, blocks, labels, seed)


def classify_blocks(
    classifier: Classifier, blocks: Sequence[tuple[Features, Features]], labels: Labels, seed: int
) -> Labels:
    """Learn from blocks of features that each weigh the same whatever their width.

    Args:
        classifier: which.
        blocks: features of the shots, float32 (n, D), and of what is asked, float32 (m, D); each block is
            standardised by its shots alone, cut at ±10 and divided by the root of its width.
        labels: of the shots, int (n,).
        seed: of a random forest.

    Returns:
        Labels int (m,).
    """
    ready = [standardised(own, other) for own, other in blocks]
    train, ask = ([part[side] for part in ready] for side in (0, 1))
    model = _classifier(classifier, seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few shots are meant to be few
        model.fit(np.concatenate(train, axis=1), labels)
    named: Labels = model.predict(np.concatenate(ask, axis=1))
    return named


def standardised(own: Features, other: Features) -> tuple[Features, Features]:
    """A block of features of the shots (n, D), and of other pixels (m, D), by the shots' own mean and spread."""
    centre, spread = own.mean(axis=0), np.maximum(own.std(axis=0), _FLOOR)
    weight = own.shape[-1] ** -0.5
    scaled, asked = (np.clip((values - centre) / spread, -_CLIP, _CLIP) * weight for values in (own, other))
    return scaled, asked


def own_channels(scene: LabelledScene) -> Features:
    """The first modality's channels of every pixel, float32 (H, W, C), zero where there are no data."""
    return _blocks(scene, "spectra")[0]


def baselines(scene: LabelledScene | None = None) -> list[Method]:
    """All of them, or those that a scene has the modalities for, by its own names of them."""
    alone = scene is not None and len(scene.scene.modalities) < 2
    others = _OTHERS if scene is None or alone else "+".join(m.name for m in scene.scene.modalities[1:])
    return [
        Baseline(classifier, features, others)
        for features, blocks in FEATURES.items()
        for classifier in CLASSIFIERS
        if not (alone and any(block.startswith(_OTHERS) for block in blocks))
    ]


def _classifier(name: Classifier, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.svm import SVC

    if name == "SVM":
        return SVC(C=_C, gamma="scale")
    if name == "random forest":
        return RandomForestClassifier(_TREES, random_state=seed)
    return _NearestMean()


class _NearestMean:
    """The class whose mean is nearest by Euclid's distance."""

    def fit(self, features: Features, labels: Labels) -> _NearestMean:
        self._known = np.unique(labels)
        self._means = np.stack([features[labels == label].mean(axis=0) for label in self._known])
        return self

    def predict(self, features: Features) -> Labels:
        far = (self._means**2).sum(axis=1) - 2 * features @ self._means.T  # less what is the same for every class
        nearest: Labels = self._known[far.argmin(axis=1)]
        return nearest


@lru_cache(maxsize=8)
def _blocks(scene: LabelledScene, block: Block) -> tuple[npt.NDArray[np.float32], ...]:
    """Features float32 (H, W, D) of every pixel, without labels; zero where there are no data."""
    first, *others = scene.scene.modalities
    if block == "spectra":
        return (_filled(first),)
    if block == "PCA+7×7":
        scores = components(first, scene.carries)
        return scores, tile_means(scores, first.valid, scene.scene.tile)
    if not others:
        raise UsageError(f"{scene.scene.name} has one modality; {block!r} needs a second")
    heights = np.concatenate([_filled(modality) for modality in others], axis=-1)
    if block == "lidar":
        return (heights,)
    valid = np.logical_and.reduce([modality.valid for modality in others])
    return (np.concatenate([heights, tile_means(heights, valid, scene.scene.tile)], axis=-1),)


def components(modality: Modality, pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The first 20 principal components' scores, float32 (H, W, 20), fitted on pixels without their labels."""
    values = _filled(modality)
    chosen = np.flatnonzero(pixels)
    chosen = chosen[:: max(-(-len(chosen) // _MOST_PIXELS), 1)]
    sample = values.reshape(-1, values.shape[-1])[chosen].astype(np.float64)
    centre = sample.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(sample - centre, rowvar=False))
    kept = axes[:, ::-1][:, :_COMPONENTS].astype(np.float32)
    scores: npt.NDArray[np.float32] = (values - centre.astype(np.float32)) @ kept
    return scores


def tile_means(
    values: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], tile: npt.NDArray[np.int32], side: int = _SIDE
) -> npt.NDArray[np.float32]:
    """Means (H, W, D) over a square round each pixel, of the pixels in its tile that carry data; 0 where none does."""
    from scipy.ndimage import find_objects, uniform_filter

    means = np.zeros_like(values)
    for number, box in enumerate(find_objects(tile + 1)):
        if box is None:
            continue
        own = (tile[box] == number) & valid[box]
        share = uniform_filter(own.astype(np.float64), side, mode="constant")
        total = uniform_filter(
            np.where(own[..., None], values[box], 0).astype(np.float64), (side, side, 1), mode="constant"
        )
        there = own & (share > 1e-9)  # the filter's running sum leaves tiny rests
        means[box][there] = (total[there] / share[there][:, None]).astype(np.float32)
    return means


def _filled(modality: Modality) -> npt.NDArray[np.float32]:
    return np.where(modality.valid[..., None], modality.values, np.float32(0))
