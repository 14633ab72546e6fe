"""Cosines become an answer: the best labels with their confidence, in the contract of ``docs/answer.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

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
        confidence: probability in [0, 1] among the labels asked for: softmax of (cosine - offset) / temperature.
        cosine: cosine similarity of photo and label in [-1, 1].

    Example:
        >>> Prediction("cow", "animal", confidence=0.97, cosine=0.5).label
        'cow'
    """

    label: str
    parent: str
    confidence: float
    cosine: float


Kind = Literal["label", "parent", "none"]
Reason = Literal["out-of-distribution", "tie", "too-dark", "too-bright", "blurred"]

THRESHOLD = 0.5  # confidence; under it an answer is likelier wrong than right
_PARENT = 0.8  # summed confidence that a broader label needs: it says less, so that it must be surer
_SHARERS = 100  # labels that can share the probability: those after the hundredth best have under a hundredth each


@dataclass(frozen=True)
class Verdict:
    """What to make of the predictions: one label, its broader label, or none of them.

    Attributes:
        kind: ``label``, ``parent`` (which of its labels is unsure) or ``none``.
        label: the words of the label or the broader label; None for none.
        confidence: probability of the label, or the sum over the broader label's; for ``none`` that of the best label.
        reason: ``out-of-distribution``, ``tie``, ``too-dark``, ``too-bright`` or ``blurred``; None for a label.
        text: the answer in words.

    Example:
        >>> Verdict("parent", "bean leaf", 0.93, "tie", "bean leaf, disease unsure").text
        'bean leaf, disease unsure'
    """

    kind: Kind
    label: str | None
    confidence: float
    reason: Reason | None
    text: str

    def to_record(self) -> dict[str, Any]:
        """The field ``answer`` of the JSON record."""
        return {
            "kind": self.kind,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "reason": self.reason,
            "text": self.text,
        }


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
        verdict: what to make of the predictions; None when there is an error.

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
    verdict: Verdict | None = None

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
        answer = self.verdict.to_record() if self.verdict is not None else None
        record = {"path": self.path, "predictions": predictions, "answer": answer, "error": self.error}
        return record if self.note is None else {**record, "note": self.note}


def rank(
    cosines: npt.NDArray[np.float32],
    labels: Sequence[Label],
    *,
    temperature: float,
    top_k: int = 5,
    min_confidence: float = 0.0,
    offsets: npt.NDArray[np.float32] | float = 0.0,
) -> tuple[Prediction, ...]:
    """The best labels of one photo.

    Args:
        cosines: float (C,), cosine of the photo to each label.
        labels: the C labels.
        temperature: softmax temperature T; confidence is softmax((cosine - offset) / T) over all C labels.
        top_k: at most so many predictions.
        min_confidence: leave out predictions under this.
        offsets: what labels score by the place alone (`LabelPack.offsets`), float (C,).

    Returns:
        predictions, best first; of equal scores the earlier label comes first.

    Example:
        >>> rank(np.array([0.1, 0.5], np.float32), [Label("rust"), Label("blight")], temperature=0.1)[0].label
        'blight'
    """
    scores = cosines - offsets
    confidence = _softmax(scores, temperature)
    order = np.argsort(-scores, kind="stable")[:top_k]
    return tuple(
        Prediction(labels[index].text, labels[index].parent, float(confidence[index]), float(cosines[index]))
        for index in order
        if confidence[index] >= min_confidence
    )


def decide(
    cosines: npt.NDArray[np.float32],
    labels: Sequence[Label],
    *,
    temperature: float,
    threshold: float = THRESHOLD,
    unknown: float | None = None,
    title: str = "",
    complaint: Callable[[], Reason | None] = lambda: None,
    offsets: npt.NDArray[np.float32] | float = 0.0,
) -> Verdict:
    """Say one label, the broader label of those that share the probability, or none of these.

    A photo whose nearest label is farther than ``unknown`` shows none of them, whatever the softmax says of labels
    among themselves. Of the scores that need nothing but the cosines (maximum, softmax, energy) the maximum tells
    photos of other packs apart best (``docs/answer.md``).

    Args:
        cosines: float (C,), cosine of the photo to each label.
        labels: the C labels.
        temperature: as in `rank`.
        threshold: least confidence of a label.
        unknown: least cosine of a photo that shows one of the labels; None takes every photo for one that does.
        title: the pack's; a broader label at its beginning says what is unsure of it.
        complaint: what is wrong with the photo itself; asked only when the answer is unsure, and then the reason.
        offsets: as in `rank`; ``unknown`` is held against the cosine itself, of whichever label is nearest.

    Example:
        >>> pack = [Label("bean rust", "bean leaf"), Label("bean spot", "bean leaf"), Label("a cow")]
        >>> cosines = np.array([0.50, 0.50, 0.1], np.float32)
        >>> decide(cosines, pack, temperature=0.05, threshold=0.6, title="bean leaf disease").text
        'bean leaf, disease unsure'
        >>> decide(cosines, pack, temperature=0.05, unknown=0.6).reason
        'out-of-distribution'
    """
    scores = cosines - offsets
    confidence = _softmax(scores, temperature)
    best = int(np.argmax(scores))
    sure = float(confidence[best])
    if unknown is not None and cosines.max() < unknown:
        return _none(sure, complaint() or "out-of-distribution")
    if sure >= threshold:
        return Verdict("label", labels[best].text, sure, None, labels[best].text)
    reason = complaint() or "tie"
    sums: dict[str, float] = {}
    for index in np.argsort(-scores, kind="stable")[:_SHARERS]:
        if labels[index].parent:
            sums[labels[index].parent] = sums.get(labels[index].parent, 0.0) + float(confidence[index])
    parent = max(sums, key=lambda name: sums[name], default="")
    if parent and sums[parent] >= max(_PARENT, threshold):
        text = f"{parent}, {_aspect(parent, title)} unsure"
        return Verdict("parent", parent, min(sums[parent], 1.0), reason, text)
    return _none(sure, reason)


def _none(confidence: float, reason: Reason) -> Verdict:
    return Verdict("none", None, confidence, reason, f"none of these ({reason.replace('-', ' ')})")


def _aspect(parent: str, title: str) -> str:
    """What a pack tells of a broader label: ``disease`` for ``bean leaf disease``; merged packs have several titles."""
    for part in title.split(", "):
        if part.startswith(f"{parent} "):
            return part[len(parent) + 1 :].partition(" (")[0]
    return "which one"


def _softmax(scores: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    logits = scores.astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares
