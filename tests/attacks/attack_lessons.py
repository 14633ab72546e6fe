"""Broken, hostile and foreign lessons: what a pack was taught by photos, as another device exports it."""

from __future__ import annotations

import json
import struct
from typing import Any

from attack_tools import TEXT, Attack, safetensors, sha256, text_encoder_id, tiny_files, tiny_manifest

_UNIT = struct.pack("<16e", 1, *[0] * 15)
_OTHER = "0f343b0931126a20f133d67c2b018a3b5e7aebeeeb1a0f1c6f6d5e2e9d1c8f3a"


def lessons() -> list[Attack]:
    """Every file, derived from two lessons of the tiny bundle: two photos of one label and one of another."""

    def made(name: str, says: str, message: str, content: bytes, fault: str = "pack-invalid") -> Attack:
        return Attack(name, says, fault, message, content, "read")

    def taught(*entries: dict[str, Any], photos: int = 3) -> bytes:
        return lessons_file(_header(lessons=list(entries)), photos, len(entries))

    def of(label: object, photos: object = 3) -> dict[str, Any]:
        return {"label": label, "photos": photos}

    text = json.dumps(_header())
    nan, long = (struct.pack("<16e", value, *[0] * 15) for value in (float("nan"), 40.0))
    return [
        made("empty", "0 bytes", "0 bytes are no safetensors file", b"", "pack-unreadable"),
        made("pack", "no lessons", "without the metadata key 'agriclip-lessons'",
             safetensors(b'{"photos":{"dtype":"F16","shape":[1,16],"data_offsets":[0,32]}}', _UNIT)),
        made("metadata-nan", "NaN photos", "NaN is not a number of JSON",
             lessons_file(text.replace('"photos": 2', '"photos": NaN'))),
        made("version", "version 2", "is of agriclip-lessons version 2; accepted: 1", lessons_file(_header(version=2)),
             "format-unsupported"),
        made("field-unknown", "a field that version 1 does not have", "unknown field `script`",
             lessons_file(_header(script="import os"))),
        made("counts-more", "lessons of 9 photos, of which 3 are there", "photos is ('float16', (3, 16)); accepted",
             taught(of({"text": "lemon"}, 4), of({"text": "lime"}, 5)), "pack-shape"),
        made("counts-fewer", "lessons of 2 photos, of which 3 are there", "accepted: float16 of shape (2, 16)",
             taught(of({"text": "lemon"}, 1), of({"text": "lime"}, 1)), "pack-shape"),
        made("counts-zero", "a lesson without a photo", "says it has 3 photos in [3, 0]",
             taught(of({"text": "lemon"}), of({"text": "lime"}, 0))),
        made("counts-negative", "counts that add up, one of them below 0", "says it has 3 photos in [5, -2]",
             taught(of({"text": "lemon"}, 5), of({"text": "lime"}, -2))),
        made("counts-huge", "more photos than a fit can take", "says it has 1000000000000 photos",
             taught(of({"text": "lemon"}, 10**12))),
        made("counts-string", "a count in words", "Expected `int`, got `str`", taught(of({"text": "lemon"}, "three"))),
        made("texts-fewer", "words of one label for two lessons", "texts is ('float16', (1, 16)); accepted",
             lessons_file(_header(), texts=1), "pack-shape"),
        made("photos-nan", "NaN in a photo's embedding", "photos are no unit vectors",
             lessons_file(_header(), first=nan), "pack-values"),
        made("photos-long", "a photo of length 40, which would win every fit", "photos are no unit vectors",
             lessons_file(_header(), first=long), "pack-values"),
        made("tensor-unknown", "a tensor that no lessons have", "holds 'payload'",
             lessons_file(_header(), more={"payload": b"\0" * 32}), "pack-shape"),
        made("label-control", "a label that clears the terminal", "holds control characters",
             taught(of({"text": "\x1b[2J\x1b[1;1Hall is well"}))),
        made("label-parent-control", "a broader label that clears the terminal", "holds control characters",
             taught(of({"text": "lemon", "parent": "\x1b[2Jfruit"}))),
        made("inside-text", "a pack inside that is text", "truncated or no safetensors",
             lessons_file(_header(), more={"pack": b"red apple, green apple"}), "pack-unreadable"),
        made("foreign-image-encoder", "taught with another image encoder: right sizes, wrong meaning",
             "was taught with other encoders than the bundle's", lessons_file(_header(image_encoder=_OTHER)),
             "pack-foreign-text-encoder"),
    ]  # fmt: skip


def _header(**changed: Any) -> dict[str, Any]:
    files, manifest = tiny_files(), tiny_manifest()
    graphs = sorted({sha256(files[variant["file"]]) for variant in manifest["image"]})
    assert manifest["text"]["file"] == TEXT
    return {
        "version": 1,
        "text_encoder": text_encoder_id(files),
        "image_encoder": sha256("\n".join(graphs).encode()),
        "lessons": [{"label": {"text": "lemon"}, "photos": 2}, {"label": {"text": "lime"}, "photos": 1}],
        **changed,
    }


def lessons_file(
    header: dict[str, Any] | str,
    photos: int = 3,
    texts: int = 2,
    *,
    first: bytes = _UNIT,
    more: dict[str, bytes] | None = None,
) -> bytes:
    """A file of lessons with this header: so many photos, the first one given, and so many labels' words."""
    parts = [
        ("photos", "F16", [photos, 16], first + _UNIT * (photos - 1)),
        ("texts", "F16", [texts, 16], _UNIT * texts),
    ]
    parts += [(name, "U8", [len(data)], data) for name, data in (more or {}).items()]
    outer: dict[str, Any] = {
        "__metadata__": {"agriclip-lessons": header if isinstance(header, str) else json.dumps(header)}
    }
    body = b""
    for name, dtype, shape, data in parts:
        outer[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    return safetensors(json.dumps(outer).encode(), body)
