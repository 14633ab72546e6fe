"""Tables of ablations: cells as Markdown, and a record beside its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

Form = TypeVar("Form", bound=msgspec.Struct)


class Tabled(Protocol):
    """A record that can be shown as a table."""

    def markdown(self) -> str:
        """The table as Markdown."""


def markdown_table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str | float]], words: int) -> str:
    """A Markdown table whose first ``words`` columns are aligned left; columns are (heading, format of its numbers).

    Example:
        >>> print(markdown_table([("losses", ""), ("accuracy", ".1f")], [("all", 91.25)], words=1))
        | losses | accuracy |
        | --- | ---: |
        | all | 91.2 |
    """
    lines = [[heading for heading, _ in columns], ["---"] * words + ["---:"] * (len(columns) - words)]
    lines += [[c if isinstance(c, str) else format(c, form) for c, (_, form) in zip(row, columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def keep_record(record: Tabled, path: Path, table: Path) -> None:
    """Write a record as JSON, and its table as Markdown."""
    with atomic_write(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    with atomic_write(table) as file:
        file.write(record.markdown().encode())


def read_record(path: Path, form: type[Form], what: str) -> Form:
    """Read a record that `keep_record` wrote.

    Raises:
        UsageError: it is missing or broken.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=form)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no record of {what}: {error}") from None
