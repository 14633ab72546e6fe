"""Graphs that a runtime has compiled for this machine, kept on disk so that the next start need not."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import msgspec

from ..files import atomic_write

_SUFFIX = ".compiled"
_MAX_HEADER = 1 << 16  # bytes
_MOST_GRAPHS = 8  # kept; a bundle has two or three variants for OpenVINO
_MOST_BYTES = 1 << 30  # of all together; EfficientNet-Lite0 takes 16 MB
_ABANDONED = 3600.0  # seconds after which a file that nobody finished is removed


class CompiledKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides what a runtime makes of a graph.

    Attributes:
        graph: sha256 of the ONNX file.
        runtime: name and version, with its build.
        precision: what it computes in.
        cpu: name and features.
    """

    graph: str
    runtime: str
    precision: str
    cpu: str

    @property
    def sha256(self) -> str:
        """The name under which the compiled graph is kept."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a file, as JSON; the compiled graph follows it."""

    key: CompiledKey
    size: int
    sha256: str


class CompiledGraphs:
    """The compiled graphs under one folder, few and bounded in size; none of it is needed, so no failure is an error.

    A file is read only if it is whole and unchanged under the name of its key. Like an engine, it holds what the
    runtime will execute: take over none that this machine has not made.

    Example:
        >>> import tempfile
        >>> graphs = CompiledGraphs(Path(tempfile.mkdtemp()))
        >>> key = CompiledKey("ab" * 32, "openvino 2026.4.1", "bf16", "a CPU")
        >>> graphs.add(key, b"what the runtime exported")
        >>> graphs.read(key)
        b'what the runtime exported'
    """

    def __init__(self, home: Path) -> None:
        """Use ``compiled/`` under ``home``; made when the first graph is added."""
        self.folder = home / "compiled"

    def path(self, key: CompiledKey) -> Path:
        """Where the compiled graph of this key lies or would lie."""
        return self.folder / f"{key.sha256[:32]}{_SUFFIX}"

    def read(self, key: CompiledKey) -> bytes | None:
        """The compiled graph of exactly this key; None when it must be compiled."""
        path = self.path(key)
        try:
            with open(path, "rb") as file:
                header = msgspec.json.decode(file.readline(_MAX_HEADER), type=_Header)
                if header.key != key or not 0 <= header.size <= _MOST_BYTES:
                    return None
                data = file.read(header.size + 1)
            if len(data) != header.size or hashlib.sha256(data).hexdigest() != header.sha256:
                return None
        except (OSError, msgspec.DecodeError):
            return None
        try:
            os.utime(path)  # what is used stays longest
        except OSError:
            pass
        return data

    def add(self, key: CompiledKey, data: bytes) -> None:
        """Keep a compiled graph, whole or not at all; the ones not used for longest make room."""
        if len(data) > _MOST_BYTES:
            return
        header = _Header(key, len(data), hashlib.sha256(data).hexdigest())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path(key)) as file:
                file.write(msgspec.json.encode(header) + b"\n")
                file.write(data)
            self._make_room()
        except OSError:  # a full disk keeps nobody from an answer
            return

    def discard(self, key: CompiledKey) -> None:
        """Forget the compiled graph of this key, which its runtime did not take."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError:
            pass

    def _make_room(self) -> None:
        for beside in self.folder.glob(f".*{_SUFFIX}.*.tmp"):  # of a process that was killed
            if time.time() - beside.stat().st_mtime > _ABANDONED:
                beside.unlink(missing_ok=True)
        found = [(path.stat(), path) for path in self.folder.glob(f"*{_SUFFIX}")]
        newest = sorted(found, key=lambda pair: pair[0].st_mtime_ns, reverse=True)
        total = 0
        for place, (status, path) in enumerate(newest):
            total += status.st_size
            if place >= _MOST_GRAPHS or total > _MOST_BYTES:
                path.unlink(missing_ok=True)
