"""Binds the encoder's features to class texts by few labelled pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Scene

from .config import BindingConfig, ModalityRecord
from .network import Encoder
from .spectrum import prepared

_TINY = 1e-6


class Space(nn.Module):
    """Features of windows to unit vectors: a linear map a modality, fitted on pixels without labels."""

    def __init__(self, widths: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.maps = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """Unit vectors float32 (N, Q) of features float32 (N, F); a modality of zeros is one that is missing."""
        total = torch.zeros(())
        for transform, own in zip(self.maps.values(), features.split(list(self.widths.values()), dim=1)):
            total = total + transform(own) * (own != 0).any(dim=1, keepdim=True)
        return nn.functional.normalize(total, dim=1)


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
        dim = next(iter(space.maps.values())).out_features
        self.encoder, self.space = encoder.eval().requires_grad_(False), space
        self.map = nn.Linear(texts.shape[1], dim).requires_grad_(False)
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
        return self.space(self.encoder(windows, valid))


def bind(vectors: Tensor, labels: Tensor, texts: Tensor, config: BindingConfig, *, language: bool = True) -> nn.Linear:
    """The map from texts to prototypes: in closed form, then by cross-entropy over all classes.

    The closed form is ridge regression from the texts of classes with shots to the mean of their shots: prototypes
    are drawn towards those of classes that are described alike, and a class without any shot gets one as well.

    Args:
        vectors: unit vectors float32 (n, Q) of the shots.
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
    means = torch.stack([vectors[labels == label].mean(dim=0) for label in there])
    middle = means.mean(dim=0)
    known = texts[there].double()
    kernel = known @ known.T
    strength = (config.shrinkage if language else _TINY) * float(kernel.diagonal().mean())
    kernel.diagonal().add_(strength)
    weights = known.T @ torch.linalg.solve(kernel, (means - middle).double())  # (D, Q)
    mapped = nn.Linear(texts.shape[1], vectors.shape[1])
    with torch.no_grad():
        mapped.weight.copy_(weights.T)
        mapped.bias.copy_(middle)
    if config.steps and len(there) > 1:
        _refine(mapped, vectors, torch.searchsorted(there, labels), texts[there], config)
    return mapped


def _refine(mapped: nn.Linear, vectors: Tensor, labels: Tensor, texts: Tensor, config: BindingConfig) -> None:
    """Cross-entropy over the prototypes, each class with the same weight, held near the closed form."""
    count = torch.bincount(labels, minlength=len(texts)).float()
    weights = (1 / count)[labels] / len(texts)
    start = (texts @ mapped.weight.T + mapped.bias).detach()
    # With more shots than classes a map moves prototypes freely, so those are what is fitted, and the map follows.
    prototypes = start.clone().requires_grad_(True)
    length = start.norm(dim=1, keepdim=True).clamp(min=_TINY)
    optimizer = torch.optim.Adam([prototypes], lr=config.rate * float(length.mean()))
    for _ in range(config.steps):
        logits = config.logit_scale * vectors @ nn.functional.normalize(prototypes, dim=1).T
        loss = (nn.functional.cross_entropy(logits, labels, reduction="none") * weights).sum()
        moved = ((prototypes - start) / length).square().sum(dim=1)
        loss = loss + (config.keep * moved / count).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        affine = torch.cat([texts, torch.ones(len(texts), 1)], dim=1).double()
        change = torch.linalg.lstsq(affine, (prototypes - start).double(), driver="gelsd").solution.float()
        mapped.weight.add_(change[:-1].T)
        mapped.bias.add_(change[-1])
