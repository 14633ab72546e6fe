"""What each loss brings: students that learn with all of them, with each left out, and with each alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from ..image_tower import ImageTower
from ..progress import StatusLine
from ..tables import keep_record, markdown_table, read_record
from .config import DistilConfig
from .losses import TERMS, DistilLoss
from .run import Lesson, distil

RECORD = "distil-ablation.json"
TABLE = "distil-ablation.md"
BASE = "task alone"  # what a training without teachers gives


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One student.

    Attributes:
        losses: which it learnt by, in words.
        seed: of its training.
        accuracies: mean over tasks of mean per-class accuracy by what was judged, 0 to 1.
    """

    losses: str
    seed: int
    accuracies: dict[str, float]


class DistilAblation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole table.

    Attributes:
        architecture: of the students.
        teachers: names.
        collections: trained on.
        photos: number trained on.
        sizes: of the views, one an epoch.
        seeds: of the rows.
        weights: of the losses when all are on.
        reinforced: sha256 of the stored views.
        rows: by losses, then by seed.
    """

    architecture: str
    teachers: tuple[str, ...]
    collections: tuple[str, ...]
    photos: int
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    weights: dict[str, float]
    reinforced: str
    rows: tuple[Row, ...]

    def samples(self) -> dict[str, tuple[float, ...]]:
        """Accuracy in percent, one value a seed, by ``<losses>-<judged>_pct``."""
        values: dict[str, list[float]] = {}
        for row in self.rows:
            for judged, accuracy in row.accuracies.items():
                name = f"{row.losses}-{judged}".replace(" ", "-")
                values.setdefault(f"{name}_pct", []).append(100 * accuracy)
        return {name: tuple(found) for name, found in values.items()}

    def cells(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str | float, ...], ...]]:
        """Columns, as (heading, format of its numbers), and rows: means over seeds, lowest to highest, two gains.

        The gains are over the labels alone, and over all losses, seed by seed.
        """
        judged = tuple(self.rows[0].accuracies)
        columns = [("losses", "")]
        for name in judged:
            columns += [(name, ".1f"), ("spread", ""), (f"over {BASE}", "+.1f"), ("over all", "+.1f")]
        rows: list[tuple[str | float, ...]] = []
        for losses in dict.fromkeys(row.losses for row in self.rows):
            cells: list[str | float] = [losses]
            for name in judged:
                own, base, full = (self._accuracies(words, name) for words in (losses, BASE, "all"))
                gains = [statistics.fmean(a - b for a, b in zip(own, other)) for other in (base, full)]
                cells += [statistics.fmean(own), f"{min(own):.1f} to {max(own):.1f}", *gains]
            rows.append(tuple(cells))
        return tuple(columns), tuple(rows)

    def method(self) -> str:
        """How it was made, in a sentence or two."""
        weights = ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())
        return (
            f"{self.architecture} taught by {', '.join(self.teachers)}: {self.photos} photos of "
            f"{' and '.join(self.collections)}, {_many(self.sizes, 'epoch')} at {', '.join(map(str, self.sizes))} px, "
            f"weights {weights}. Mean over tasks of mean per-class accuracy, %; mean, lowest and highest of "
            f"{_many(self.seeds, 'seed')}; gains in points, seed by seed."
        )

    def markdown(self) -> str:
        """The table as Markdown."""
        columns, rows = self.cells()
        return f"{markdown_table(columns, rows, words=1)}\n\n{self.method()}\n"

    def _accuracies(self, losses: str, judged: str) -> list[float]:
        return [100 * row.accuracies[judged] for row in self.rows if row.losses == losses]


def _many(things: Sequence[int], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def variants(loss: DistilLoss) -> dict[str, DistilLoss]:
    """What is compared, by its words: all losses, each left out, each alone; those of weight 0 are left out.

    Raises:
        UsageError: the task loss is off, or nothing is left beside it.
    """
    used = [name for name in TERMS if getattr(loss, name)]
    if "task" not in used or len(used) < 2:
        raise UsageError(f"the losses are {', '.join(used)}; accepted: task and at least one other")
    found = {"all": loss, BASE: _alone(loss, "task")}
    found |= {f"without {name}": replace(loss, **{name: 0.0}) for name in used}
    return found | {f"{name} alone": _alone(loss, name) for name in used}


def run_ablation(
    lesson: Lesson,
    output: Path,
    config: DistilConfig,
    start: Callable[[int], tuple[ImageTower, bool]],
    seeds: Sequence[int],
    photos: int,
    status: StatusLine,
) -> DistilAblation:
    """Train and judge a student for each variant and seed, or go on where ``output`` was left.

    Args:
        lesson: all photos.
        output: made when missing; rows that are there are not made again.
        config: the recipe with all losses.
        start: gives for a seed the tower to begin with, and whether it has no head yet.
        seeds: of the trainings.
        photos: number to train on, spread over all classes; 0 takes all.
        status: tells how far it is.

    Returns:
        the record, which also lies in ``output`` beside its table.

    Raises:
        UsageError: there is no seed, or nothing to compare.
    """
    if not seeds:
        raise UsageError("no seed; accepted: at least one")
    compared = variants(config.teach)
    some = lesson.some(photos)
    rows = []
    for number, (words, loss) in enumerate(compared.items()):
        for seed in seeds:
            status.say(f"{words} ({number + 1} of {len(compared)}), seed {seed}")
            own = replace(config, teach=loss, seed=seed, judge_every=len(config.sizes))
            rows.append(_row(some, output, own, words, start, StatusLine(status.console)))
    header = lesson.stored.header
    record = DistilAblation(
        config.architecture,
        tuple(teacher.name for teacher in header.teachers),
        header.config.collections,
        len(some.photos),
        config.sizes,
        tuple(seeds),
        asdict(config.teach),
        header.sha256(),
        tuple(rows),
    )
    keep_record(record, output / RECORD, output / TABLE)
    return record


def read_ablation(path: Path) -> DistilAblation:
    """Read a record.

    Raises:
        UsageError: it is missing or broken.
    """
    return read_record(path, DistilAblation, "a distillation's ablation")


def _alone(loss: DistilLoss, name: str) -> DistilLoss:
    return DistilLoss(**{term: getattr(loss, term) if term == name else 0.0 for term in TERMS})


def _row(
    lesson: Lesson,
    output: Path,
    config: DistilConfig,
    words: str,
    start: Callable[[int], tuple[ImageTower, bool]],
    status: StatusLine,
) -> Row:
    """A student's row from its file; the student is trained where there is none, and left behind."""
    identity = [words, asdict(config), lesson.photos.sha256, lesson.stored.header.sha256()]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    path, run = output / "cells" / f"{key}.json", output / "cells" / key
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Row)
    tower, fresh = start(config.seed)
    found = Row(words, config.seed, dict(distil(lesson, run, config, tower, status, fresh=fresh)))
    with atomic_write(path) as file:
        file.write(msgspec.json.encode(found))
    shutil.rmtree(run)
    return found
