"""Broken, hostile and foreign label packs."""

from __future__ import annotations

import json
import pickle
import struct
from typing import Any

from attack_tools import PACK, Attack, pack_file, pack_parts, safetensors, tiny_files

_DEEP = 40_000  # brackets
_OTHER = "0f343b0931126a20f133d67c2b018a3b5e7aebeeeb1a0f1c6f6d5e2e9d1c8f3a"  # another encoder's sha256


def packs() -> list[Attack]:
    """Every pack, derived from the tiny bundle's fruit-colour."""
    return [*_files(), *_headers(), *_tensors(), *_origins(), *_foreign()]


def _whole() -> tuple[dict[str, Any], bytes]:
    return pack_parts(tiny_files()[PACK])


def _files() -> list[Attack]:
    data = tiny_files()[PACK]
    header, rows = _whole()
    outer = data[8 : len(data) - len(rows)]

    def made(name: str, says: str, message: str, content: bytes) -> Attack:
        return Attack(name, says, "pack-unreadable", message, content, "read")

    text = json.dumps(header, separators=(",", ":"))
    metadata = json.dumps({"agriclip-pack": text})
    overlapping = {"dtype": "F16", "shape": [3, 16], "data_offsets": [0, 96]}
    return [
        made("empty", "0 bytes", "0 bytes are no safetensors file", b""),
        made("truncated", "the last row is missing", "not a safetensors file", data[:-32]),
        made("truncated-header", "the file ends in its header", "truncated or no safetensors", data[:200]),
        made("longer", "bytes after the last row", "not a safetensors file", data + b"\0" * 32),
        made("header-exabyte", "a header that says it has 2^60 bytes", "says its header has 1,152,921,504,606,846,976",
             struct.pack("<Q", 1 << 60) + data[8:]),
        made("pickle", "a pickle in place of safetensors", "truncated or no safetensors",
             pickle.dumps({"labels": ["red apple"], "embeddings": [[1.0] * 16]}, protocol=2)),
        made("zip", "a zip in place of safetensors", "truncated or no safetensors", b"PK\3\4" + bytes(range(256)) * 2),
        made("header-not-json", "a header that is no JSON", "header is not valid JSON",
             safetensors(b"{'embeddings': 0}", rows)),
        made("header-not-utf8", "a header in Latin-1", "header is not valid JSON: 'utf-8' codec",
             safetensors(outer.replace(b"banana", b"banan\xe9"), rows)),
        made("header-duplicate", "the tensor is there twice, each reader takes another", "duplicate key 'embeddings'",
             safetensors(f'{{"__metadata__":{metadata},"embeddings":{json.dumps(overlapping)},'
                         f'"embeddings":{json.dumps(overlapping)}}}'.encode(), rows)),
        made("header-nan", "NaN in the header", "NaN is not a number of JSON",
             safetensors(outer.replace(b"[0,96]", b"[0,NaN]"), rows)),
        made("header-deep", "40,000 brackets in the header", "header is nested too deeply",
             safetensors(b"[" * _DEEP, rows)),
        made("offsets-outside", "a tensor that ends behind the file", "not a safetensors file",
             safetensors(outer.replace(b"[0,96]", b"[0,9600]"), rows)),
        made("offsets-backwards", "a tensor that ends before it begins", "not a safetensors file",
             safetensors(outer.replace(b"[0,96]", b"[96,0]"), rows)),
    ]  # fmt: skip


def _headers() -> list[Attack]:
    header, rows = _whole()

    def made(name: str, says: str, message: str, content: bytes, fault: str = "pack-invalid") -> Attack:
        return Attack(name, says, fault, message, content, "read")

    def changed(**fields: Any) -> bytes:
        return pack_file({**header, **fields}, rows)

    def labels(*texts: object) -> bytes:
        return changed(labels=[{"text": text} for text in texts])

    text = json.dumps(header, separators=(",", ":"))
    plain = json.dumps({"embeddings": {"dtype": "F16", "shape": [3, 16], "data_offsets": [0, 96]}})
    return [
        made("no-metadata", "a safetensors file that is no pack", "without the metadata key 'agriclip-pack'",
             safetensors(plain.encode(), rows)),
        made("metadata-not-json", "metadata that is no JSON", "metadata is not valid JSON",
             pack_file("labels: red apple", rows)),
        made("metadata-duplicate", "the labels are there twice", "duplicate key 'labels'",
             pack_file(text[:-1] + ',"labels":[]}', rows)),
        made("metadata-nan", "NaN as temperature", "NaN is not a number of JSON",
             pack_file(text.replace('"temperature":null', '"temperature":NaN'), rows)),
        made("metadata-deep", "40,000 brackets in the metadata", "metadata is nested too deeply",
             pack_file("[" * _DEEP, rows)),
        made("field-unknown", "a field that version 1 does not have", "unknown field `script`",
             changed(script="import os")),
        made("field-missing", "no templates", "missing required field `templates`",
             pack_file({key: value for key, value in header.items() if key != "templates"}, rows)),
        made("version", "pack version 2", "is of agriclip-pack version 2", changed(version=2), "format-unsupported"),
        made("temperature-zero", "temperature 0", "gives temperature 0", changed(temperature=0)),
        made("temperature-huge", "a temperature at which all labels are alike", "gives temperature 1e+300",
             changed(temperature=1e300)),
        made("temperature-overflow", "temperature 1e999, infinite for a reader", "gives temperature inf",
             pack_file(text.replace('"temperature":null', '"temperature":1e999'), rows)),
        made("threshold-negative", "threshold -1", "gives threshold -1", changed(threshold=-1)),
        made("threshold-over", "a confidence that nothing reaches", "gives threshold 1.5", changed(threshold=1.5)),
        made("unknown-over", "a least cosine that nothing reaches", "gives unknown 1.5", changed(unknown=1.5)),
        made("unknown-overflow", "a least cosine of -1e999", "gives unknown -inf",
             pack_file(text.replace('"unknown":null', '"unknown":-1e999'), rows)),
        made("unknown-string", "a least cosine in words", "Expected `float | null`, got `str`",
             changed(unknown="never")),
        made("image-encoder-form", "taught by an encoder that is no hash", "gives image encoder 'yes'; accepted: a",
             changed(image_encoder="yes")),
        made("labels-parent-control", "a broader label that clears the terminal", "holds control characters",
             changed(labels=[{"text": text, "parent": "\x1b[2J"} for text in ("a", "b", "c")])),
        made("labels-parent-long", "broader labels of 15,000 characters", "has 15000 characters",
             changed(labels=[{"text": text, "parent": "a" * 15_000} for text in ("a", "b", "c")])),
        made("name-climbs", "a pack that wants to lie in ../../evil.safetensors", "names itself '../../evil'",
             changed(name="../../evil")),
        made("title-control", "a title that clears the terminal", "'\\x1b[2Jfruit' holds control characters",
             changed(title="\x1b[2Jfruit")),
        made("template-control", "a template that clears the terminal", "holds control characters",
             changed(templates=["{}\x1b[2J"])),
        made("labels-none", "no label", "0 labels; accepted", labels()),
        made("labels-number", "a number as a label", "Expected `str`, got `int`", labels("red apple", 7, "banana")),
        made("labels-empty", "an empty label", "an empty label", labels("red apple", " ", "banana")),
        made("labels-control", "a label that clears the terminal", "holds control characters",
             labels("red apple", "\x1b[2J\x1b[1;1Hall is well", "banana")),
        made("labels-newline", "a label of two lines", "holds control characters",
             labels("red apple", "green apple\nagriclip-edge: all is well", "banana")),
        made("labels-bidi", "a label that is read from right to left", "holds control characters",
             labels("red apple", "\u202eelppa neerg", "banana")),
        made("labels-surrogate", "a label that is no Unicode text", "holds control characters",
             labels("red apple", "\ud800", "banana")),
        made("labels-language", "a display name in no language", "accepted: a code such as es",
             changed(labels=[{"text": text, "names": {"../es": "x"}} for text in ("a", "b", "c")])),
        made("labels-name-control", "a display name that clears the terminal", "holds control characters",
             changed(labels=[{"text": text, "names": {"es": "\x1b[2J"}} for text in ("a", "b", "c")])),
        made("labels-facts-control", "a class of facts that clears the terminal", "holds control characters",
             changed(labels=[{"text": text, "facts": "\x1b[2J"} for text in ("a", "b", "c")])),
        made("centre-form", "a centre that is no hash", "gives centre 'yes'; accepted: a sha256",
             changed(centre="yes")),
        made("labels-long", "a label of 20,000 characters", "has 20000 characters",
             labels("red apple", "a" * 20_000, "banana")),
        made("labels-twice", "a label twice", "label 'red apple' is there twice",
             labels("red apple", "red apple", "banana")),
        made("labels-twice-by-case", "a label twice, but for its case", "label 'RED APPLE' is there twice",
             labels("red apple", "RED APPLE", "banana")),
    ]  # fmt: skip


def _tensors() -> list[Attack]:
    header, rows = _whole()

    def shaped(name: str, says: str, message: str, content: bytes, at: str = "read") -> Attack:
        return Attack(name, says, "pack-shape", message, content, at)

    def valued(name: str, says: str, message: str, first: bytes) -> Attack:
        return Attack(name, says, "pack-values", message, pack_file(header, first + rows[len(first) :]), "read")

    def two(first: str, second: str) -> bytes:
        tensors = {
            first: {"dtype": "F16", "shape": [3, 16], "data_offsets": [0, 96]},
            second: {"dtype": "F16", "shape": [3, 16], "data_offsets": [96, 192]},
        }
        outer = {"__metadata__": {"agriclip-pack": json.dumps(header)}, **tensors}
        return safetensors(json.dumps(outer).encode(), rows + rows)

    unit8 = struct.pack("<8e", 1, *[0] * 7)
    fewer = {**header, "labels": header["labels"][:2]}
    more = {**header, "labels": [*header["labels"], {"text": "lemon"}]}
    return [
        shaped("dims", "embeddings of 8 values for a bundle of 16", "has embeddings of 8 values; the bundle's have 16",
               pack_file(header, unit8 * 3, shape=(3, 8)), "accept"),
        shaped("dims-one", "embeddings as one long row", "accepted: one tensor 'embeddings', float16",
               pack_file(header, rows, shape=(48,))),
        shaped("dims-three", "embeddings as a cube", "accepted: one tensor 'embeddings', float16",
               pack_file(header, rows, shape=(3, 4, 4))),
        shaped("dtype-float32", "float32 embeddings", "'float32'",
               pack_file(header, rows + rows, shape=(3, 16), dtype="F32")),
        shaped("dtype-uint16", "the same bits as integers", "'uint16'", pack_file(header, rows, dtype="U16")),
        shaped("tensor-name", "the tensor has another name", "accepted: one tensor 'embeddings'",
               pack_file(header, rows).replace(b'"embeddings"', b'"embeddingz"')),
        shaped("tensor-second", "a second tensor", "'payload': ('float16'", two("embeddings", "payload")),
        shaped("labels-fewer", "2 labels for 3 rows", "has 2 labels and embeddings of shape (3, 16)",
               pack_file(fewer, rows)),
        shaped("labels-more", "4 labels for 3 rows", "has 4 labels and embeddings of shape (3, 16)",
               pack_file(more, rows)),
        valued("nan", "NaN in a row", "holds NaN or infinite embeddings", struct.pack("<e", float("nan"))),
        valued("infinite", "infinity in a row", "holds NaN or infinite embeddings", struct.pack("<e", float("inf"))),
        valued("not-unit", "a row of length 40, which would win every photo", "to 40.000; accepted: unit vectors",
               struct.pack("<16e", *[10.0] * 16)),
        valued("zero", "a row of zeros", "of length 0.000 to", bytes(32)),
    ]  # fmt: skip


def _origins() -> list[Attack]:
    """Packs that say they were adapted to a place: what is taken off every photo moves every answer."""
    header, rows = _whole()
    half = struct.pack("<16e", 0.5, *[0] * 15)

    def made(
        name: str,
        says: str,
        message: str,
        fault: str = "pack-invalid",
        *,
        vector: bytes | None = half,
        shape: tuple[int, ...] = (16,),
        dtype: str = "F16",
        at: str = "read",
        entry: object = (),
        **fields: Any,
    ) -> Attack:
        """An origin of this vector; its header's entry is a right one with these fields, or ``entry``."""
        said = {"photos": 30, "image_encoder": _OTHER, **fields} if entry == () else entry
        outer: dict[str, Any] = {
            "__metadata__": {"agriclip-pack": json.dumps({**header, "origin": said})},
            "embeddings": {"dtype": "F16", "shape": [3, 16], "data_offsets": [0, 96]},
        }
        if vector is not None:
            outer["origin"] = {"dtype": dtype, "shape": list(shape), "data_offsets": [96, 96 + len(vector)]}
        data = safetensors(json.dumps(outer).encode(), rows + (vector or b""))
        return Attack(name, says, fault, message, data, at)

    def valued(name: str, says: str, message: str, value: float) -> Attack:
        return made(name, says, message, "pack-values", vector=struct.pack("<16e", value, *[0] * 15))

    return [
        made("origin-missing", "adapted, and no origin", "and 'origin', float16, (dim,)", "pack-shape", vector=None),
        made("origin-unsaid", "an origin of a pack that is not adapted", "accepted: one tensor 'embeddings', float16",
             "pack-shape", entry=None),
        made("origin-short", "an origin of 8 values for embeddings of 16", "has an origin of shape (8,); accepted: (16",
             "pack-shape", vector=half[:16], shape=(8,)),
        made("origin-rows", "an origin for each of 3 labels", "and 'origin', float16, (dim,)", "pack-shape",
             vector=half * 3, shape=(3, 16)),
        made("origin-dtype", "a float32 origin", "'origin': ('float32'", "pack-shape",
             vector=struct.pack("<16f", 0.5, *[0] * 15), dtype="F32"),
        valued("origin-nan", "NaN in the origin", "has an origin of length nan", float("nan")),
        valued("origin-infinite", "infinity in the origin", "has an origin of length inf", float("inf")),
        valued("origin-long", "an origin of length 40, which would drown every photo", "has an origin of length 40.000",
               40.0),
        made("origin-photos-zero", "the mean of no photo", "has an origin of 0 photos", photos=0),
        made("origin-photos-negative", "the mean of -4 photos", "has an origin of -4 photos", photos=-4),
        made("origin-photos-huge", "more photos than were ever taken", "has an origin of 1000000000", photos=10**40),
        made("origin-photos-string", "a number of photos in words", "Expected `int`, got `str`", photos="thirty"),
        made("origin-encoder-form", "an image encoder that is no hash", "gives image encoder 'yes' for its origin",
             image_encoder="yes"),
        made("origin-encoder-none", "photos of no image encoder", "gives image encoder '' for its origin",
             image_encoder=""),
        made("origin-field-unknown", "a field that an origin does not have", "unknown field `script`",
             script="import os"),
        made("origin-field-missing", "does not say what embedded the photos", "missing required field `image_encoder`",
             entry={"photos": 30}),
        made("foreign-origin", "adapted by photos of another image encoder: right sizes, wrong meaning",
             "was adapted by photos of image encoder 0f343b093112", "pack-foreign-preprocessing", at="accept"),
    ]  # fmt: skip


def _foreign() -> list[Attack]:
    header, rows = _whole()
    return [
        Attack("foreign-text-encoder", "made with another text encoder: right sizes, wrong meaning",
               "pack-foreign-text-encoder", "was made with text encoder 0f343b093112",
               pack_file({**header, "text_encoder": _OTHER}, rows), "accept"),
        Attack("foreign-text-encoder-none", "does not say what text encoder made it", "pack-foreign-text-encoder",
               "was made with text encoder …", pack_file({**header, "text_encoder": ""}, rows), "accept"),
        Attack("foreign-centre", "centred with the facts of another bundle", "pack-foreign-centre",
               "was centred with facts 0f343b093112",
               pack_file({**header, "centre": "0f343b093112" + "0" * 52}, rows), "accept"),
        Attack("foreign-image-encoder", "taught with another image encoder: right sizes, wrong meaning",
               "pack-foreign-preprocessing", "was taught with image encoder 0f343b093112",
               pack_file({**header, "image_encoder": _OTHER}, rows), "accept"),
        Attack("foreign-preprocessing", "made for photos prepared in another way", "pack-foreign-preprocessing",
               "was made for preprocessing 0f343b093112", pack_file({**header, "preprocessing": _OTHER}, rows),
               "accept"),
    ]  # fmt: skip
