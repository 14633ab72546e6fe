"""What attacks are made of: the tiny bundle's parts, and writers for zips and packs that do whatever they are told."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TINY = Path(__file__).resolve().parents[1] / "data" / "tiny_bundle"
IMAGE = "image/encoder.onnx"
TEXT = "text/encoder.onnx"
VOCABULARY = "text/vocab.txt"
CARD = "card.md"
MAP = "text/map.safetensors"
PACK = "packs/fruit-colour.safetensors"
FACTS = {"label": "red apple", "kind": "produce", "parent": "apple", "visible": ["red"], "sources": ["made"]}
GZIP_HEAD = b"\x1f\x8b\x08" + b"\0" * 6 + b"\xff"
_LICENCE = b"Apache-2.0, as the repository's LICENSE\n"  # the whole text would be half of every attack


@dataclass(frozen=True)
class Attack:
    """One file that must be refused, and how."""

    name: str
    says: str  # what is wrong with it, for the table in README.md
    fault: str  # the BundleFault that refuses it
    message: str  # a part of the message that no other reason would give
    data: bytes = field(repr=False)
    at: str = "open"  # the first step that meets it: open, load, labels, photo, verify (bundles); read, accept (packs)
    zip_only: bool = False  # the attack is in the archive itself: a folder cannot hold it


@dataclass(frozen=True)
class Entry:
    """One entry of a zip; what it declares need not be true."""

    name: bytes
    data: bytes  # as it lies in the file: deflated, when method says so
    method: int = 0
    size: int | None = None  # declared; None is the true size of stored data
    crc: int | None = None
    flags: int = 0
    mode: int = 0o100644
    local_name: bytes | None = None
    local_flags: int | None = None


def zip_of(entries: Iterable[Entry]) -> bytes:
    """A zip file, byte by byte the same whatever writes zips or deflates on this machine."""
    body, directory, count = b"", b"", 0
    for entry in entries:
        size = len(entry.data) if entry.size is None else entry.size
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        middle = struct.pack("<3HLLL", entry.method, 0, 33, crc, len(entry.data), size)
        local = entry.name if entry.local_name is None else entry.local_name
        local_flags = entry.flags if entry.local_flags is None else entry.local_flags
        attributes = struct.pack("<HHLL", 0, 0, entry.mode << 16, len(body))
        directory += b"PK\1\2" + struct.pack("<BBHH", 20, 3, 20, entry.flags) + middle
        directory += struct.pack("<HHH", len(entry.name), 0, 0) + attributes + entry.name
        body += b"PK\3\4" + struct.pack("<HH", 20, local_flags) + middle + struct.pack("<HH", len(local), 0)
        body += local + entry.data
        count += 1
    end = struct.pack("<4H2LH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


def zeros_deflated(count: int) -> bytes:
    """A deflate stream that inflates to ``count`` spaces or some more: one literal, then 258 bytes in 13 bits."""
    bits = [1, 1, 0]  # the last block, with the fixed codes of RFC 1951
    bits += _code(0x30 + ord(" "), 8)
    bits += (_code(0b11000101, 8) + _code(0, 5)) * -(-count // 258)  # length 258 at distance 1
    bits += _code(0, 7)  # end of block
    bits += [0] * (-len(bits) % 8)
    packed = bytearray(len(bits) // 8)
    for place, bit in enumerate(bits):
        packed[place >> 3] |= bit << (place & 7)
    return bytes(packed)


def _code(value: int, length: int) -> list[int]:
    return [value >> place & 1 for place in reversed(range(length))]


def tiny_files() -> dict[str, bytes]:
    """The files of the tiny bundle without its manifest, in the order of their names."""
    files = {
        path.relative_to(TINY).as_posix(): path.read_bytes()
        for path in sorted(TINY.rglob("*"))
        if path.is_file() and path.name != "bundle.json"
    }
    return {name: _LICENCE if name.startswith("LICENSES/") else data for name, data in files.items()}


def tiny_manifest() -> dict[str, Any]:
    """The tiny bundle's manifest, as a document of one's own."""
    manifest: dict[str, Any] = json.loads((TINY / "bundle.json").read_text(encoding="utf-8"))
    return manifest


def described(manifest: dict[str, Any], files: dict[str, bytes]) -> dict[str, Any]:
    """The manifest with the true sizes and hashes of these files."""
    listed = [{"path": name, "size": len(data), "sha256": sha256(data)} for name, data in files.items()]
    return {**copy.deepcopy(manifest), "files": listed}


def bundle_zip(manifest: dict[str, Any] | bytes, files: dict[str, bytes], more: Sequence[Entry] = ()) -> bytes:
    """A bundle as a zip with stored entries."""
    data = manifest if isinstance(manifest, bytes) else to_json(manifest)
    entries = [Entry(b"bundle.json", data), *(Entry(name.encode(), content) for name, content in files.items())]
    return zip_of([*entries, *more])


def with_files(**replaced: bytes) -> bytes:
    """A whole bundle with some files replaced, described truly; its packs belong to its text encoder again.

    Args:
        replaced: new bytes by part: ``image``, ``text``, ``vocabulary``.
    """
    names = {"image": IMAGE, "text": TEXT, "vocabulary": VOCABULARY}
    files = {**tiny_files(), **{names[part]: data for part, data in replaced.items()}}
    for name in [name for name in files if name.startswith("packs/")]:
        header, rows = pack_parts(files[name])
        files[name] = pack_file({**header, "text_encoder": text_encoder_id(files)}, rows)
    return bundle_zip(described(tiny_manifest(), files), files)


def text_encoder_id(files: dict[str, bytes]) -> str:
    """The identity of the text encoder of a bundle with these files, as docs/bundle-format.md defines it."""
    tokens = tiny_manifest()["text"]["max_tokens"]
    return sha256(f"{sha256(files[TEXT])}\n{sha256(files[VOCABULARY])}\n{tokens}".encode())


def pack_parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A pack file's own header, and the bytes of its embeddings."""
    (length,) = struct.unpack("<Q", data[:8])
    outer = json.loads(data[8 : 8 + length])
    header: dict[str, Any] = json.loads(outer["__metadata__"]["agriclip-pack"])
    return header, data[8 + length :]


def pack_file(
    header: dict[str, Any] | str, rows: bytes, *, shape: Sequence[int] | None = None, dtype: str = "F16"
) -> bytes:
    """A pack file with this header; its tensor is as long as it should be for 16 values a row."""
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    tensor = {"dtype": dtype, "shape": list(shape or (len(rows) // 32, 16)), "data_offsets": [0, len(rows)]}
    return safetensors(json.dumps({"__metadata__": {"agriclip-pack": text}, "embeddings": tensor}).encode(), rows)


def tensors_file(**tensors: tuple[tuple[int, ...], float]) -> bytes:
    """A safetensors file of float32 tensors by name: each of this shape, all its values this one."""
    header, rows = {}, b""
    for name, (shape, value) in tensors.items():
        data = struct.pack("<f", value) * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(rows), len(rows) + len(data)]}
        rows += data
    return safetensors(json.dumps(header).encode(), rows)


def safetensors(header: bytes, rows: bytes) -> bytes:
    """A safetensors file: the header's length, the header, the tensors."""
    return struct.pack("<Q", len(header)) + header + rows


def with_facts(library: bytes | None = None, symptoms: bytes | None = None, **more: Any) -> bytes:
    """A whole bundle with a facts library of one class, described truly.

    Args:
        library: its classes' file, in place of the right one.
        symptoms: its vectors' file, in place of the right one.
        more: further fields of the manifest's entry.
    """
    files = {
        **tiny_files(),
        "facts/library.json.gz": gzip_of(to_json({"classes": [FACTS]})) if library is None else library,
        "facts/symptoms.int8": bytes(range(1, 17)) if symptoms is None else symptoms,
    }
    entry = {"file": "facts/library.json.gz", "symptoms": "facts/symptoms.int8", **more}
    return bundle_zip(described({**tiny_manifest(), "facts": entry}, files), files)


def gzip_of(data: bytes) -> bytes:
    """A gzip file with stored blocks: byte by byte the same whatever deflates on this machine."""
    blocks = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)]
    body = b"".join(
        struct.pack("<BHH", place == len(blocks) - 1, len(block), 0xFFFF - len(block)) + block
        for place, block in enumerate(blocks)
    )
    return gzip_around(body, data)


def gzip_around(deflated: bytes, data: bytes) -> bytes:
    """A gzip file of a deflate stream that says it holds ``data``."""
    return GZIP_HEAD + deflated + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def to_json(document: object) -> bytes:
    """JSON as it comes, NaN and all."""
    return json.dumps(document, indent=1).encode()


def sha256(data: bytes) -> str:
    """The digest in hex."""
    return hashlib.sha256(data).hexdigest()
