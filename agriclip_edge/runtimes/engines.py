"""The engine files that this machine has built: what each was built from and for, and which one may run here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from ..errors import RuntimeUnavailable
from ..files import atomic_write, home

PREPARE = "agriclip-edge prepare"  # `agriclip_edge.runtimes.choice` adds the options that the bundle needs
_SUFFIX = ".engine"
_MAX_HEADER = 1 << 16  # bytes


class EngineKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides an engine's bytes; two machines with equal keys can share a file.

    Attributes:
        graph: sha256 of the ONNX file.
        tensorrt: product and version, "tensorrt 10.3.0".
        compute_capability: of the GPU, "8.7".
        precision: "fp16", "int8" or "fp32".
        batch: smallest, usual and largest number of photos in a run.

    Example:
        >>> EngineKey("ab" * 32, "tensorrt 10.3.0", "8.7", "fp16", (1, 1, 16)).sha256[:8]
        '03cbc22a'
    """

    graph: str
    tensorrt: str
    compute_capability: str
    precision: str
    batch: tuple[int, int, int]

    @property
    def sha256(self) -> str:
        """The name under which the engine is kept."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class EngineHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of an engine file, as JSON; the engine follows it.

    Attributes:
        key: what the engine was built from and for.
        size: bytes of the engine.
        sha256: of the engine.
        device: the GPU's name, for people.
        seconds: how long the build took.
    """

    key: EngineKey
    size: int
    sha256: str
    device: str
    seconds: float
    format: Literal["agriclip-engine"] = "agriclip-engine"
    version: Literal[1] = 1


class EngineStore:
    """The engines in one folder, ``engines/`` under `agriclip_edge.files.home`; made when the first one is added."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use ``folder``, or the usual one."""
        self.folder = folder if folder is not None else home() / "engines"

    def path(self, key: EngineKey) -> Path:
        """Where the engine of this key lies or would lie."""
        return self.folder / f"{key.sha256[:32]}{_SUFFIX}"

    def timing_cache(self, key: EngineKey) -> Path:
        """Where TensorRT's measurements of kernels lie for this version and GPU; they serve every bundle."""
        machine = hashlib.sha256(f"{key.tensorrt} {key.compute_capability}".encode()).hexdigest()
        return self.folder / f"{machine[:32]}.timing"

    def add(self, key: EngineKey, engine: bytes, *, device: str, seconds: float) -> Path:
        """Keep an engine: written beside its place and renamed, so that no reader ever sees half of it.

        Raises:
            OSError: the folder cannot be written, or the disk is full; nothing is left behind.
        """
        digest = hashlib.sha256(engine).hexdigest()
        header = EngineHeader(key, len(engine), digest, device, round(seconds, 1))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(key)
        with atomic_write(path) as file:
            file.write(msgspec.json.encode(header) + b"\n")
            file.write(engine)
        return path

    def read(self, key: EngineKey) -> bytes | None:
        """The engine of exactly this key, whole and unchanged; None when it must be built."""
        path = self.path(key)
        header = read_header(path)
        if header is None or header.key != key:
            return None
        with open(path, "rb") as file:
            file.readline(_MAX_HEADER)
            engine = file.read(header.size + 1)
        whole = len(engine) == header.size and hashlib.sha256(engine).hexdigest() == header.sha256
        return engine if whole else None

    def find(self, graph: str, tensorrt: str, compute_capability: str) -> EngineHeader:
        """The engine to run a graph with here: of those that fit, the one for the largest batches.

        Args:
            graph: sha256 of the ONNX file.
            tensorrt: product and version that would run it.
            compute_capability: of the GPU that would run it.

        Raises:
            RuntimeUnavailable: none was built, or for another GPU, version or bundle; the line that builds it.
        """
        own = [header for header in self.headers() if header.key.graph == graph]
        here = [h for h in own if (h.key.tensorrt, h.key.compute_capability) == (tensorrt, compute_capability)]
        if here:
            return max(here, key=lambda header: header.key.batch[2])
        if own:
            other = own[0]
            built = f"{other.key.tensorrt} on compute capability {other.key.compute_capability} ({other.device})"
            message = f"the engine was built by {built}; here is {tensorrt} on {compute_capability}: {PREPARE}"
        elif any(True for _ in self.headers()):
            message = f"the engines in {self.folder} belong to other bundles: {PREPARE}"
        else:
            message = f"no engine is built for this bundle yet: {PREPARE}"
        raise RuntimeUnavailable(message)

    def headers(self) -> Iterator[EngineHeader]:
        """Every engine that is there under the name of its key; what is no engine is passed over."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            header = read_header(path)
            if header is not None and path == self.path(header.key):
                yield header


def read_header(path: Path) -> EngineHeader | None:
    """The header of an engine file; None when there is no such file, it is no engine or not all of one."""
    try:
        with open(path, "rb") as file:
            line = file.readline(_MAX_HEADER)
        header = msgspec.json.decode(line, type=EngineHeader)
        return header if path.stat().st_size == len(line) + header.size else None
    except (OSError, msgspec.DecodeError):
        return None
