"""Binds the encoder's features to class texts by few labelled pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Scene

from .config import BindingConfig, ModalityRecord
from .network import Encoder
from .spectrum import prepared

_TINY = 1e-6
_CONSTANT = 0.5  # of each vector's length 1 is the same for all: what a class's offset is told by
_REST = (1 - _CONSTANT**2) ** 0.5
_DEFAULT_TEMPERATURE = 0.05  # of squared distances over 2, where no class has two shots to tell it by
EXTRA = 2  # values after a space's own: the constant, and a 0 that brings class vectors to one length


class Space(nn.Module):
    """Features of windows to unit vectors: a linear map a modality, fitted on pixels without labels.

    Two values follow those of the map: a constant and 0. So an affine score of a vector is a cosine to a class vector,
    whose last two values are its offset and what is missing to the length of the longest.
    """

    def __init__(self, widths: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.dim = dim + EXTRA
        self.maps = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """Unit vectors float32 (N, Q) of features float32 (N, F); a modality of zeros is one that is missing."""
        return unit(self.blend(features))

    def blend(self, features: Tensor) -> Tensor:
        """The sum of the maps float32 (N, Q - 2), which `unit` makes unit vectors of."""
        total = torch.zeros(())
        for transform, own in zip(self.maps.values(), features.split(list(self.widths.values()), dim=1)):
            total = total + transform(own) * (own != 0).any(dim=1, keepdim=True)
        return total


def unit(total: Tensor) -> Tensor:
    """Unit vectors (N, Q, ...) of sums of a space's maps (N, Q - 2, ...): their direction, the constant and 0."""
    scale = _REST / total.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.cat([total * scale, torch.full_like(scale, _CONSTANT), torch.zeros_like(scale)], dim=1)


@torch.no_grad()
def fit_space(features: Tensor, encoder: Encoder, config: BindingConfig) -> Space:
    """Centre, whiten in part and weigh each block of features.

    Args:
        features: float32 (N, F) of pixels without labels.
        encoder: that they are of.
        config: the recipe.
    """
    blocks, start = [], 0
    for number, (name, width) in enumerate(encoder.parts.items()):
        tokens = width - encoder.components[name].count
        importance = config.later_weight if number else 1.0
        own = features[:, start : start + width]
        own = own[(own != 0).any(dim=1)]
        for part, weight, whitening in (
            (slice(0, tokens), config.token_weight, config.whitening),
            (slice(tokens, width), 1.0, 0.0),  # components have the spread they should
        ):
            found = _whitened(own[:, part], whitening, config.directions)
            blocks.append((name, part, weight * importance * found[0], found[1]))
        start += width
    dim = sum(matrix.shape[0] for _, _, matrix, _ in blocks)
    space, row = Space(encoder.parts, dim), 0
    for transform in space.maps.values():
        transform.weight.zero_()
        transform.bias.zero_()
    for name, part, matrix, mean in blocks:
        rows = slice(row, row + len(matrix))
        space.maps[name].weight[rows, part] = matrix
        space.maps[name].bias[rows] = -matrix @ mean
        row += len(matrix)
    return space


def _whitened(values: Tensor, whitening: float, directions: int) -> tuple[Tensor, Tensor]:
    """The map (Q, F) of one block to a mean squared length of 1, and its mean (F,); see `BindingConfig.whitening`."""
    if not len(values):
        return torch.zeros(1, values.shape[1]), torch.zeros(values.shape[1])
    mean = values.mean(dim=0)
    centred = (values - mean).double()
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(values))
    variance, axes = variance.flip(0)[:directions], axes.flip(1)[:, :directions]
    kept = variance > _TINY * variance[0].clamp(min=_TINY)
    variance, axes = variance[kept], axes[:, kept]
    if not len(variance):
        return torch.zeros(1, values.shape[1]), mean
    matrix = (axes * variance ** (-whitening / 2)).T
    length = (variance ** (1 - whitening)).sum().sqrt()
    return (matrix / length).float(), mean


class Classifier(nn.Module):
    """Encoder, feature space and the linear map from texts to prototypes in it."""

    texts: Tensor

    def __init__(
        self,
        encoder: Encoder,
        space: Space,
        texts: Tensor,
        classes: Sequence[str],
        temperature: float,
        modalities: Mapping[str, ModalityRecord],
    ) -> None:
        """Begin with a map of zeros.

        Args:
            encoder: frozen.
            space: of its features.
            texts: class vectors float32 (K, D).
            classes: K names.
            temperature: of the softmax over cosines.
            modalities: what the encoder's modalities are.
        """
        super().__init__()
        self.encoder, self.space = encoder.eval().requires_grad_(False), space
        self.map = nn.Linear(texts.shape[1], space.dim).requires_grad_(False)
        self.register_buffer("texts", texts)
        self.classes, self.temperature, self.modalities = tuple(classes), temperature, dict(modalities)

    @property
    def side(self) -> int:
        """Of a window, pixels."""
        return self.encoder.config.window

    @property
    def class_vectors(self) -> Tensor:
        """Unit vectors float32 (K, Q): where the map puts the class texts."""
        return nn.functional.normalize(self.map(self.texts), dim=1)

    def prepare(self, scene: Scene) -> Scene:
        """A scene as the encoder's windows are cut from; the same scene unless the recipe levels tiles."""
        return prepared(self.encoder.config, scene)

    @torch.inference_mode()
    def embed(self, windows: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """Unit vectors float32 (N, Q) of windows of raw values (N, C, S, S); see `Encoder.forward`."""
        return unit(self.blend(windows, valid))

    @torch.inference_mode()
    def blend(self, windows: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """What `embed` makes unit vectors of, float32 (N, Q - 2)."""
        return self.space.blend(self.encoder(windows, valid))


@dataclass(frozen=True)
class Bound:
    """Classes bound to texts.

    Attributes:
        map: from texts (D,) to class vectors (Q,), before these are brought to length 1.
        temperature: of the softmax over cosines.
    """

    map: nn.Linear
    temperature: float


def bind(vectors: Tensor, labels: Tensor, texts: Tensor, config: BindingConfig, *, language: bool = True) -> Bound:
    """The map from texts to class vectors: in closed form, then by cross-entropy over all classes.

    The closed form is a linear discriminant (Fisher 1936) between means of shots, whose covariance within classes is
    mixed with a sphere as if that had been seen on `BindingConfig.sphere` shots. Means are drawn towards those of
    classes that are described alike (ridge regression from the texts), and the map gives a class without any shot a
    vector as well. The temperature is the likeliest for shots that are each left out of their class's mean.

    Args:
        vectors: float32 (n, Q) of the shots, out of a `Space`.
        labels: int64 (n,), from 0.
        texts: class vectors float32 (K, D).
        config: the recipe.
        language: False for a class code, which shares nothing between classes.

    Raises:
        UsageError: there is no shot.
    """
    if not len(vectors):
        raise UsageError("no shot to bind classes by; accepted: at least 1 labelled pixel")
    there = labels.unique()
    own, known = torch.searchsorted(there, labels), texts[there]
    count = torch.bincount(own)
    seen = vectors[:, :-EXTRA].double() / _REST
    means = torch.stack([seen[own == label].mean(dim=0) for label in range(len(there))])
    apart = seen - means[own]
    if language:
        means = _drawn(means, known, config.shrinkage)
    covariance = _within(apart, len(seen) - len(there), config.sphere)
    temperature = likeliest_temperature(_squared(seen, means, covariance), own, count)
    prototypes, length = _discriminant(means, covariance)
    temperature *= _REST / length
    if config.steps and len(there) > 1:
        prototypes = _refined(prototypes, vectors, own, count, temperature, config)
    affine = torch.cat([known, torch.ones(len(known), 1)], dim=1).double()
    mapped = nn.Linear(texts.shape[1], vectors.shape[1])
    with torch.no_grad():
        solved = torch.linalg.lstsq(affine, prototypes.double(), driver="gelsd").solution.float()
        mapped.weight.copy_(solved[:-1].T)
        mapped.bias.copy_(solved[-1])
    return Bound(mapped, temperature)


def _drawn(means: Tensor, texts: Tensor, shrinkage: float) -> Tensor:
    """Means (K, Q) as ridge regression has them of their texts (K, D)."""
    kernel = texts.double() @ texts.double().T
    middle = means.mean(dim=0)
    ridge = shrinkage * kernel.diagonal().mean() * torch.eye(len(kernel), dtype=torch.float64)
    return middle + kernel @ torch.linalg.solve(kernel + ridge, means - middle)


def _within(apart: Tensor, freedom: int, sphere: float) -> Tensor:
    """Covariance (Q, Q) over its mean variance of shots less their means (n, Q), mixed with a sphere."""
    unit = torch.eye(apart.shape[1], dtype=apart.dtype)
    found = apart.T @ apart
    scale = found.diagonal().mean() / max(freedom, 1)
    if freedom < 1 or float(scale) < _TINY**2:  # one shot a class, or the same one again
        return unit
    return (found / scale + sphere * unit) / (freedom + sphere)


def _discriminant(means: Tensor, covariance: Tensor) -> tuple[Tensor, float]:
    """Unit class vectors float32 (K, Q + 2) of means (K, Q), and the length that scores were divided by."""
    middle = means.mean(dim=0)
    weights = torch.linalg.solve(covariance, (means - middle).T).T
    offsets = -((means + middle) * weights).sum(dim=1, keepdim=True) / 2 * (_REST / _CONSTANT)
    bare = torch.cat([weights, offsets], dim=1)
    squared = bare.square().sum(dim=1, keepdim=True)
    longest = squared.max().clamp(min=_TINY**2)
    found = torch.cat([bare, (longest - squared).clamp(min=0).sqrt()], dim=1) / longest.sqrt()
    return found.float(), float(longest.sqrt())


def _squared(seen: Tensor, means: Tensor, covariance: Tensor) -> Tensor:
    """Mahalanobis distances (n, K) of vectors (n, Q) to means (K, Q), squared."""
    solved = torch.linalg.solve(covariance, means.T)
    own = (seen * torch.linalg.solve(covariance, seen.T).T).sum(dim=1, keepdim=True)
    return own + (means * solved.T).sum(dim=1) - 2 * seen @ solved


def likeliest_temperature(squared: Tensor, own: Tensor, count: Tensor) -> float:
    """Of a softmax over squared distances by -2, judged by shots that are each left out of their class's mean.

    Args:
        squared: distances of the shots to the means of all shots, (n, K).
        own: int64 (n,), which of the K each is of.
        count: int64 (K,), shots of each.

    Returns:
        the one of the least cross-entropy; a fixed one where no class has two shots.
    """
    several = count[own] > 1
    if not several.any() or len(count) < 2:
        return _DEFAULT_TEMPERATURE
    places = torch.arange(len(own))[several]
    number = count[own[several]].to(squared.dtype)
    squared = squared.clone()
    squared[places, own[several]] *= (number / (number - 1)).square()  # as far as from the mean of the others
    tried = (_DEFAULT_TEMPERATURE * 2.0 ** (torch.arange(-24, 25) / 4)).tolist()
    losses = [float(nn.functional.cross_entropy(-squared[several] / (2 * t), own[several])) for t in tried]
    return float(tried[int(np.argmin(losses))])


def _refined(
    start: Tensor, vectors: Tensor, own: Tensor, count: Tensor, temperature: float, config: BindingConfig
) -> Tensor:
    """Cross-entropy over the unit class vectors, each class with the same weight, held near the closed form."""
    weights = (1 / count.float())[own] / len(start)
    prototypes = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([prototypes], lr=config.rate)
    for _ in range(config.steps):
        logits = vectors @ nn.functional.normalize(prototypes, dim=1).T / temperature
        loss = (nn.functional.cross_entropy(logits, own, reduction="none") * weights).sum()
        moved = (prototypes - start).square().sum(dim=1)
        loss = loss + config.keep * moved.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nn.functional.normalize(prototypes.detach(), dim=1)
