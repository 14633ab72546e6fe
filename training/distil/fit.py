"""One training of a student on stored views: what `training.fit.Fit` does, with teachers beside the labels."""

from __future__ import annotations

import copy
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from agriclip_edge.imaging.decode import RGB

from ..checkpoint import prefixed, unprefixed
from ..data import Collection, Indices, Photos
from ..fit import Fit, Progress, embed_all
from ..image_tower import ImageTower
from .config import DistilConfig
from .losses import Projections, affinity_loss, feature_loss, interactive_loss
from .quantise import plain, prepare
from .store import Reinforced, Texts
from .views import render, shrink

_START_PHOTOS = 4096  # enough for a closed-form start


class DistilFit(Fit):
    """A student under training.

    Its projections into spaces of other text encoders learn beside it and are left behind.
    """

    def __init__(
        self, config: DistilConfig, tower: ImageTower, stored: Reinforced, collection: Collection, photos: Photos
    ) -> None:
        """Begin a training.

        Args:
            config: the recipe.
            tower: the student; changed.
            stored: what teachers say of the photos, photo by photo.
            collection: the tasks that the photos belong to.
            photos: to train on.
        """
        self._recipe = config
        self._stored = stored
        teachers, own = stored.header.teachers, stored.header.space
        dims = {teacher.space: teacher.dim for teacher in teachers if teacher.space not in (own, "")}
        self.projections = Projections(tower.dim, dims, config.seed)
        self._offset = np.random.default_rng((config.seed, len(photos))).integers(0, _views(stored), len(photos))
        self._sums: dict[str, float] = defaultdict(float)
        self._exact = copy.deepcopy(tower)
        if config.quantisation is not None:
            prepare(tower, config.quantisation)
        super().__init__(config, tower, stored.texts[own].sets, collection, photos)

    def start(self, *, fresh: bool) -> None:
        """As `Fit.start`; what is to say how photos look begins in closed form too, where it says nothing yet."""
        if self.tower.looks:
            self._start_looks()
        super().start(fresh=fresh)

    def run_epoch(self, progress: Progress | None = None) -> float:
        """Train for one epoch and return its mean loss; `terms` then has the mean of each term."""
        self._sums.clear()
        return super().run_epoch(progress)

    def terms(self) -> dict[str, float]:
        """Mean of each term over the last epoch, before its weight."""
        return {name: total / self.steps_per_epoch for name, total in self._sums.items()}

    def model(self) -> ImageTower:
        """As `Fit.model`; what was rounded in training is exact again."""
        model = copy.deepcopy(self._exact)
        model.load_state_dict(plain(super().model()))
        return model.eval()

    def state(self) -> dict[str, Tensor]:
        """As `Fit.state`."""
        return {**super().state(), **prefixed("projections", self.projections.state_dict())}

    def restore(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """As `Fit.restore`."""
        super().restore(tensors, epoch)
        self.projections.load_state_dict(unprefixed("projections", tensors))

    def view_of(self, photos: Indices) -> Indices:
        """Number of the view that this epoch shows of each photo: they take turns."""
        return (self._offset[photos] + self.epoch) % _views(self._stored)

    def _groups(self) -> list[dict[str, object]]:
        maps = {"params": list(self.projections.parameters()), "lr": self.config.head_rate, "weight_decay": 0.0}
        return [*super()._groups(), *([maps] if maps["params"] else [])]

    def _view(self, index: int, size: int, generator: np.random.Generator) -> RGB:
        view = self._stored.view(index, int(self.view_of(np.array([index]))[0]))
        return shrink(render(self._photos.rgb[index], view, self._stored.header.config.size), size)

    def _loss(self, step: int, vectors: Tensor, chosen: Indices) -> Tensor:
        weights = self._recipe.teach
        found: dict[str, Tensor] = {}
        if weights.task:
            found["task"] = super()._loss(step, vectors, chosen)
        if self.tower.looks and weights.looks:
            found["looks"] = feature_loss(self.tower.looks_part(vectors), self._looks_of(chosen))
        for name, value in self._taught(step, self.tower.text_part(vectors), chosen).items():
            found[name] = value
        for name, value in found.items():
            self._sums[name] += float(value.detach())
        terms = [getattr(weights, name) * value for name, value in found.items()]
        return torch.stack(terms).sum()

    def _taught(self, step: int, vectors: Tensor, chosen: Indices) -> dict[str, Tensor]:
        """The terms of the teachers, each the mean over them."""
        weights, recipe, stored = self._recipe.teach, self._recipe, self._stored
        rows, label = torch.from_numpy(chosen), torch.from_numpy(self._photos.label[chosen])
        shown = torch.from_numpy(self.view_of(chosen))
        own = stored.header.space
        by_term: dict[str, list[Tensor]] = defaultdict(list)
        for number, teacher in enumerate(stored.header.teachers):
            if not teacher.space:
                continue
            known, whole = stored.views[number][rows, shown].float(), stored.wholes[number][rows].float()
            told = self.projections(vectors, teacher.space)
            if weights.feature:
                by_term["feature"].append(feature_loss(told, known))
            if weights.whole:
                by_term["whole"].append(feature_loss(told, whole))
            if weights.affinity:
                # Each side in its own space: affinities can be compared where vectors cannot.
                student = vectors @ _vocabulary(stored.texts[own], step).T
                known_affinity = known @ _vocabulary(stored.texts[teacher.space], step).T
                scale = recipe.affinity_scale
                by_term["affinity"].append(affinity_loss(scale * student, scale * known_affinity))
            if weights.interactive:
                texts = stored.texts[teacher.space].sets
                set_ = texts[step % len(texts)]
                by_term["interactive"].append(interactive_loss(told, known, set_, label, recipe.interactive_scale))
        return {name: torch.stack(values).mean() for name, values in by_term.items()}

    def _looks_of(self, chosen: Indices) -> Tensor:
        """What the teacher without words says of the views that this epoch shows: float32 (B, L)."""
        rows, shown = torch.from_numpy(chosen), torch.from_numpy(self.view_of(chosen))
        return self._stored.views[self._wordless()][rows, shown].float()

    def _wordless(self) -> int:
        return [teacher.space for teacher in self._stored.header.teachers].index("")

    def _start_looks(self) -> None:
        """Set the rows of the head that say how photos look to the ridge solution, where they are still zero."""
        rows = slice(self.tower.dim, self.tower.dim + self.tower.looks)
        if self.tower.head.weight[rows].any():
            return
        some = np.random.default_rng(self.config.seed).permutation(len(self._photos))[:_START_PHOTOS]
        self.tower.eval()
        pictures = [self._photos.rgb[int(index)] for index in some]
        features = embed_all(self.tower.features, pictures, min(self.config.sizes))
        targets = self._stored.wholes[self._wordless()][torch.from_numpy(some)].float()
        self._begin_rows(rows, features, targets, torch.ones(len(some)))


def _vocabulary(texts: Texts, step: int) -> Tensor:
    """The labels in this step's words, and the general classes: float32 (L + G, D)."""
    return torch.cat([texts.sets[step % len(texts.sets)], texts.general])


def _views(stored: Reinforced) -> int:
    return stored.header.config.views
