"""What words say of looks: the second part of a text's vector, from classes whose words are near."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Vectors = npt.NDArray[np.float32]  # (N, D), of length 1

# Leaving out each of 33 tasks with its labels (training/looks.py), accuracies were within a point of each other for
# temperatures of .05 to .2 and .03 to .05, for .25 to 1 of the second kernel, and for shares of a fifth to a half; the
# smallest of these costs least where labels were trained on.
_LABELS, _THINGS = 0.1, 0.05  # temperatures of the kernels over cosines
_OF_THINGS = 0.5
WORDS_SHARE = 0.2  # of a text vector's squared length


class Words(nn.Module):
    """Kernel regression (Nadaraya 1964, Watson 1964) from a text's vector to how what it names looks."""

    def __init__(self, labels: Tensor, seen: Tensor, things: Tensor, shown: Tensor) -> None:
        """Keep what is known.

        Args:
            labels: unit vectors of K labels, float32 (K, D).
            seen: unit vectors of how they look, float32 (K, L).
            things: unit vectors of the names of G things in general, float32 (G, D); G may be 0.
            shown: unit vectors of how these look, float32 (G, L).
        """
        super().__init__()
        self.blank = 0  # zeros T after both parts, for a photo's part that no text speaks of (training/texture.py)
        for name, tensor in (("labels", labels), ("seen", seen), ("things", things), ("shown", shown)):
            self.register_buffer(name, tensor.clone())
        self.register_buffer("centre", torch.zeros(seen.shape[1]))
        self.centre: Tensor = self._said(labels).mean(dim=0) if len(labels) else self.centre

    @classmethod
    def silent(cls, dim: int) -> Words:
        """Words that say nothing of looks, for an encoder of D numbers that only has a texture beside them."""
        nothing = torch.zeros(0, 0)
        return cls(torch.zeros(0, dim), nothing, torch.zeros(0, dim), nothing)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.get_buffer("labels").shape[1])

    @property
    def looks(self) -> int:
        """L."""
        return int(self.get_buffer("seen").shape[1])

    @property
    def width(self) -> int:
        """Numbers of a vector: D + L + T."""
        return self.dim + self.looks + self.blank

    def forward(self, texts: Tensor) -> Tensor:
        """Unit vectors float32 (N, D + L + T) of texts' unit vectors float32 (N, D)."""
        return self._both(texts, texts)

    def of(self, texts: Vectors) -> Vectors:
        """As `forward`, in NumPy."""
        with torch.inference_mode():
            vectors: Vectors = self(torch.from_numpy(texts)).numpy()
        return vectors

    def of_symptoms(self, names: Vectors, seen: Vectors, share: float) -> Vectors:
        """What facts say is seen of classes, with how classes of these names and facts look: float32 (N, D + L + T).

        Args:
            names: unit vectors of the classes' names, float32 (N, D).
            seen: unit vectors of what facts say is seen of them, float32 (N, D).
            share: of these in a label.
        """
        with torch.inference_mode():
            words, codes = torch.from_numpy(names), torch.from_numpy(seen)
            label = nn.functional.normalize((1 - share) * words + share * codes, dim=1)
            vectors: Vectors = self._both(codes, label).numpy()
        return vectors

    def _both(self, texts: Tensor, asked: Tensor) -> Tensor:
        both = texts
        if self.looks:
            looks = nn.functional.normalize(self._said(asked) - self.centre, dim=-1)
            both = torch.cat([math.sqrt(1 - WORDS_SHARE) * texts, math.sqrt(WORDS_SHARE) * looks], dim=-1)
        return nn.functional.pad(both, (0, self.blank)) if self.blank else both

    def _said(self, texts: Tensor) -> Tensor:
        said = (texts @ self.get_buffer("labels").T / _LABELS).softmax(dim=-1) @ self.get_buffer("seen")
        things = self.get_buffer("things")
        if len(things):
            said = said + _OF_THINGS * (texts @ things.T / _THINGS).softmax(dim=-1) @ self.get_buffer("shown")
        return said
