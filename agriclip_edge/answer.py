"""Cosines become an answer: the best labels with their confidence, in the contract of ``docs/answer.md``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .labels.pack import Label

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Prediction:
    """One label that a photo may show.

    Attributes:
        label: the label's words.
        parent: the broader label that it belongs to; empty when it has none.
        confidence: probability in [0, 1] among the labels asked for: softmax of cosine / temperature.
        cosine: cosine similarity of photo and label in [-1, 1].

    Example:
        >>> Prediction("cow", "animal", confidence=0.97, cosine=0.5).label
        'cow'
    """

    label: str
    parent: str
    confidence: float
    cosine: float


@dataclass(frozen=True)
class Timing:
    """Milliseconds that one photo spent in each stage, by the wall clock.

    Attributes:
        decode: from the file to RGB.
        preprocess: from RGB to the encoder's input.
        encode: the image encoder; in a batch, the photo's share.
        rank: from the embedding to the predictions.

    Example:
        >>> Timing(decode=40.0, preprocess=2.0, encode=4.0).total
        46.0
    """

    decode: float = 0.0
    preprocess: float = 0.0
    encode: float = 0.0
    rank: float = 0.0

    @property
    def total(self) -> float:
        """All stages together."""
        return self.decode + self.preprocess + self.encode + self.rank


@dataclass(frozen=True)
class Answer:
    """What one photo shows.

    Attributes:
        path: the photo's path as it was given; None for pixels and bytes.
        predictions: best first; empty when there is an error or nothing reaches the least confidence.
        error: why the photo could not be used, in one line; None when it could.
        timing_ms: milliseconds by stage.
        runtime: what ran the image encoder (``onnxruntime``, ``tensorrt``); None when nothing did.
        note: why a faster runtime of this machine was passed over, in one line; None when none was.

    Example:
        >>> Answer("leaf.jpg", (Prediction("rust", "bean leaf", 0.8, 0.4), Prediction("blight", "", 0.2, 0.3))).best
        Prediction(label='rust', parent='bean leaf', confidence=0.8, cosine=0.4)
    """

    path: str | None
    predictions: tuple[Prediction, ...]
    error: str | None = None
    timing_ms: Timing = Timing()
    runtime: str | None = None
    note: str | None = None

    @property
    def best(self) -> Prediction | None:
        """The first prediction, or None when there is none."""
        return self.predictions[0] if self.predictions else None

    def to_record(self) -> dict[str, Any]:
        """The answer as the JSON record of ``docs/answer.md``.

        Example:
            >>> Answer("a.jpg", (Prediction("cow", "animal", 0.9712345678, 0.5),)).to_record()["predictions"]
            [{'label': 'cow', 'parent': 'animal', 'confidence': 0.971235, 'cosine': 0.5}]
        """
        predictions = [
            {
                "label": prediction.label,
                "parent": prediction.parent,
                "confidence": round(prediction.confidence, 6),
                "cosine": round(prediction.cosine, 6),
            }
            for prediction in self.predictions
        ]
        record = {"path": self.path, "predictions": predictions, "error": self.error}
        return record if self.note is None else {**record, "note": self.note}


def rank(
    cosines: npt.NDArray[np.float32],
    labels: Sequence[Label],
    *,
    temperature: float,
    top_k: int = 5,
    min_confidence: float = 0.0,
) -> tuple[Prediction, ...]:
    """The best labels of one photo.

    Args:
        cosines: float (C,), cosine of the photo to each label.
        labels: the C labels.
        temperature: softmax temperature T; confidence is softmax(cosine / T) over all C labels.
        top_k: at most so many predictions.
        min_confidence: leave out predictions under this.

    Returns:
        predictions, best first; of equal cosines the earlier label comes first.

    Example:
        >>> rank(np.array([0.1, 0.5], np.float32), [Label("rust"), Label("blight")], temperature=0.1)[0].label
        'blight'
    """
    logits = cosines.astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    confidence = weights / weights.sum()
    order = np.argsort(-cosines, kind="stable")[:top_k]
    return tuple(
        Prediction(labels[index].text, labels[index].parent, float(confidence[index]), float(cosines[index]))
        for index in order
        if confidence[index] >= min_confidence
    )
