"""Pictures for people: a contact sheet by task, and the duplicates beside what they repeat."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from agriclip_edge.files import atomic_write
from agriclip_edge.imaging.decode import RGB

from .candidates import Candidate
from .duplicates import Duplicate
from .write import Entry

_CELL = 112  # pixels a picture
_CAPTION = 28  # pixels below it: two lines
_ACROSS = 12
_MOST_ROWS = 60
_PAIRS = 48
_CHARACTERS = 21  # a line of a caption, at the font's size

Cell = tuple[RGB, str]


def contact_sheet(entries: Sequence[Entry], path: Path) -> None:
    """Draw a row or two of photos for each task, one of each class as far as there is room."""
    by_task: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        by_task[entry.sample.task].setdefault(entry.sample.label, entry)
    rows: list[list[Cell]] = []
    for task in sorted(by_task):
        shown = list(by_task[task].values())
        if len(shown) > 2 * _ACROSS:
            shown = shown[:: -(-len(shown) // (2 * _ACROSS))]
        cells = [(_open(entry.candidate), f"{entry.sample.label}\n{task}") for entry in shown]
        rows += [cells[start : start + _ACROSS] for start in range(0, len(cells), _ACROSS)]
    draw_sheet(rows[:_MOST_ROWS], path)


def duplicate_sheet(duplicates: Sequence[Duplicate], candidates: Sequence[Candidate], path: Path) -> None:
    """Draw pairs of dropped and kept photos: the least alike first, as those are the ones to look at."""
    doubtful = sorted(duplicates, key=lambda entry: (entry.cosine is None, -(entry.grey or 0)))[:_PAIRS]
    cells: list[Cell] = []
    for entry in doubtful:
        how_far = f"cos {entry.cosine:.3f}" if entry.cosine is not None else f"{entry.bits} bits, {entry.grey:.1f} grey"
        for number, fate in ((entry.dropped, how_far), (entry.kept, "stays")):
            cells.append((_open(candidates[number]), f"{fate}\n{candidates[number].label}"))
    draw_sheet([cells[start : start + _ACROSS] for start in range(0, len(cells), _ACROSS)], path)


def draw_sheet(rows: Sequence[Sequence[Cell]], path: Path) -> None:
    """Draw rows of pictures with captions of up to two lines as a PNG."""
    across = max((len(row) for row in rows), default=1)
    sheet = Image.new("RGB", (across * _CELL, max(len(rows), 1) * (_CELL + _CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for down, row in enumerate(rows):
        for right, (rgb, caption) in enumerate(row):
            picture = Image.fromarray(np.ascontiguousarray(rgb))
            picture.thumbnail((_CELL - 4, _CELL - 4))
            left, top = right * _CELL, down * (_CELL + _CAPTION)
            sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
            text = "\n".join(line[:_CHARACTERS] for line in caption.split("\n"))
            pen.multiline_text((left + 2, top + _CELL - 2), text, fill="black", font=font, spacing=1)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def _open(candidate: Candidate) -> RGB:
    return candidate.rgb(candidate.blob.read())
