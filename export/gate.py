"""The gate: a variant enters a bundle only if it stays within its budget of lost accuracy and gains its speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import tomllib

from agriclip_edge.errors import UsageError
from training.answers import Trust

from .budget import BUDGET
from .parity import GateError

Vectors = npt.NDArray[np.float32]  # (N, D), of length 1
Squares = npt.NDArray[np.uint8]  # preprocessed photos (N, S, S, 3)
Encode = Callable[[Squares], Vectors]
Input = TypeVar("Input")
Accuracies = Mapping[str, float]  # mean per-class accuracy by task, 0 to 1

_ROUNDS = 160  # runs of one photo
_TURN = 16  # runs before it is the other one's turn
_WARM_UP = 4  # of these
_OF_PACKS = (
    "calibration_error",
    "unknown_auroc",
)  # judged where it is known what photos show, by packs of a training run


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a variant may lose (`budget.toml`); None is not asked."""

    mean_cosine: float
    p1_cosine: float
    drop_mean: float
    drop_task: float
    least_cosine: float | None = None
    speed: float | None = None
    calibration_error: float | None = None
    unknown_auroc: float | None = None

    def limits(self) -> dict[str, float]:
        """What a device may measure of the variant, as the manifest's ``limits``."""
        return {name: float(getattr(self, name)) for name in ("mean_cosine", "p1_cosine", "drop_mean", "drop_task")}


@dataclass(frozen=True)
class Figures:
    """What was measured of a variant on photos that were never used to calibrate it.

    Attributes:
        mean_cosine: of its embeddings to the reference's.
        p1_cosine: the first percentile of these cosines.
        least_cosine: the smallest.
        drops: loss of each task in points of mean per-class accuracy; negative for a gain.
        accuracy: mean over tasks of mean per-class accuracy on photos as they are, 0 to 1.
        speed: the reference's time over the variant's, batch 1; None when it was not measured.
        calibration_error: rise of the packs' mean expected calibration error, 0 to 1; None when it was not measured.
        unknown_auroc: fall of their mean AUROC between own and other photos; None when it was not measured.
        emulated: ran by another runtime, or on another kind of processor, than the one that it is meant for.
    """

    mean_cosine: float
    p1_cosine: float
    least_cosine: float
    drops: Mapping[str, float]
    accuracy: float = 0.0
    speed: float | None = None
    emulated: bool = False
    calibration_error: float | None = None
    unknown_auroc: float | None = None

    @property
    def drop_mean(self) -> float:
        """Loss of the mean over tasks, in points."""
        return float(np.mean(list(self.drops.values())))

    @property
    def worst_task(self) -> str:
        """The task that loses most."""
        return max(self.drops, key=lambda task: self.drops[task])

    @property
    def drop_task(self) -> float:
        """Loss of the task that loses most, in points."""
        return self.drops[self.worst_task]

    def to_manifest(self) -> dict[str, float]:
        """The figures as the manifest's ``figures`` of a variant: see ``docs/bundle-format.md``."""
        kept = {"mean_cosine": 4, "p1_cosine": 4, "least_cosine": 4, "drop_mean": 2, "drop_task": 2, "accuracy": 4}
        figures = {name: round(float(getattr(self, name)), digits) for name, digits in kept.items()}
        for name in ("calibration_error", "unknown_auroc"):
            value = getattr(self, name)
            figures |= {name: round(float(value), 4) + 0.0} if value is not None else {}
        figures |= {"emulated": 1.0} if self.emulated else {}
        return figures | {f"drop.{task}": round(drop, 2) + 0.0 for task, drop in self.drops.items()}


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
    *,
    plain: Accuracies | None = None,
    speed: float | None = None,
    emulated: bool = False,
    trust: tuple[Trust, Trust] | None = None,
) -> Figures:
    """Figures of a variant.

    Args:
        reference: embeddings by the float32 encoder, (N, D).
        vectors: embeddings of the same photos by the variant, (N, D).
        before: accuracy by task with the reference's.
        after: accuracy by task with the variant's; the same tasks.
        plain: accuracy by task with the variant's on photos as they are, where ``after`` is over several views.
        speed: the reference's time over the variant's.
        emulated: see `Figures`.
        trust: how far answers can be trusted with the reference's and with the variant's.
    """
    cosines = (reference.astype(np.float64) * vectors).sum(axis=1)
    return Figures(
        mean_cosine=float(cosines.mean()),
        p1_cosine=float(np.percentile(cosines, 1)),
        least_cosine=float(cosines.min()),
        drops={task: 100 * (before[task] - after[task]) for task in before},
        accuracy=float(np.mean(list((plain or after).values()))) if after else 0.0,
        speed=speed,
        emulated=emulated,
        calibration_error=trust[1].mean("error") - trust[0].mean("error") if trust is not None else None,
        unknown_auroc=trust[0].mean("auroc") - trust[1].mean("auroc") if trust is not None else None,
    )


def failures(figures: Figures, budget: Budget) -> list[str]:
    """Each line of the budget that the figures break, in words; NaN breaks any.

    An emulated variant's speed says nothing, and is not asked.
    """
    broken = []
    for name, sense in (
        ("mean_cosine", 1),
        ("p1_cosine", 1),
        ("least_cosine", 1),
        ("drop_mean", -1),
        ("calibration_error", -1),
        ("unknown_auroc", -1),
        ("speed", 1),
    ):
        limit, found = getattr(budget, name), getattr(figures, name)
        if limit is None or (name == "speed" and figures.emulated) or (name in _OF_PACKS and found is None):
            continue
        if found is None or not sense * found >= sense * limit:
            said = "not measured" if found is None else f"{found:.4f}"
            broken.append(f"{name} is {said}; accepted: {'at least' if sense > 0 else 'at most'} {limit}")
    for task, drop in figures.drops.items():
        if not drop <= budget.drop_task:
            broken.append(f"drop_task is {drop:.4f} ({task}); accepted: at most {budget.drop_task}")
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


def speed_ratio(
    reference: Callable[[Input], object], variant: Callable[[Input], object], photo: Input, rounds: int = _ROUNDS
) -> float:
    """How many times faster a variant is, one photo (1, S, S, 3) or tile at a time: median over turns of their medians.

    Both take turns of some runs, whose first do not count: the other runtime's threads still spin then.
    """
    ratios = []
    for _ in range(max(1, rounds // _TURN)):
        medians = []
        for encode in (reference, variant):
            times = []
            for _ in range(_TURN):
                start = time.perf_counter()
                encode(photo)
                times.append(time.perf_counter() - start)
            medians.append(float(np.median(times[_WARM_UP:] or times)))
        ratios.append(medians[0] / medians[1])
    return float(np.median(ratios))
