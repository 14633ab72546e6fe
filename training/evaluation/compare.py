"""Two records side by side on the same photos; records of different protocols are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agriclip_edge.errors import UsageError

from .metrics import Shares, interval, mean_per_class, resample
from .protocol import ZERO_SHOT, Protocol, differences
from .record import Evaluation, TaskRecord
from .vectors import EvaluationError

MEAN = "mean over tasks"


@dataclass(frozen=True)
class Difference:
    """One task's, or the mean's, mean per-class accuracy in both records, as shares.

    Attributes:
        task: its name.
        photos: number judged, the same photos in both.
        first: accuracy in the first record.
        second: in the second.
        low: of the paired 95 % bootstrap interval over photos of second - first.
        high: of it.
    """

    task: str
    photos: int
    first: float
    second: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Second less first."""
        return self.second - self.first


def compare(
    first: Evaluation, second: Evaluation, method: str = ZERO_SHOT, vary: Sequence[str] = ("model",)
) -> list[Difference]:
    """What the second model is better or worse by, task by task and in the mean, which is last.

    Args:
        first: the one to start from.
        second: the one to be held against it.
        method: whose figures.
        vary: fields of the protocol that are meant to differ.

    Raises:
        EvaluationError: the protocols differ in another field, which the message names.
        UsageError: a record has no such method, or the protocol no such field.
    """
    unknown = sorted(set(vary) - set(Protocol.__struct_fields__))
    if unknown:
        raise UsageError(f"a protocol has no field {unknown[0]!r}; it has {', '.join(Protocol.__struct_fields__)}")
    found = differences(first.protocol, second.protocol, method, vary)
    if found:
        fields = "; ".join(f"{name}: {a[:16]} and {b[:16]}" for name, (a, b) in found.items())
        raise EvaluationError(f"the records are of different protocols and cannot be compared: {fields}")
    for record in (first, second):
        if method not in record.methods:
            raise UsageError(f"{record.subject} was not judged by {method!r}, but by {', '.join(record.methods)}")
    rows, drawn = [], []
    for row, (one, other) in enumerate(zip(first.tasks, second.tasks)):
        pair = _pair(one, other, method, first.protocol, row)
        if pair is not None:
            rows.append(pair[0])
            drawn.append(pair[1])
    low, high = interval(np.mean(drawn, axis=0))
    means = [float(np.mean([getattr(row, side) for row in rows])) for side in ("first", "second")]
    return [*rows, Difference(MEAN, sum(row.photos for row in rows), means[0], means[1], low, high)]


def _pair(
    one: TaskRecord, other: TaskRecord, method: str, protocol: Protocol, row: int
) -> tuple[Difference, Shares] | None:
    score, held = one.score(method), other.score(method)
    if score is None or held is None:
        return None
    (right, actual), (against, same) = one.judged(score), other.judged(held)
    if one.task != other.task or not np.array_equal(actual, same):
        raise EvaluationError(f"{one.task} and {other.task} do not hold the same photos")
    drawn = resample(against - right, actual, protocol.bootstrap, protocol.seed + row)
    low, high = interval(drawn)
    first, second = mean_per_class(right, actual), mean_per_class(against, actual)
    return Difference(one.task, len(actual), first, second, low, high), drawn
