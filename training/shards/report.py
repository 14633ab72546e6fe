"""What a build did, for people (``report.html`` with two sheets of pictures) and for programs (``report.json``)."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agriclip_edge.files import atomic_write

from ..data import SPLITS
from .candidates import name_of
from .duplicates import HELD_OUT
from .sheet import contact_sheet, duplicate_sheet

if TYPE_CHECKING:
    from .build import Built


class ClassRow(msgspec.Struct, frozen=True):
    """A class of a task: its photos in each split."""

    task: str
    label: str
    photos: dict[str, int]


class SourceRow(msgspec.Struct, frozen=True):
    """A source: its terms, and what became of its photos."""

    source: str
    licence: str
    origin: str
    usable: int
    dropped: int
    kept: int


class SeenRow(msgspec.Struct, frozen=True):
    """A task of a test set: which of its labels are among those of the training photos."""

    test_set: str
    task: str
    seen: list[str]
    unseen: list[str]


class BrokenRow(msgspec.Struct, frozen=True):
    """A photo that cannot be used, and why."""

    source: str
    path: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """The whole of ``report.json``.

    Attributes:
        name: of the collection.
        plan: as in the index.
        photos: kept, by split.
        bytes: of all shards.
        short_side: 5th, 50th and 95th percentile of the photos' short sides before any resizing, in pixels.
        classes: by task.
        imbalance: photos of a task's largest class over those of its smallest, in ``train``; 0 without photos.
        sources: by name and licence.
        duplicates: number left out, by reason.
        across: number left out because a held-out photo, or a photo of another split, is the same.
        other_label: number left out whose label is not the kept one's.
        seen: of each test set's task, the labels that training has seen.
        broken: photos that cannot be used.
        small: photos left out because they are below the least size.
        moved: photos that changed their split to stay with their group.
        seconds: by step.
    """

    name: str
    plan: str
    photos: dict[str, int]
    bytes: int
    short_side: tuple[int, int, int]
    classes: list[ClassRow]
    imbalance: dict[str, float]
    sources: list[SourceRow]
    duplicates: dict[str, int]
    across: dict[str, int]
    other_label: int
    seen: list[SeenRow]
    broken: list[BrokenRow]
    small: int
    moved: int
    seconds: dict[str, float]


def write_report(built: Built, folder: Path) -> Report:
    """Write ``report.json``, ``report.html``, ``contact-sheet.png`` and ``duplicates.png``."""
    report = summarise(built)
    contact_sheet(built.entries, folder / "contact-sheet.png")
    duplicate_sheet(built.duplicates, built.pool.candidates, folder / "duplicates.png")
    with atomic_write(folder / "report.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    with atomic_write(folder / "report.html") as file:
        file.write(to_html(report).encode())
    return report


def summarise(built: Built) -> Report:
    """Count what a build did."""
    photos, index = built.pool.candidates, built.index
    rows = [
        ClassRow(task.name, entry.label, {split: int(getattr(entry, split)) for split in SPLITS})
        for task in index.tasks
        for entry in task.classes
    ]
    pairs = [(photos[entry.dropped].split, built.splits[entry.kept]) for entry in built.duplicates]
    across = Counter(
        f"{dropped or 'drawn'} / {kept}" for dropped, kept in pairs if kept == HELD_OUT or (dropped and kept != dropped)
    )
    return Report(
        name=index.name,
        plan=index.plan,
        photos={split: sum(row.photos[split] for row in rows) for split in SPLITS},
        bytes=sum(shard.bytes for shard in index.shards),
        short_side=_percentiles([min(entry.print.width, entry.print.height) for entry in built.entries]),
        classes=rows,
        imbalance={task.name: _imbalance([entry.train for entry in task.classes]) for task in index.tasks},
        sources=_source_rows(built),
        duplicates=dict(Counter(entry.why for entry in built.duplicates)),
        across=dict(across),
        other_label=sum(
            (photos[entry.dropped].task, photos[entry.dropped].label)
            != (photos[entry.kept].task, photos[entry.kept].label)
            for entry in built.duplicates
        ),
        seen=_seen_rows(built),
        broken=[BrokenRow(photo.source, photo.name, reason) for photo, reason in built.pool.broken],
        small=built.pool.small,
        moved=built.moved,
        seconds=built.seconds,
    )


def to_html(report: Report) -> str:
    """The report as one page."""
    total = sum(report.photos.values())
    largest = max((sum(row.photos.values()) for row in report.classes), default=1)
    tasks = len({row.task for row in report.classes})
    splits = ", ".join(f"{count:,} {split}" for split, count in report.photos.items() if count)
    sides = "{} / {} / {} px".format(*report.short_side)
    others = {"too small": report.small, "broken": len(report.broken)}
    parts = [
        f"<h1>{_e(report.name)}</h1>",
        f"<p>{total:,} photos ({splits}) of {len(report.classes):,} classes in {tasks} tasks, "
        f"{report.bytes / 1e6:,.1f} MB; short side at the 5th, 50th and 95th percentile: {sides}. "
        f"Plan <code>{report.plan[:16]}</code>.</p>",
        "<h2>Left out</h2>",
        _table(("why", "photos"), [*report.duplicates.items(), *others.items()]),
        "<p>Of these copies, across splits (split of the dropped photo / of the one that stays):</p>",
        _table(("splits", "photos"), sorted(report.across.items())),
        f"<p>{report.other_label:,} dropped photos had another label than the photo they repeat: look at these in "
        '<a href="duplicates.csv">duplicates.csv</a>, for one of the two may be wrong. '
        f"{report.moved:,} photos changed their split to stay with their group.</p>",
        '<p>The least alike pairs, dropped and kept:</p><img src="duplicates.png" alt="pairs of duplicates">',
        "<h2>Sources</h2>",
        _table(
            ("source", "licence", "origin", "usable", "dropped", "kept"),
            [(row.source, row.licence, row.origin, row.usable, row.dropped, row.kept) for row in report.sources],
        ),
        "<h2>Seen and unseen classes of the test sets</h2>",
        _table(
            ("test set", "task", "seen", "unseen"),
            [(row.test_set, row.task, ", ".join(row.seen) or "–", ", ".join(row.unseen) or "–") for row in report.seen],
        ),
        "<h2>Broken photos</h2>",
        _table(("source", "path", "why"), [(row.source, row.path, row.reason) for row in report.broken]),
        "<h2>Class balance</h2>",
        _balance(report, largest),
        '<h2>Contact sheet</h2><img src="contact-sheet.png" alt="one photo of each class">',
        "<h2>Time</h2>",
        _table(("step", "seconds"), [(name, f"{value:.1f}") for name, value in report.seconds.items()]),
    ]
    return _PAGE.format(title=_e(report.name), body="\n".join(parts))


def _balance(report: Report, largest: int) -> str:
    rows = []
    for row in report.classes:
        bar = f'<div class="bar" style="width:{100 * sum(row.photos.values()) / largest:.1f}%"></div>'
        cells = "".join(f"<td>{row.photos[split] or ''}</td>" for split in SPLITS)
        rows.append(f"<tr><td>{_e(row.task)}</td><td>{_e(row.label)}</td>{cells}<td class='wide'>{bar}</td></tr>")
    uneven = sorted(report.imbalance.items(), key=lambda pair: -pair[1])[:5]
    worst = ", ".join(f"{_e(task)} {ratio:g}" for task, ratio in uneven)
    head = "".join(f"<th>{name}</th>" for name in ("task", "class", *SPLITS, ""))
    words = f"<p>Largest class over smallest, in train, where it is most: {worst}.</p>"
    return f"{words}<table><tr>{head}</tr>{''.join(rows)}</table>"


def _source_rows(built: Built) -> list[SourceRow]:
    pool = built.pool
    usable, kept = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    for photo in pool.candidates[pool.held_out :]:
        usable[photo.source, photo.licence, photo.origin] += 1
    for entry in built.entries:
        kept[entry.sample.source, entry.sample.licence, entry.sample.origin] += 1
    return [SourceRow(*key, count, count - kept[key], kept[key]) for key, count in sorted(usable.items())]


def _seen_rows(built: Built) -> list[SeenRow]:
    known = {entry.sample.label.casefold() for entry in built.entries if entry.sample.split == "train"}
    order = [name_of(source) for source in built.recipe.against]
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for photo, split in zip(built.pool.candidates, built.splits):
        if split == HELD_OUT:
            asked.setdefault((photo.source, photo.task), {})[photo.label] = None
    rows = []
    for (test_set, task), labels in sorted(asked.items(), key=lambda pair: order.index(pair[0][0])):
        seen = [label for label in labels if label.casefold() in known]
        rows.append(SeenRow(test_set, task, seen, [label for label in labels if label not in seen]))
    return rows


def _percentiles(values: Sequence[int]) -> tuple[int, int, int]:
    ranked = sorted(values) or [0]
    low, middle, high = (ranked[int(share * (len(ranked) - 1))] for share in (0.05, 0.5, 0.95))
    return low, middle, high


def _imbalance(counts: Sequence[int]) -> float:
    there = [count for count in counts if count]
    return round(max(there) / min(there), 1) if there else 0.0


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return "<p>None.</p>"
    return "<table><tr>" + "".join(f"<th>{_e(name)}</th>" for name in head) + f"</tr>{body}</table>"


def _e(cell: object) -> str:
    return html.escape(f"{cell:,}" if isinstance(cell, int) else str(cell))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 90em; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; margin: 0.5em 0; }}
th, td {{ text-align: left; padding: 0.15em 0.8em 0.15em 0; border-bottom: 1px solid #ddd; vertical-align: top; }}
td.wide {{ width: 24em; }} .bar {{ background: #4a8; height: 0.8em; }} img {{ max-width: 100%; }}
</style></head><body>
{body}
</body></html>
"""
