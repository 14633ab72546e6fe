"""The facts library is read without trust, and comes back as it was written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge import Bundle, BundleError, BundleFault
from agriclip_edge.labels.facts import (
    Facts,
    Library,
    encode_classes,
    encode_symptoms,
    read_classes,
    read_symptoms,
)

RUST = Facts(
    "leaf with rust", "disease", "leaf disease", ("orange powder", "yellow spots"), ("made",), names={"es": "roya"}
)
HEALTHY = Facts("healthy leaf", "condition", "leaf", ("even green leaf", "smooth edge"), ("made",))


def zipped(document: Any) -> bytes:
    return gzip.compress(json.dumps(document).encode())


def changed(**fields: Any) -> bytes:
    plain = {"label": "leaf", "kind": "disease", "parent": "plant", "visible": ["spots"], "sources": ["made"]}
    return zipped({"classes": [{**plain, **fields}]})


def test_round_trip() -> None:
    assert read_classes(encode_classes([RUST, HEALTHY])) == (RUST, HEALTHY)
    assert encode_classes([RUST]) == encode_classes([RUST])
    vectors = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = read_symptoms(encode_symptoms(units), 5, 64)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert ((found * units).sum(axis=1) > 0.9995).all()


def test_prompts_say_what_is_seen_after_the_label() -> None:
    assert RUST.prompts == ("leaf with rust: orange powder", "leaf with rust: yellow spots")


def test_the_centre_is_the_mean() -> None:
    library = Library((RUST, HEALTHY), np.array([[1, 0], [0, 1]], np.float32))
    assert library.centre.tolist() == [0.5, 0.5]
    assert library.by_label == {"leaf with rust": 0, "healthy leaf": 1}


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "no gzip": (b"{}" * 20, "not a gzip file"),
    "truncated": (encode_classes([RUST])[:-9], "truncated"),
    "more behind it": (encode_classes([RUST]) + b"x", "goes on behind its end"),
    "no JSON": (gzip.compress(b"{'classes': 0}"), "JSON is malformed"),
    "not UTF-8": (gzip.compress(b'{"classes": ["\xff"]}'), ""),
    "deep": (gzip.compress(b"[" * 100_000), ""),
    "a list": (zipped([]), "Expected `object`"),
    "no class": (zipped({"classes": []}), "0 classes"),
    "unknown field": (changed(script="x"), "unknown field"),
    "unknown field outside": (zipped({"classes": [], "more": 1}), "unknown field"),
    "missing field": (zipped({"classes": [{"label": "leaf"}]}), "missing required field"),
    "another type": (changed(visible="spots"), "Expected `array`"),
    "kind": (changed(kind="virus"), "of kind 'virus'"),
    "empty label": (changed(label=" "), "an empty label"),
    "control": (changed(label="\x1b[2J"), "control characters"),
    "control in a name": (changed(names={"es": "\x1b[2J"}), "control characters"),
    "control in a source": (changed(sources=["\x1b[2J"]), "control characters"),
    "language": (changed(names={"Spanish": "roya"}), "accepted: a code such as es"),
    "long": (changed(visible=["x" * 300]), "has 300 characters"),
    "many wordings": (changed(synonyms=["x"] * 100), "100 wordings"),
    "twice": (zipped({"classes": [json.loads(gzip.decompress(changed()))["classes"][0]] * 2}), "is there twice"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=list(BROKEN))
def test_broken_libraries(data: bytes, words: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_classes(data, "facts/x")
    assert caught.value.fault is BundleFault.FACTS_INVALID
    assert words in str(caught.value) and str(caught.value).startswith("facts/x: ")
    assert len(str(caught.value).splitlines()) == 1


def test_words_that_are_not_all_printable_are_words() -> None:
    (found,) = read_classes(changed(names={"hi": "पत्ती का रतुआ\u200d"}))  # a zero-width joiner, as Indic scripts have it
    assert found.names == {"hi": "पत्ती का रतुआ\u200d"}


def test_a_library_that_inflates_without_end() -> None:
    with pytest.raises(BundleError, match="inflates to over 4,194,304 bytes") as caught:
        read_classes(gzip.compress(b" " * (50 << 20)))
    assert caught.value.fault is BundleFault.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "has 0 bytes; accepted: 2 rows of 4"),
        (b"\1" * 7, "has 7 bytes"),
        (b"\1\0\0\0" + b"\0" * 4, "row 1 is zero"),
    ],
)
def test_broken_symptoms(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        read_symptoms(data, 2, 4)
    assert caught.value.fault is BundleFault.FACTS_INVALID


@given(data=st.data())
def test_mutated_libraries(data: st.DataObject, mutated: Callable[..., bytes]) -> None:
    for original in (encode_classes([RUST, HEALTHY]), gzip.compress(gzip.decompress(encode_classes([RUST])))):
        try:
            assert read_classes(mutated(data, original))
        except BundleError as error:
            assert error.fault in (BundleFault.FACTS_INVALID, BundleFault.TOO_LARGE)


@given(data=st.data())
def test_mutated_json(data: st.DataObject, mutated: Callable[..., bytes]) -> None:
    try:
        assert read_classes(gzip.compress(mutated(data, gzip.decompress(encode_classes([RUST, HEALTHY])))))
    except BundleError as error:
        assert error.fault is BundleFault.FACTS_INVALID


def test_a_bundle_with_and_without(facts_bundle: Path, tiny_bundle: Path) -> None:
    library = Bundle.open(facts_bundle).facts
    assert library is not None
    assert [facts.label for facts in library.classes][:2] == ["maize leaf with rust", "wheat leaf with rust"]
    assert library.symptoms.shape == (5, 16)
    assert Bundle.open(tiny_bundle).facts is None
