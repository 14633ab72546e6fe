"""A label pack survives its file unchanged, and a broken or hostile file gives a BundleError."""

from __future__ import annotations

import json
import re
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import BundleError, BundleFault, LabelError
from agriclip_edge.labels.pack import MAX_LABEL_CHARACTERS, Label, LabelPack, Origin, check_labels, merge


def make_pack(labels: list[Label], *, dim: int = 16, name: str = "field", **fields: Any) -> LabelPack:
    """A pack whose embeddings are what a file can hold: unit vectors rounded to float16."""
    rows = np.random.default_rng(len(labels)).normal(size=(len(labels), dim))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return LabelPack(
        name=name,
        title=fields.pop("title", "what stands in a field"),
        labels=tuple(labels),
        embeddings=unit.astype(np.float16).astype(np.float32),
        templates=("{}", "a photo of {}"),
        text_encoder="a" * 64,
        preprocessing="b" * 64,
        **fields,
    )


def same(one: LabelPack, other: LabelPack) -> bool:
    plain = replace(one, embeddings=other.embeddings)
    return plain == other and bool((one.embeddings == other.embeddings).all())


PLAIN = [Label("wheat", "cereal", ("Triticum aestivum", "bread wheat")), Label("maize", "cereal"), Label("bare soil")]


def test_a_merge_takes_a_photo_that_one_pack_would_take() -> None:
    one = make_pack([Label("wheat")], name="one", unknown=0.3)
    two = make_pack([Label("maize")], name="two", unknown=0.2)
    assert merge([one, two]).unknown == 0.2
    assert merge([one, make_pack([Label("rye")], name="three")]).unknown is None


def test_round_trip() -> None:
    pack = make_pack(PLAIN, temperature=0.07, threshold=0.4, unknown=-0.1)
    found = LabelPack.from_bytes(pack.to_bytes())
    assert same(found, pack)
    assert found.embeddings.dtype == np.float32
    assert not found.embeddings.flags.writeable


def origin(value: float = 0.5, photos: int = 30, dim: int = 16, at: int = 0) -> Origin:
    return Origin((value * np.eye(dim)[at]).astype(np.float32), photos, "c" * 64)


def test_round_trip_of_an_adapted_pack() -> None:
    pack = make_pack(PLAIN, origin=origin())
    found = LabelPack.from_bytes(pack.to_bytes())
    assert (
        same(found, pack)
        and not same(found, make_pack(PLAIN))
        and not same(found, make_pack(PLAIN, origin=origin(0.25)))
    )
    assert found.origin is not None and not found.origin.vector.flags.writeable
    assert str(found.origin).startswith("30 photos, ")
    np.testing.assert_allclose(found.offsets, 0.5 * found.embeddings[:, 0])
    assert make_pack(PLAIN).offsets.tolist() == [0, 0, 0]
    assert b'"origin":null' in make_pack(PLAIN).to_bytes().replace(b"\\", b"")


def test_what_one_pack_was_adapted_to_a_merge_is() -> None:
    """An origin is of photos, not of labels."""
    plain = make_pack([Label("wheat")], name="plain")
    one = make_pack([Label("maize"), Label("rye")], name="one", origin=origin())
    same_place = make_pack([Label("oats")], name="two", origin=origin())
    merged = merge([plain, one, same_place])
    assert merged.origin == origin()
    np.testing.assert_array_equal(merged.offsets, merged.embeddings @ origin().vector)
    other = make_pack([Label("spelt")], name="three", origin=origin(0.5, 90, at=1))
    both = merge([one, other, same_place]).origin
    assert both is not None and both.photos == 120
    np.testing.assert_allclose(both.vector[:3], [0.125, 0.375, 0])
    taught = make_pack([Label("barley")], name="taught", image_encoder="c" * 64)
    assert merge([plain, taught]).origin is None
    with pytest.raises(LabelError, match="^taught taught by photos with labels, one adapted by photos without"):
        merge([taught, plain, one])


WORDS = st.text(st.sampled_from("abz éßñ-'&,;\"\\/{}稲गا🌾<>"), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)


@given(
    texts=st.lists(WORDS, min_size=1, max_size=6, unique_by=str.casefold),
    parent=st.just("") | WORDS,
    synonyms=st.lists(WORDS, max_size=3),
    dim=st.integers(1, 40),
    temperature=st.none() | st.floats(0.001, 999),
)
def test_round_trip_of_any_words(
    texts: list[str], parent: str, synonyms: list[str], dim: int, temperature: float | None
) -> None:
    pack = make_pack([Label(text, parent, tuple(synonyms)) for text in texts], dim=dim, temperature=temperature)
    data = pack.to_bytes()
    assert same(LabelPack.from_bytes(data), pack)
    assert LabelPack.from_bytes(data).to_bytes() == data


def test_same_pack_same_bytes() -> None:
    assert make_pack(PLAIN).to_bytes() == make_pack(list(PLAIN)).to_bytes()
    assert make_pack(PLAIN).to_bytes() != make_pack(PLAIN[::-1]).to_bytes()
    made_otherwise = [Label("bare soil", "".join([]), tuple(word for word in "")), Label("maize")]
    assert make_pack(made_otherwise).to_bytes() == make_pack([Label("bare soil"), Label("maize")]).to_bytes()


def test_many_labels_come_back() -> None:
    """As many as a genus list of a flora holds: the header alone is megabytes."""
    rows = np.zeros((120_000, 2), np.float32)
    rows[:, 0] = 1
    labels = tuple(Label(f"species number {number} of the flora") for number in range(len(rows)))
    pack = replace(make_pack(PLAIN, dim=2), labels=labels, embeddings=rows)
    assert same(LabelPack.from_bytes(pack.to_bytes()), pack)


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    """Any other program can read the embeddings, and the labels as JSON."""
    from safetensors import safe_open

    pack = make_pack(PLAIN)
    (tmp_path / "field.safetensors").write_bytes(pack.to_bytes())
    with safe_open(tmp_path / "field.safetensors", framework="np") as file:
        assert list(file.keys()) == ["embeddings"]
        assert file.get_tensor("embeddings").dtype == np.float16
        assert (file.get_tensor("embeddings") == pack.embeddings).all()
        header = json.loads(file.metadata()["agriclip-pack"])
    assert [label["text"] for label in header["labels"]] == ["wheat", "maize", "bare soil"]
    assert (header["version"], header["text_encoder"]) == (1, "a" * 64)


def test_documented_header(root: Path) -> None:
    page = (root / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(\{\n  \"version\".*?\n\})\n```", page, re.DOTALL)
    assert found is not None
    data = pack_file(json.loads(found.group(1)), np.eye(2, 384, dtype=np.float16))
    pack = LabelPack.from_bytes(data)
    assert pack.labels[0] == Label(
        "maize leaf with common rust",
        "maize leaf",
        ("corn leaf with common rust",),
        {"es": "hoja de maíz con roya común"},
        "maize leaf with common rust",
    )


# --- What is refused ------------------------------------------------------------------------------------------------


def pack_file(header: dict[str, Any], array: np.ndarray, dtype: str = "F16", **tensors: Any) -> bytes:
    """A safetensors file made by hand, as an attacker would."""
    data = array.tobytes()
    outer = {
        "__metadata__": {"agriclip-pack": json.dumps(header)},
        "embeddings": {"dtype": dtype, "shape": list(array.shape), "data_offsets": [0, len(data)]},
        **tensors,
    }
    text = json.dumps(outer).encode()
    return struct.pack("<Q", len(text)) + text + data


def header_of(pack: LabelPack) -> dict[str, Any]:
    data = pack.to_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["agriclip-pack"])
    return header


HEADER, ROWS = header_of(make_pack(PLAIN)), make_pack(PLAIN).embeddings.astype(np.float16)
INVALID, SHAPE, VALUES = BundleFault.PACK_INVALID, BundleFault.PACK_SHAPE, BundleFault.PACK_VALUES
OTHERS = [{"text": "maize"}, {"text": "soil"}]


def with_value(value: float) -> np.ndarray:
    rows = ROWS.copy()
    rows[1, 3] = value
    return rows


BROKEN: dict[str, tuple[bytes, BundleFault, str]] = {
    "nothing": (b"", BundleFault.PACK_UNREADABLE, "0 bytes are no safetensors file"),
    "a header beyond the end": (b"\xff" * 40, BundleFault.PACK_UNREADABLE, "truncated or no safetensors"),
    "another version": (pack_file({**HEADER, "version": 2}, ROWS), BundleFault.FORMAT_UNSUPPORTED, "pack version 2"),
    "another version with other fields": (
        pack_file({"version": 2, "classes": []}, ROWS),
        BundleFault.FORMAT_UNSUPPORTED,
        "pack version 2; accepted: 1",
    ),
    "an unknown field": (pack_file({**HEADER, "licence": "MIT"}, ROWS), INVALID, "unknown field `licence`"),
    "a label as a number": (pack_file({**HEADER, "labels": [3]}, ROWS), INVALID, "Expected `object`, got `int`"),
    "an empty label": (pack_file({**HEADER, "labels": [{"text": " "}, *OTHERS]}, ROWS), INVALID, "an empty label"),
    "a control character": (
        pack_file({**HEADER, "labels": [{"text": "a\u001b[31mb"}, *OTHERS]}, ROWS),
        INVALID,
        "holds control characters",
    ),
    "a control character in a parent": (
        pack_file({**HEADER, "labels": [{"text": "a", "parent": "b\u0000"}, *OTHERS]}, ROWS),
        INVALID,
        "holds control characters",
    ),
    "half a surrogate pair": (
        pack_file({**HEADER, "labels": [{"text": "a\ud800"}, *OTHERS]}, ROWS),
        INVALID,
        "holds control characters",
    ),
    "a label of 201 characters": (
        pack_file({**HEADER, "labels": [{"text": "a" * 201}, *OTHERS]}, ROWS),
        INVALID,
        "201 characters; at most 200",
    ),
    "a label twice": (
        pack_file({**HEADER, "labels": [{"text": "MAIZE"}, *OTHERS]}, ROWS),
        INVALID,
        "'maize' is there twice",
    ),
    "temperature 0": (pack_file({**HEADER, "temperature": 0}, ROWS), INVALID, "gives temperature 0"),
    "temperature infinite": (pack_file({**HEADER, "temperature": 1e999}, ROWS), INVALID, "Infinity is not a number"),
    "unknown no cosine": (pack_file({**HEADER, "unknown": 1.5}, ROWS), INVALID, "gives unknown 1.5"),
    "threshold below 0": (pack_file({**HEADER, "threshold": -1}, ROWS), INVALID, "gives threshold -1"),
    "no label": (pack_file({**HEADER, "labels": []}, ROWS[:0]), INVALID, "0 labels"),
    "a row too few": (pack_file(HEADER, ROWS[:2]), SHAPE, r"3 labels and embeddings of shape \(2, 16\)"),
    "a row too many": (pack_file(HEADER, np.eye(4, 16, dtype=np.float16)), SHAPE, "3 labels and embeddings of shape"),
    "one axis": (pack_file(HEADER, ROWS.ravel()), SHAPE, "accepted: one tensor 'embeddings'"),
    "float32": (pack_file(HEADER, ROWS.astype(np.float32), "F32"), SHAPE, "accepted: one tensor 'embeddings'"),
    "a second tensor": (
        pack_file(HEADER, ROWS, more={"dtype": "U8", "shape": [0], "data_offsets": [96, 96]}),
        SHAPE,
        "accepted: one tensor 'embeddings'",
    ),
    "NaN": (pack_file(HEADER, with_value(np.nan)), VALUES, "holds NaN or infinite embeddings"),
    "infinity": (pack_file(HEADER, with_value(np.inf)), VALUES, "holds NaN or infinite embeddings"),
    "not of length 1": (pack_file(HEADER, ROWS * np.float16(1.01)), VALUES, "accepted: unit vectors"),
    "zeros": (pack_file(HEADER, np.zeros((3, 16), np.float16)), VALUES, "length 0.000"),
    "no columns": (pack_file(HEADER, np.zeros((3, 0), np.float16)), VALUES, "accepted: unit vectors"),
}


@pytest.mark.parametrize(("data", "fault", "words"), BROKEN.values(), ids=list(BROKEN))
def test_broken_files(data: bytes, fault: BundleFault, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        LabelPack.from_bytes(data, where="beans.safetensors")
    assert caught.value.fault is fault
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "shape", [[2**63, 0], [2**62, 0], [0, 2**63], [-1, 16], [2**32, 2**32], [3, 16, 1], []], ids=str
)
def test_shapes_beyond_memory(shape: list[int]) -> None:
    outer = {
        "__metadata__": {"agriclip-pack": json.dumps(HEADER)},
        "embeddings": {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]},
    }
    text = json.dumps(outer).encode()
    with pytest.raises(BundleError):
        LabelPack.from_bytes(struct.pack("<Q", len(text)) + text)


@given(data=st.data())
def test_mutated_files(data: st.DataObject, tiny_bundle: Path, mutated: Callable[..., bytes]) -> None:
    broken = mutated(data, (tiny_bundle / "packs" / "field-cover.safetensors").read_bytes())
    start = time.monotonic()
    try:
        pack = LabelPack.from_bytes(broken)
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
    else:
        check_labels(pack.labels)
        assert np.allclose(np.linalg.norm(pack.embeddings, axis=1), 1, atol=2e-3)
    assert time.monotonic() - start < 5


def test_a_pack_cannot_be_changed() -> None:
    pack = make_pack(PLAIN)
    with pytest.raises(AttributeError):
        pack.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        pack.embeddings[0, 0] = 2
    with pytest.raises(AttributeError):
        pack.labels[0].text = "other"  # type: ignore[misc]


LISTS: dict[str, tuple[list[Label], str]] = {
    "no label": ([], "0 labels; accepted: 1 to"),
    "empty": ([Label("")], "an empty label; accepted: words"),
    "spaces": ([Label("  ")], "an empty label"),
    "a line break": ([Label("a\nb")], "control characters"),
    "a colour code": ([Label("\x1b[31mrust")], "control characters"),
    "right to left override": ([Label("rust\u202eevil")], "control characters"),
    "an empty synonym": ([Label("a", "", ("",))], "an empty label"),
    "a broken parent": ([Label("a", "b\r")], "control characters"),
    "too long": ([Label("a" * (MAX_LABEL_CHARACTERS + 1))], "at most 200 are accepted"),
    "twice": ([Label("rust"), Label("blight"), Label("rust")], "'rust' is there twice"),
    "twice, case aside": ([Label("Rust"), Label("RUST")], "'RUST' is there twice"),
    "twice, in another alphabet's case": ([Label("straße"), Label("STRASSE")], "is there twice"),
}


@pytest.mark.parametrize(("labels", "words"), LISTS.values(), ids=list(LISTS))
def test_labels_that_nobody_could_choose_from(labels: list[Label], words: str) -> None:
    with pytest.raises(LabelError, match=words):
        check_labels(labels)


@pytest.mark.parametrize(
    "text", ["a", "x" * 200, "maïs", "稲", "गेहूँ", "قمح", "🌾", "apple (red), 1st class; 50%", "O'Brien \\ {}"]
)
def test_labels_in_any_language(text: str) -> None:
    check_labels([Label(text)])


# --- Several packs as one -------------------------------------------------------------------------------------------


def test_merge_keeps_the_first_of_labels_alike() -> None:
    one = make_pack([Label("wheat", "cereal"), Label("maize")], name="one", temperature=0.1, threshold=0.5)
    two = make_pack([Label("Maize", "grass"), Label("rice"), Label("oats")], name="two")
    merged = merge([one, two])
    assert [label.text for label in merged.labels] == ["wheat", "maize", "rice", "oats"]
    assert merged.labels[1].parent == ""
    assert (merged.embeddings == np.vstack([one.embeddings, two.embeddings[1:]])).all()
    assert (merged.name, merged.temperature, merged.threshold) == ("one+two", None, None)


def test_merge_of_one_and_of_none() -> None:
    pack = make_pack(PLAIN, temperature=0.1)
    assert merge([pack]) is pack
    with pytest.raises(LabelError, match="no label pack; accepted: at least one"):
        merge([])
