"""Answers as people and programs read them: table, JSON, JSON lines and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

Record = dict[str, Any]
COLUMNS = ("path", "rank", "label", "parent", "confidence", "cosine", "error", "answer", "reason")


class Format(str, Enum):
    """How answers are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def choose_format(wanted: Format | None, output: Path | None) -> Format:
    """The format asked for, else the one of the output's suffix, else a table."""
    if wanted is not None:
        return wanted
    suffix = output.suffix.lower().lstrip(".") if output is not None else ""
    return Format(suffix) if suffix in ("json", "jsonl", "csv") else Format.table


def encode(text: str) -> bytes:
    """UTF-8; the byte of a path that is not UTF-8 becomes the JSON escape of its surrogate (``docs/answer.md``)."""
    return text.encode("utf-8", "backslashreplace")


def to_line(record: Record) -> bytes:
    """One record as a line of JSON."""
    return encode(json.dumps(record, ensure_ascii=False)) + b"\n"


class Writer:
    """Writes records to a stream as they come."""

    def __init__(
        self, stream: BinaryIO, form: Format, *, colour: bool = False, names: Mapping[str, str] | None = None
    ) -> None:
        """Write ``form`` to ``stream``; colour and names in another language, by label, are for a table."""
        self._stream = stream
        self._count = 0
        self._form = form
        formatters: dict[Format, Callable[[Record], bytes]] = {
            Format.jsonl: to_line,
            Format.json: self._json,
            Format.csv: _csv,
            Format.table: lambda record: _table(record, colour, names or {}),
        }
        self._encode = formatters[form]
        if form is Format.csv:
            stream.write(_row(COLUMNS))

    def write(self, record: Record) -> None:
        """Write one record and hand it to whoever reads."""
        self._stream.write(self._encode(record))
        self._stream.flush()
        self._count += 1

    def finish(self) -> None:
        """Write what must stand after the last record."""
        if self._form is Format.json:
            self._stream.write(b"\n]\n" if self._count else b"[]\n")
        self._stream.flush()

    def _json(self, record: Record) -> bytes:
        return (b",\n" if self._count else b"[\n") + to_line(record).rstrip(b"\n")


def _row(cells: tuple[Any, ...]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return encode(buffer.getvalue())


def _csv(record: Record) -> bytes:
    """One row a prediction, best first; a photo without any gives one row with the path and the error alone."""
    answer = record.get("answer") or {}
    verdict = (answer.get("text", ""), answer.get("reason") or "")
    if not record["predictions"]:
        return _row((record["path"], "", "", "", "", "", record["error"] or "", *verdict))
    return b"".join(
        _row((record["path"], place, *(prediction[column] for column in COLUMNS[2:6]), "", *verdict))
        for place, prediction in enumerate(record["predictions"], start=1)
    )


def _table(record: Record, colour: bool, names: Mapping[str, str]) -> bytes:
    """The path, then a line a prediction; what went wrong stands on stderr."""
    if record["error"] is not None:
        return b""
    bold, dim, plain = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if colour else ("", "", "")
    lines = [f"{bold}{record['path']}{plain}"]
    answer = record.get("answer") or {}
    unsure = answer.get("reason") is not None
    if unsure:
        name = names.get(answer["label"], answer["label"]) if answer["label"] else ""
        said = answer["text"].replace(answer["label"], name, 1) if name else answer["text"]
        why = f" ({answer['reason'].replace('-', ' ')})" if answer["kind"] == "parent" else ""
        lines.append(f"  {bold}{said}{plain}{why}{'; nearest:' if record['predictions'] else ''}")
    for place, prediction in enumerate(record["predictions"]):
        parent = f"  {dim}({prediction['parent']}){plain}" if prediction["parent"] else ""
        name = names.get(prediction["label"], prediction["label"])
        label = f"{bold}{name}{plain}" if place == 0 and not unsure else name
        bar = "█" * round(10 * prediction["confidence"]) or "▏"
        lines.append(f"  {100 * prediction['confidence']:5.1f} %  {bar:<10}  {label}{parent}")
    if not record["predictions"]:
        lines.append("  nothing reaches the least confidence")
    return encode("\n".join(lines) + "\n")
