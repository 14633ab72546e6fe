"""A scene with classes on some of its pixels: what few-shot classification is judged on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Scene

STORED = "stored"  # the name of the split that comes with a scene: official where its publishers drew it

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)  # known by identity: methods keep what they computed of a scene
class LabelledScene:
    """A scene and what is known of its ground.

    Args:
        scene: the modalities.
        labels: int16 (H, W): 0 unlabelled, 1 to K.
        classes: K names; class texts are found by these names.
        splits: by name, masks bool (H, W) of the labelled pixels to train on and to test on.
        groups: int32 (H, W): pixels nearer together than a window are of one place; -1 of none. None: no places known.
        rgb: uint8 (H, W, 3) of a camera beside the other sensors, for models of photos; None where there is none.

    Raises:
        UsageError: shapes or numbers do not belong together.
    """

    scene: Scene
    labels: npt.NDArray[np.int16]
    classes: tuple[str, ...]
    splits: dict[str, tuple[Mask, Mask]] = field(default_factory=dict)
    groups: npt.NDArray[np.int32] | None = None
    rgb: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        name, grid = self.scene.name, self.scene.tile.shape
        others: list[npt.NDArray[Any]] = [self.labels, *(mask for split in self.splits.values() for mask in split)]
        others += [array for array in (self.groups, self.rgb) if array is not None]
        others += [array for m in self.scene.modalities for array in (m.values, m.valid)]
        for array in others:
            if array.shape[:2] != grid:
                raise UsageError(f"{name}: an array of {array.shape[:2]} pixels beside a scene of {grid}")
        if self.labels.min(initial=0) < 0 or self.labels.max(initial=0) > len(self.classes):
            raise UsageError(f"{name}: labels reach to {self.labels.max()}; there are {len(self.classes)} classes")
        for split, (train, test) in self.splits.items():
            if (train & test).any() or ((train | test) & (self.labels == 0)).any():
                raise UsageError(f"{name}: the split {split!r} holds a pixel twice or without a label")

    @property
    def carries(self) -> Mask:
        """Pixels of a tile on which every modality has data: bool (H, W)."""
        carries: Mask = self.scene.tile >= 0
        for modality in self.scene.modalities:
            carries = carries & modality.valid
        return carries
