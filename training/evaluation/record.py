"""What judging gave, as it is kept: one JSON record with every photo's answer, and the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from .metrics import Indices, Shares
from .protocol import ZERO_SHOT, Protocol

FORMAT = "agriclip-evaluation/1"
ALL, SEEN, UNSEEN = "all", "seen", "unseen"

COLUMNS = (
    *("method", "task", "photos", "left_out", "classes", "chance", "majority", "accuracy", "low", "high", "draws"),
    *("half_width", "top1", "gain", "seen_labels", "note"),
)


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well one task was answered by one method; shares are 0 to 1.

    Attributes:
        method: ``zero-shot``, ``zero-shot-adapted`` (by support photos without their labels), ``knn-K``, ``N-shot``,
            ``text+N-shot``, ``teach-N-shot`` or ``probe``.
        photos: number judged.
        left_out: number not judged, as their label cannot be answered by this method; `note` says why.
        classes: number of labels to choose from.
        chance: mean per-class accuracy of a blind choice among them.
        majority: top-1 of always answering the most frequent label.
        accuracy: mean per-class accuracy, over the labels that have photos; the mean over draws.
        low: of the 95 % bootstrap interval over photos.
        high: of it.
        top1: share of photos answered rightly.
        gain: (accuracy - chance) / (1 - chance).
        by_draw: accuracy of each draw of support photos; one entry where nothing is drawn.
        half_width: of the 95 % interval of the mean over draws; 0 where nothing is drawn.
        right: of each photo given, the share of draws that answered it rightly; None when left out.
        note: what a reader must know.
    """

    method: str
    photos: int
    left_out: int
    classes: int
    chance: float
    majority: float
    accuracy: float
    low: float
    high: float
    top1: float
    gain: float
    by_draw: tuple[float, ...]
    half_width: float
    right: tuple[float | None, ...]
    note: str = ""


class TaskRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task's photos and scores.

    Attributes:
        task: its name.
        labels: C labels.
        seen_labels: how many of them the model was trained on; None when that is not known.
        actual: number of each photo's label.
        confusion: photos by actual (row) and zero-shot answered (column) label, C by C.
        scores: one for each method.
    """

    task: str
    labels: tuple[str, ...]
    seen_labels: int | None
    actual: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    scores: tuple[Score, ...]

    @property
    def seen(self) -> bool:
        """Whether any of its labels was trained on: only what shares no label is called unseen."""
        return bool(self.seen_labels)

    def score(self, method: str) -> Score | None:
        """Its score of one method."""
        return next((score for score in self.scores if score.method == method), None)

    def judged(self, score: Score) -> tuple[Shares, Indices]:
        """Of the photos that a score judged: shares of right answers, float64 (N,), and labels, int64 (N,)."""
        mask = [share is not None for share in score.right]
        right = np.array([share for share in score.right if share is not None], np.float64)
        return right, np.array(self.actual, np.int64)[mask]


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plain means over tasks of one method.

    Attributes:
        group: ``all`` tasks, those with labels ``seen`` in training, or the ``unseen`` others.
        tasks: number of them.

    The others are as in `Score`.
    """

    method: str
    group: str
    tasks: int
    photos: int
    left_out: int
    chance: float
    majority: float
    accuracy: float
    low: float
    high: float
    top1: float
    gain: float
    draws: int
    half_width: float


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model on one set of tasks.

    Attributes:
        format: of this record.
        subject: name of the model, for people.
        tasks_of: name of the collection, or of the tasks.
        prompts: name of the way that labels became prompts.
        protocol: all that the figures depend on.
        protocol_sha256: its hash.
        trained_on: collections that the model is known to have been trained on.
        tasks: one record each.
        means: over tasks, by method and group.
    """

    format: str
    subject: str
    tasks_of: str
    prompts: str
    protocol: Protocol
    protocol_sha256: str
    trained_on: tuple[str, ...]
    tasks: tuple[TaskRecord, ...]
    means: tuple[Mean, ...]

    @property
    def name(self) -> str:
        """Name of its files."""
        return "-".join(
            filter(None, ("evaluation", self.tasks_of, self.protocol.split, self.prompts.replace(":", "-")))
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods that it holds means of."""
        return tuple(dict.fromkeys(mean.method for mean in self.means))

    def mean(self, method: str = ZERO_SHOT, group: str = ALL) -> Mean | None:
        """Its mean over the tasks of a group."""
        return next((mean for mean in self.means if (mean.method, mean.group) == (method, group)), None)


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write the record and its CSV into a folder, and return the record's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{evaluation.name}.json"
    with atomic_write(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(evaluation), indent=-1) + b"\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(evaluation))
    with atomic_write(path.with_suffix(".csv")) as file:
        file.write(table.getvalue().encode())
    return path


def read_evaluation(path: Path) -> Evaluation:
    """Read a record.

    Raises:
        UsageError: it is none, or was changed since it was written.
    """
    try:
        evaluation = msgspec.json.decode(path.read_bytes(), type=Evaluation)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no record of an evaluation: {error}") from None
    if evaluation.format != FORMAT or evaluation.protocol.sha256 != evaluation.protocol_sha256:
        raise UsageError(f"{path} does not hold the protocol that it names, or is of another version: judge again")
    return evaluation


def _rows(evaluation: Evaluation) -> Iterator[tuple[str | int | float, ...]]:
    for method in evaluation.methods:
        for task in evaluation.tasks:
            score = task.score(method)
            if score is None:
                continue
            figures = (score.chance, score.majority, score.accuracy, score.low, score.high, len(score.by_draw))
            seen = "" if task.seen_labels is None else task.seen_labels
            counts = (score.photos, score.left_out, score.classes)
            yield (method, task.task, *counts, *figures, score.half_width, score.top1, score.gain, seen, score.note)
        for mean in (mean for mean in evaluation.means if mean.method == method):
            figures = (mean.chance, mean.majority, mean.accuracy, mean.low, mean.high, mean.draws)
            name = f"mean over {mean.tasks} {mean.group} tasks"
            yield (
                method,
                name,
                mean.photos,
                mean.left_out,
                "",
                *figures,
                mean.half_width,
                mean.top1,
                mean.gain,
                "",
                "",
            )
