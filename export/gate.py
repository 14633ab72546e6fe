"""The gate: a variant enters a bundle only if it stays within its budget of lost accuracy and gains its speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import tomllib

from agriclip_edge.errors import UsageError

from .budget import BUDGET
from .parity import GateError

Vectors = npt.NDArray[np.float32]  # (N, D), of length 1
Squares = npt.NDArray[np.uint8]  # preprocessed photos (N, S, S, 3)
Encode = Callable[[Squares], Vectors]
Accuracies = Mapping[str, float]  # mean per-class accuracy by task, 0 to 1

_ROUNDS = 60  # interleaved runs of one photo; the median ratio moves by some per cent between measurements
_WARM_UP = 5


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a variant may lose (`budget.toml`); None is not asked."""

    mean_cosine: float
    p1_cosine: float
    drop_mean: float
    drop_task: float
    speed: float | None = None
    calibration_error: float | None = None
    unknown_auroc: float | None = None


@dataclass(frozen=True)
class Figures:
    """What was measured of a variant on photos that were never used to calibrate it.

    Attributes:
        mean_cosine: of its embeddings to the reference's.
        p1_cosine: the first percentile of these cosines.
        least_cosine: the smallest.
        drop_mean: loss of the mean over tasks, in points; negative for a gain.
        drop_task: loss of the task that loses most, in points.
        worst_task: which that is.
        accuracy: mean over tasks of mean per-class accuracy, 0 to 1.
        speed: the reference's time over the variant's, batch 1; None when it was not measured.
    """

    mean_cosine: float
    p1_cosine: float
    least_cosine: float
    drop_mean: float
    drop_task: float
    worst_task: str
    accuracy: float = 0.0
    speed: float | None = None

    def to_manifest(self) -> dict[str, float]:
        """The figures as the manifest's ``figures`` of a variant."""
        kept = {"mean_cosine": 4, "p1_cosine": 4, "least_cosine": 4, "drop_mean": 2, "drop_task": 2, "accuracy": 4}
        return {name: round(float(getattr(self, name)), digits) for name, digits in kept.items()}


def read_budget(kind: str, path: Path = BUDGET) -> Budget:
    """The budget of one kind of variant.

    Raises:
        UsageError: the file is missing or broken, or has no such kind.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        budgets = msgspec.convert(document, dict[str, Budget])
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}") from None
    if kind not in budgets:
        raise UsageError(f"{path} has no budget for {kind!r}; it has: {', '.join(budgets)}")
    return budgets[kind]


def measure(
    reference: Vectors,
    vectors: Vectors,
    before: Accuracies,
    after: Accuracies,
    speed: float | None = None,
) -> Figures:
    """Figures of a variant.

    Args:
        reference: embeddings by the float32 encoder, (N, D).
        vectors: embeddings of the same photos by the variant, (N, D).
        before: accuracy by task with the reference's.
        after: accuracy by task with the variant's; the same tasks.
        speed: the reference's time over the variant's.
    """
    cosines = (reference.astype(np.float64) * vectors).sum(axis=1)
    drops = {task: 100 * (before[task] - after[task]) for task in before}
    worst = max(drops, key=lambda task: drops[task])
    return Figures(
        mean_cosine=float(cosines.mean()),
        p1_cosine=float(np.percentile(cosines, 1)),
        least_cosine=float(cosines.min()),
        drop_mean=float(np.mean(list(drops.values()))),
        drop_task=drops[worst],
        worst_task=worst,
        accuracy=float(np.mean(list(after.values()))),
        speed=speed,
    )


def failures(figures: Figures, budget: Budget) -> list[str]:
    """Each line of the budget that the figures break, in words; NaN breaks any."""
    broken = []
    for name, sense in (
        ("mean_cosine", 1),
        ("p1_cosine", 1),
        ("drop_mean", -1),
        ("drop_task", -1),
        ("speed", 1),
    ):
        limit, found = getattr(budget, name), getattr(figures, name)
        if limit is None:
            continue
        if found is None or not sense * found >= sense * limit:
            where = f" ({figures.worst_task})" if name == "drop_task" else ""
            said = "not measured" if found is None else f"{found:.4f}{where}"
            broken.append(f"{name} is {said}; accepted: {'at least' if sense > 0 else 'at most'} {limit}")
    return broken


def require(
    what: str,
    figures: Figures,
    budget: Budget,
    blame: Callable[[], Sequence[tuple[str, float]]] | None = None,
) -> None:
    """Let a variant pass or refuse it.

    Args:
        what: the variant, for the message.
        figures: what was measured.
        budget: what is accepted.
        blame: names the layers that lose most, with their signal-to-noise ratio in dB; asked only on a failure.

    Raises:
        GateError: which figures failed, and which layers are to blame.
    """
    broken = failures(figures, budget)
    if not broken:
        return
    layers = "; ".join(f"{name} ({ratio:.1f} dB)" for name, ratio in blame()) if blame is not None else ""
    raise GateError(
        f"{what} does not pass its gate: {'; '.join(broken)}" + (f"; layers to blame: {layers}" if layers else "")
    )


def speed_ratio(reference: Encode, variant: Encode, photo: Squares, rounds: int = _ROUNDS) -> float:
    """How many times faster a variant is, one photo (1, S, S, 3) at a time: median over interleaved runs."""
    for _ in range(_WARM_UP):
        reference(photo)
        variant(photo)
    ratios = []
    for _ in range(rounds):
        start = time.perf_counter()
        reference(photo)
        between = time.perf_counter()
        variant(photo)
        ratios.append((between - start) / (time.perf_counter() - between))
    return float(np.median(ratios))
