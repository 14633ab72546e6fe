"""Labels become embeddings: every wording of a label through every template, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import LabelError
from .pack import Label

if TYPE_CHECKING:
    import numpy.typing as npt


class Embedder(Protocol):
    """Anything that embeds prompts (`agriclip_edge.text.encoder.TextEncoder`)."""

    def embed(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 (N, D) of N prompts."""


def check_templates(templates: Sequence[str]) -> None:
    """Refuse templates that a label cannot be put into.

    Raises:
        LabelError: none at all, or one without exactly one ``{}``.
    """
    if not templates:
        raise LabelError("no template; accepted: words with one {} for the label")
    for template in templates:
        if template.count("{}") != 1:
            raise LabelError(f"template {template[:80]!r} holds {template.count('{}')} times {{}}; accepted: once")


def embed_labels(labels: Sequence[Label], templates: Sequence[str], encoder: Embedder) -> npt.NDArray[np.float32]:
    """Embed labels as the mean of their prompts' unit vectors, brought back to length 1.

    Args:
        labels: C labels; a label's synonyms are further wordings of it.
        templates: prompt templates with one ``{}`` each.
        encoder: embeds the prompts.

    Returns:
        unit vectors, float32 (C, D).

    Raises:
        LabelError: a template has no ``{}``, or a prompt is too long for the encoder.
    """
    check_templates(templates)
    prompts: list[str] = []
    owners: list[int] = []
    for row, label in enumerate(labels):
        for wording in (label.text, *label.synonyms):
            prompts.extend(template.replace("{}", wording) for template in templates)
            owners.extend([row] * len(templates))
    vectors = encoder.embed(prompts)
    sums = np.zeros((len(labels), vectors.shape[1]), np.float64)
    np.add.at(sums, owners, vectors)
    units: npt.NDArray[np.float32] = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return units
