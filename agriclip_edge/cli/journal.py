"""The journal of a long run: what is done stays on disk, line by line, until the output takes its place."""

from __future__ import annotations

import json
import os
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UsageError
from .output import Record, to_line

_FIELDS = {"path", "predictions", "error"}


class Journal:
    """``OUTPUT.partial``: a header that says what the run was asked, then one record a line."""

    def __init__(self, output: Path, request: dict[str, Any], *, resume: bool) -> None:
        """Begin a journal, or take up the one of an interrupted run.

        Args:
            output: the file that the run is to write.
            request: what decides the answers (bundle, labels, options); a run is resumed only under the same.
            resume: go on with the journal that is there.

        Raises:
            UsageError: a journal is there and ``resume`` is not set, or it is of another request.
            OSError: it cannot be written.
        """
        self.path = output.with_name(output.name + ".partial")
        self._done: dict[str | None, deque[Record]] = defaultdict(deque)
        self.resumed = 0
        header = {"agriclip-edge journal": 1, "request": request}
        if self.path.exists():
            if not resume:
                raise UsageError(f"{self.path} holds an interrupted run; --resume goes on with it, or delete it")
            length = self._read(header)
            self._file: BinaryIO = open(self.path, "r+b")
            self._file.seek(length)
            self._file.truncate()
        else:
            self._file = open(self.path, "xb")
            self._put(to_line(header))

    def _read(self, header: dict[str, Any]) -> int:
        """Take up the whole lines of an earlier run; gives the length in bytes of what is whole."""
        with open(self.path, "rb") as file:
            lines = _whole_lines(file)
            if next(lines, (None, 0))[0] != json.loads(to_line(header)):
                raise UsageError(f"{self.path} is of another bundle, labels or options; delete it to begin anew")
            length = len(to_line(header))
            for record, size in lines:
                if not isinstance(record, dict) or not record.keys() >= _FIELDS:
                    break  # as half a line: what follows is done again
                self._done[record["path"]].append(record)
                self.resumed += 1
                length += size
        return length

    def take(self, path: str) -> Record | None:
        """A record that the earlier run has for this path, each given out once; None when there is none."""
        done = self._done.get(path)
        return done.popleft() if done else None

    def add(self, record: Record) -> None:
        """Keep one record; after this call it outlives the process."""
        self._put(to_line(record))

    def _put(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            error.filename = str(self.path)
            raise

    def records(self) -> Iterator[Record]:
        """All records so far, in the order in which they were added."""
        with open(self.path, "rb") as file:
            lines = _whole_lines(file)
            next(lines)
            for record, _ in lines:
                yield record

    def close(self, *, keep: bool) -> None:
        """Close the file; delete it unless it is worth resuming."""
        try:
            self._file.close()
        except OSError:  # a full disk: the whole lines are there, the broken last one is dropped on resuming
            pass
        if not keep:
            os.unlink(self.path)


def _whole_lines(file: BinaryIO) -> Iterator[tuple[Any, int]]:
    """Parsed lines and their sizes in bytes; a killed run may leave half a line at the end, which is left out."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        try:
            yield json.loads(line), len(line)
        except ValueError:
            return
