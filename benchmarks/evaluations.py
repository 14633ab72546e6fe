"""What encoders were judged to be worth on whole collections, from the records of `training evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.evaluation.record import read_evaluation

from .environment import versions
from .record import Cell, Detail, Measurement

_COLUMNS = (
    ("encoder", ""),
    ("tasks of", ""),
    ("labels as", ""),
    ("by", ""),
    ("tasks", "d"),
    ("photos", "d"),
    ("chance, %", ".1f"),
    ("accuracy, %", ".1f"),
    ("95 %", ""),
)


def measure(paths: Sequence[Path]) -> Measurement:
    """One row for each mean over all tasks.

    Args:
        paths: of records of ``python -m training evaluate``.

    Raises:
        UsageError: one is missing or broken.
    """
    rows: list[tuple[Cell, ...]] = []
    subject, samples = {}, {}
    for path in paths:
        record = read_evaluation(path)
        subject[f"{record.subject}, {record.tasks_of}, {record.prompts}"] = record.protocol_sha256
        for mean in record.means:
            if mean.group != "all":
                continue
            spread = f"{100 * mean.low:.1f} to {100 * mean.high:.1f}"
            if mean.half_width:
                spread = f"± {100 * mean.half_width:.1f} over {mean.draws} draws"
            head = (record.subject, record.tasks_of, record.prompts, mean.method, mean.tasks, mean.photos)
            rows.append((*head, 100 * mean.chance, 100 * mean.accuracy, spread))
            name = "-".join((record.subject, record.tasks_of, record.prompts, mean.method)).replace(" ", "-")
            samples[f"{name}_pct"] = [100 * mean.accuracy]
    samples |= between(samples)
    return Measurement(
        method="Mean over tasks of mean per-class accuracy, each photo choosing among its own task's labels. Of "
        "zero-shot the 95 % interval is by bootstrap over photos; of few shots, and of zero-shot adapted by 30 "
        "support photos without their labels, it is of the mean over draws of support photos. Tasks of downstream "
        "trained, tuned and chose nothing. Retention: the student's accuracy over the teacher's.",
        samples=samples,
        subject=subject,
        packages=versions("torch", "timm"),
        details=(Detail("Encoders on whole collections", _COLUMNS, tuple(rows)),),
    )


def between(samples: dict[str, list[float]]) -> dict[str, list[float]]:
    """What a student keeps of its teacher, and what five taught photos a class add to text alone."""
    found = {}
    for kind, student in samples.items():
        teacher = samples.get(kind.replace("student-", "teacher-", 1))
        if kind.startswith("student-") and teacher:
            name = kind.removeprefix("student-").removesuffix("_pct")
            found[f"retention-{name}_pct"] = [100 * student[0] / teacher[0]]
        text = samples.get(kind.replace("-teach-5-shot_pct", "-zero-shot_pct"))
        if kind.endswith("-teach-5-shot_pct") and text:
            found[f"{kind.removesuffix('_pct')}_gain_points"] = [student[0] - text[0]]
    return found
