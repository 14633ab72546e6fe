"""Lists of labels as people write them: typed with commas, one a line, or a CSV with parents, synonyms and names."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import LabelError
from .pack import LANGUAGE, Label, check_labels, check_languages, check_text

MAX_FILE_BYTES = 64 << 20
_COLUMNS = ("label", "parent", "synonyms")
_NAMES = "names."  # and a language's code: the column of display names in it


def parse_labels(text: str) -> tuple[Label, ...]:
    """Labels typed on one line, with commas between them.

    Raises:
        LabelError: nothing, an empty label, or two alike.

    Example:
        >>> [label.text for label in parse_labels("bean leaf with rust, healthy bean leaf")]
        ['bean leaf with rust', 'healthy bean leaf']
    """
    return as_labels(text.split(","))


def as_labels(labels: Iterable[str | Label]) -> tuple[Label, ...]:
    """Words or `Label` objects as checked labels.

    Raises:
        LabelError: no list, something else than words in it, nothing, an empty label, or two alike.
    """
    if isinstance(labels, str):
        raise LabelError(f"one text {labels[:40]!r}; accepted: a list of labels, or parse_labels for text with commas")
    labels = list(labels)
    for label in labels:
        if not isinstance(label, (str, Label)):
            raise LabelError(f"a label cannot be a {type(label).__name__}; accepted: words, or Label")
    found = tuple(Label(label.strip()) if isinstance(label, str) else label for label in labels)
    check_labels(found)
    return found


def read_label_file(path: str | os.PathLike[str]) -> tuple[Label, ...]:
    """Read a file of labels.

    Args:
        path: UTF-8 text with one label a line, or a ``.csv`` whose first row names the columns ``label`` and,
            as wanted, ``parent``, ``synonyms`` (with ``;`` between them) and display names (``names.es``).

    Raises:
        LabelError: not readable, not UTF-8, no label, or a broken row; the message names the line.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise LabelError(f"cannot read the labels in {name}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise LabelError(f"{name} has more than {MAX_FILE_BYTES:,} bytes; that is no list of labels")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{name} is not UTF-8 text (byte {error.start})") from None
    rows = _csv_rows(text, name) if Path(name).suffix.lower() == ".csv" else _lines(text)
    labels: list[Label] = []
    seen: dict[str, int] = {}
    for number, label in rows:
        try:
            for words in (label.text, *label.synonyms, *([label.parent] if label.parent else [])):
                check_text(words)
            check_languages(label.names)
        except LabelError as error:
            raise LabelError(f"{name}, line {number}: {error}") from None
        first = seen.setdefault(label.text.casefold(), number)
        if first != number:
            raise LabelError(f"{name}, line {number}: label {label.text!r} is already on line {first}")
        labels.append(label)
    if not labels:
        raise LabelError(f"{name} holds no label; accepted: one a line, or a CSV with a column 'label'")
    check_labels(labels)
    return tuple(labels)


def _lines(text: str) -> Iterable[tuple[int, Label]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, Label(line.strip())


def _csv_rows(text: str, name: str) -> Iterable[tuple[int, Label]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns = [_column(column.strip()) for column in reader.fieldnames or []]
        reader.fieldnames = columns
        unknown = [column for column in columns if column not in _COLUMNS and _language(column) is None]
        if "label" not in columns or unknown or len(set(columns)) != len(columns):
            raise LabelError(
                f"{name} has the columns {columns}; accepted: label, and as wanted parent, synonyms, names.es …"
            )
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                raise LabelError(f"{name}, line {reader.line_num}: has not {len(columns)} columns")
            synonyms = tuple(word.strip() for word in row.get("synonyms", "").split(";") if word.strip())
            named = {_language(column): value.strip() for column, value in row.items()}
            names = {language: value for language, value in named.items() if language is not None and value}
            yield reader.line_num, Label(row["label"].strip(), row.get("parent", "").strip(), synonyms, names)
    except csv.Error as error:
        # DictReader's own line_num is that of the row before.
        raise LabelError(f"{name}, line {reader.reader.line_num}: {error}") from None


def _column(name: str) -> str:
    """A column's name without regard to case, but for the region of a language's code (``names.pt-BR``)."""
    if not name.lower().startswith(_NAMES):
        return name.lower()
    language, dash, region = name[len(_NAMES) :].partition("-")
    return _NAMES + language.lower() + dash + region


def _language(column: str) -> str | None:
    """The language whose display names a column holds."""
    language = column.removeprefix(_NAMES)
    return language if language != column and re.fullmatch(LANGUAGE, language) else None
