"""Few labels, many bands: methods on the same shots, from records of `training diffclip fewshot`; students that map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agriclip_edge.errors import UsageError
from training.diffclip.protocol import APART
from training.diffclip.record import Record, difference, mean, read_record
from training.diffclip.student import load_student
from training.diffclip.unseen import read_unseen, unseen_path

from .environment import versions
from .record import Cell, Detail, Measurement

_MEANS = (("scene", ""), ("split", ""), ("method", ""), ("shots", "d"), ("OA", ""), ("AA", ""), ("kappa", ""))
_GAINS = (("scene", ""), ("split", ""), ("DiffCLIP over", ""), ("shots", "d"), ("OA", ""), ("AA", ""), ("kappa", ""))
_STUDENTS = (
    ("run", ""),
    ("pixels", ",d"),
    ("same class, %", ".2f"),
    ("on places that taught nothing, %", ""),
    ("with a sensor missing, %", ""),
    ("times as fast", ".0f"),
)
_UNSEEN = (("scene", ""), ("split", ""), ("method", ""), ("shots of the others", "d"), ("area", ""))
_OURS = "DiffCLIP"


def measure(paths: Sequence[Path], students: Sequence[Path] = ()) -> Measurement:
    """One row a method and number of shots; gains where records of one protocol hold both sides.

    Args:
        paths: of records; methods of one scene and split may lie in several, and what two hold is listed once. What
            `--unseen` wrote beside one of them is listed too.
        students: folders of `training diffclip student`, which holds each against its per-pixel transformer.

    Raises:
        UsageError: one is missing or broken, or two differ on a method by the same draws.
    """
    records = [read_record(path) for path in paths]
    rows: list[tuple[Cell, ...]] = []
    gains: list[tuple[Cell, ...]] = []
    samples: dict[str, list[float]] = {}
    known: dict[tuple[object, ...], list[str]] = {}
    for record in records:
        asked = record.protocol
        for subject in record.methods:
            for k in asked.shots:
                found = mean(record, subject.name, k)
                figures = [f"{100 * a:.1f} ± {100 * b:.1f}" for a, b in zip(found.mean, found.deviation)]
                if known.setdefault((_draws(record), subject.name, k), figures) != figures:
                    message = f"records differ on {subject.name} by {k} shots of {asked.scene}, {_split(record)}"
                    raise UsageError(f"{message}; accepted: those of one code, leave the older out")
                rows.append((asked.scene, _split(record), subject.name, k, *figures))
                name = f"{asked.scene}-{_split(record)}-{subject.name}-{k}".replace(" ", "-")
                samples[f"{name}_oa_pct"] = [100 * draw.overall for draw in record.of(subject.name, k)]
    for ours, other, k, name in _pairs(records):
        draws = (*ours.of(_OURS, k), *other.of(name, k))  # of these two alone: a record may hold our method, too
        gain = difference(Record(ours.protocol, ours.classes, (), draws), _OURS, name, k)
        figures = [f"{100 * a:+.1f} ± {100 * b:.1f}" for a, b in zip(gain.gain, gain.half_width)]
        gains.append((ours.protocol.scene, _split(ours), name, k, *figures))
    words: list[tuple[Cell, ...]] = []
    for path, record in zip(paths, records):
        asked = record.protocol
        for row in read_unseen(unseen_path(path.parent, asked.scene, asked.split)):
            area = f"{row.area:.3f} ± {row.half_width:.3f}"
            words.append((asked.scene, _split(record), row.method, row.k, area))
    maps: list[tuple[Cell, ...]] = []
    for folder in students:
        seen = load_student(folder).figures
        apart = "–" if seen.agreement_held_out is None else f"{100 * seen.agreement_held_out:.2f}"
        lacking = ", ".join(f"{name} {100 * share:.2f}" for name, share in seen.agreement_missing.items()) or "–"
        maps.append((folder.name, seen.pixels, 100 * seen.agreement, apart, lacking, seen.speed_up))
        samples[f"{folder.name}-agreement_pct"] = [100 * seen.agreement]
        samples[f"{folder.name}-speed_up"] = [seen.speed_up]
    told = Detail("Convolutional students beside their per-pixel transformer", _STUDENTS, tuple(maps))
    tested = sorted({draw.tested for record in records for draw in record.draws})
    return Measurement(
        method="Overall accuracy, mean accuracy over classes and Cohen's kappa, ×100: mean and standard deviation over "
        f"{', '.join(str(len(record.protocol.seeds)) for record in records)} draws of shots (by record), {tested[0]:,} "
        f"to {tested[-1]:,} test pixels. Gains are on the same draws, with 95 % intervals of their mean (Student's t). "
        "No test pixel's label chose anything. A class without a shot is told by its text alone: area under the ROC "
        "curve of the cosine, mean over classes, 0.5 is chance; the class code is its control without language.",
        samples=samples,
        subject={f"{r.protocol.scene} {_split(r)}": r.protocol.scene_sha256 for r in records},
        packages=versions("torch", "scikit-learn"),
        details=(
            Detail("Few-shot classification of scenes", _MEANS, _in_order(rows)),
            Detail("Gains on the same draws", _GAINS, _in_order(gains)),
            *((Detail("Classes without a shot, by their texts", _UNSEEN, _in_order(words)),) if words else ()),
            *((told,) if maps else ()),
        ),
    )


def _in_order(rows: Sequence[tuple[Cell, ...]]) -> tuple[tuple[Cell, ...], ...]:
    """Each row once: scenes, splits and methods as they first come, the shots of each from few to many."""
    unique = list(dict.fromkeys(rows))
    first: dict[tuple[Cell, ...], int] = {}
    for number, row in enumerate(unique):
        first.setdefault(row[:3], number)
    return tuple(sorted(unique, key=lambda row: (first[row[:3]], row[3])))


def _pairs(records: Sequence[Record]) -> list[tuple[Record, Record, int, str]]:
    """Records that hold our method, those of the same draws that hold another, the shots and its name."""
    found = []
    for ours in records:
        if _OURS not in {subject.name for subject in ours.methods}:
            continue
        for other in records:
            if _draws(other) != _draws(ours):
                continue
            names = [subject.name for subject in other.methods if subject.name != _OURS]
            shared = [k for k in ours.protocol.shots if k in other.protocol.shots]
            found += [(ours, other, k, name) for name in names for k in shared]
    return found


def _split(record: Record) -> str:
    """The split, and how far from shots it tests where that is not the split's own distance."""
    asked = record.protocol
    own = APART if asked.split == "blocked" else 0
    return asked.split if asked.distance == own else f"{asked.split}, {asked.distance} px"


def _draws(record: Record) -> tuple[object, ...]:
    asked = record.protocol
    return asked.scene_sha256, asked.split, asked.seeds, asked.most_test_pixels, asked.distance
