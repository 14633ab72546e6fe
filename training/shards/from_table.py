"""Photos in a CSV or Parquet table: a row each, with columns for path, label and whatever else is known."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..data import DataError
from .candidates import Blob, Candidate, Listing, group_of, name_of, split_name, words
from .recipe import Source

_KNOWN = ("path", "label", "task", "split", "group", "licence", "origin")
_ALSO = {"license": "licence", "source": "origin", "file": "path", "filename": "path", "class": "label"}


def list_table(source: Source) -> Listing:
    """List the rows of a table; columns that have no meaning here are kept as metadata.

    Raises:
        DataError: the table cannot be read, or lacks a path or a label.
    """
    table = Path(source.path)
    base = Path(source.images) if source.images else table.parent
    found = []
    for number, row in enumerate(_rows(table), start=1):
        known, meta = _sort_out(source, row)
        if not known["path"] or not known["label"]:
            lacking = "path" if not known["path"] else "label"
            raise DataError(f"{table}: row {number} has no {lacking}; its columns: {', '.join(row)}")
        label = words(source, known["label"])
        if not label:
            continue
        found.append(
            Candidate(
                blob=Blob.of_file(base / known["path"]),
                name=known["path"],
                source=name_of(source),
                label=label,
                task=known["task"] or source.task or name_of(source),
                split=split_name(source, known["split"]),
                group=group_of(source, known["path"], known["group"]),
                licence=known["licence"] or source.licence,
                origin=known["origin"] or source.origin,
                meta=meta,
            )
        )
    return Listing(tuple(found))


def _sort_out(source: Source, row: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The known columns by our names, and the others."""
    ours = {column: name for name, column in source.columns.items()}
    known, meta = dict.fromkeys(_KNOWN, ""), {}
    for column, value in row.items():
        name = ours.get(column, column.casefold())
        name = name if name in _KNOWN else _ALSO.get(name, name)
        if name in _KNOWN and not known[name]:
            known[name] = value
        elif value:
            meta[column] = value
    return known, meta


def _rows(table: Path) -> Iterator[dict[str, str]]:
    if table.suffix.lower() == ".parquet":
        yield from _parquet_rows(table)
        return
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                yield {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}; accepted: CSV in UTF-8 with a header") from None


def _parquet_rows(table: Path) -> Iterator[dict[str, str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(table).iter_batches():
            for row in batch.to_pylist():
                yield {key: _text(value) for key, value in row.items()}
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{table} cannot be read: {str(error)[:200]}; accepted: Parquet") from None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
