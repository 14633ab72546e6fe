"""The manifest is read without trust: the documented example passes, every broken rule is refused by its name."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.bundle.manifest import MAX_MANIFEST_BYTES, check_path, parse_json, parse_manifest
from agriclip_edge.errors import BundleError, BundleFault

Manifest = dict[str, Any]
INVALID, UNREADABLE = BundleFault.MANIFEST_INVALID, BundleFault.MANIFEST_UNREADABLE


def refused(fault: BundleFault, document: Manifest | bytes, words: str = "") -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(BundleError, match=words) as caught:
        parse_manifest(data)
    assert caught.value.fault is fault
    assert str(caught.value).endswith(f"[{fault.value}]")
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def example(root: Path) -> bytes:
    """The manifest that the format's page shows."""
    page = (root / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(\{\n  \"format\".*?\n\})\n```", page, re.DOTALL)
    assert found is not None
    return found.group(1).encode()


def test_documented_example(example: bytes) -> None:
    manifest = parse_manifest(example)
    assert manifest.embedding_dim == 384
    assert manifest.image[0].input.shape == [None, 224, 224, 3]
    assert manifest.text is not None
    assert manifest.packs[0].default  # by default


def test_what_is_written_is_what_is_read(example: bytes) -> None:
    manifest = parse_manifest(example)
    assert parse_manifest(msgspec.json.encode(manifest)) == manifest


def test_a_manifest_cannot_be_changed(example: bytes) -> None:
    manifest = parse_manifest(example)
    with pytest.raises(AttributeError):
        manifest.name = "other"  # type: ignore[misc]


def put(*path: str | int, value: Any) -> Callable[[Manifest], None]:
    """An edit that sets one field."""

    def edit(manifest: Manifest) -> None:
        place: Any = manifest
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return edit


def drop(*path: str | int) -> Callable[[Manifest], None]:
    """An edit that removes one field."""

    def edit(manifest: Manifest) -> None:
        place: Any = manifest
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return edit


def twice(part: str) -> Callable[[Manifest], None]:
    return lambda manifest: manifest[part].append(copy.deepcopy(manifest[part][0]))


def other_case(manifest: Manifest) -> None:
    manifest["files"].append({**manifest["files"][0], "path": manifest["files"][0]["path"].upper()})


EDITS: dict[str, tuple[Callable[[Manifest], None], BundleFault, str]] = {
    "another format": (put("format", value="agriclip"), BundleFault.FORMAT_UNSUPPORTED, "'agriclip' version 1"),
    "a later version": (put("format_version", value=2), BundleFault.FORMAT_UNSUPPORTED, "version 2; accepted"),
    "a version in words": (put("format_version", value="1"), BundleFault.FORMAT_UNSUPPORTED, "version '1'"),
    "a missing field": (drop("embedding_dim"), INVALID, "missing required field `embedding_dim`"),
    "an unknown field": (put("licenses", value=[]), INVALID, "unknown field `licenses`"),
    "an unknown field inside": (put("image", 0, "device", value="gpu"), INVALID, r"unknown field `device`.*image"),
    "a number as text": (put("embedding_dim", value="384"), INVALID, "Expected `int`, got `str`"),
    "a truth as a number": (put("embedding_dim", value=True), INVALID, "Expected `int`, got `bool`"),
    "a broken number": (put("preprocessing", "size", value=224.5), INVALID, "Expected `int`, got `float`"),
    "null": (put("image", value=None), INVALID, "Expected `array`, got `null`"),
    "no image encoder": (put("image", value=[]), INVALID, "has no image encoder"),
    "two variants alike": (twice("image"), INVALID, "names two image variants alike"),
    "two packs alike": (twice("packs"), INVALID, "names two packs alike"),
    "a file twice": (twice("files"), INVALID, "lists a file twice"),
    "a file twice, case aside": (other_case, INVALID, "lists a file twice"),
    "a file that is not listed": (put("card", value="README.md"), INVALID, "uses 'README.md'"),
    "a pack that is not listed": (
        put("packs", 0, "file", value="packs/other.safetensors"),
        INVALID,
        "uses 'packs/other",
    ),
    "a tokenizer that nobody knows": (put("text", "tokenizer", value="sentencepiece"), INVALID, "sentencepiece"),
    "a vocabulary that is not listed": (put("text", "vocabulary", value="vocab.txt"), INVALID, "uses 'vocab.txt'"),
    "a licence that is not listed": (put("licences", 0, "file", value="COPYING"), INVALID, "uses 'COPYING'"),
    "dimension 0": (put("embedding_dim", value=0), INVALID, "embedding_dim 0; accepted: 1 to 16384"),
    "dimension a billion": (put("embedding_dim", value=10**9), INVALID, "embedding_dim 1000000000"),
    "threshold 0": (put("threshold", value=0), INVALID, "threshold 0"),
    "threshold over 1": (put("threshold", value=1.5), INVALID, "threshold 1.5"),
    "unknown no cosine": (put("unknown", value=-1.5), INVALID, "unknown -1.5"),
    "temperature 0": (put("temperature", value=0), INVALID, "temperature 0"),
    "temperature below 0": (put("temperature", value=-0.5), INVALID, "temperature -0.5"),
    "temperature beyond floats": (put("temperature", value=1e308), INVALID, "temperature 1e[+]308"),
    "picture of 7 pixels": (
        put("preprocessing", "size", value=7),
        INVALID,
        "preprocessing size 7; accepted: 8 to 2048",
    ),
    "picture of a million pixels": (put("preprocessing", "size", value=10**6), INVALID, "preprocessing size 1000000"),
    "no token": (put("text", "max_tokens", value=2), INVALID, "max_tokens 2; accepted: 3 to 8192"),
    "no template": (put("text", "templates", value=[]), INVALID, "templates that hold {} once"),
    "a template without a place": (put("text", "templates", value=["a photo"]), INVALID, "templates that hold {} once"),
    "a template with two places": (put("text", "templates", value=["{} {}"]), INVALID, "templates that hold {} once"),
    "a name in capitals": (put("packs", 0, "name", value="Maize"), INVALID, "names packs 'Maize'; accepted"),
    "a name that climbs": (put("packs", 0, "name", value="../maize"), INVALID, "names packs '../maize'"),
    "a name with a line break": (put("packs", 0, "name", value="maize\n"), INVALID, r"names packs 'maize\\n'"),
    "an empty name": (put("image", 0, "name", value=""), INVALID, "names image variants ''"),
    "a negative size": (put("files", 0, "size", value=-1), INVALID, "the size -1"),
    "a size beyond all files": (put("files", 0, "size", value=2**31 + 1), BundleFault.TOO_LARGE, "2,147,483,649 bytes"),
    "a size beyond 64 bits": (put("files", 0, "size", value=2**70), BundleFault.TOO_LARGE, "at most 2,147,483,648"),
    "a short sha256": (put("files", 0, "sha256", value="abc"), INVALID, "no sha256 of 64 hex digits"),
    "a sha256 in capitals": (put("files", 0, "sha256", value="A" * 64), INVALID, "no sha256 of 64 hex digits"),
    "a sha256 and a line break": (put("files", 0, "sha256", value="a" * 64 + "\n"), INVALID, "no sha256"),
    "5,000 files": (
        put("files", value=[{"path": f"f{n}", "size": 0, "sha256": "0" * 64} for n in range(5000)]),
        INVALID,
        "lists 5000 files; at most 4096",
    ),
    "a path that climbs": (
        put("files", 0, "path", value="../secret"),
        BundleFault.PATH_UNSAFE,
        "unsafe path '../secret'",
    ),
}


@pytest.mark.parametrize(("edit", "fault", "words"), EDITS.values(), ids=list(EDITS))
def test_broken_rules(edit: Callable[[Manifest], None], fault: BundleFault, words: str, example: bytes) -> None:
    document = json.loads(example)
    edit(document)
    refused(fault, document, words)


TEXTS: dict[str, tuple[bytes, BundleFault, str]] = {
    "nothing": (b"", UNREADABLE, "not valid JSON"),
    "text": (b"agriclip", UNREADABLE, "not valid JSON"),
    "half": (b'{"format": "agriclip-bundle", "form', UNREADABLE, "not valid JSON"),
    "two documents": (b"{} {}", UNREADABLE, "Extra data"),
    "a comment": (b"{} // bundle", UNREADABLE, "Extra data"),
    "not UTF-8": (b'{"format": "\xff"}', UNREADABLE, "not valid JSON"),
    "UTF-16": ('{"format": "agriclip-bundle"}'.encode("utf-16"), UNREADABLE, "not valid JSON"),
    "NaN": (b'{"temperature": NaN}', UNREADABLE, "NaN is not a number of JSON"),
    "infinity": (b'{"temperature": -Infinity}', UNREADABLE, "-Infinity is not a number of JSON"),
    "a key twice": (b'{"format": "agriclip-bundle", "format": "x"}', UNREADABLE, "duplicate key 'format'"),
    "a key twice, inside": (b'{"a": [{"b": 1, "b": 1}]}', UNREADABLE, "duplicate key 'b'"),
    "nested too deeply": (b"[" * 200_000, UNREADABLE, "nested too deeply"),
    "objects nested too deeply": (b'{"a":' * 200_000, UNREADABLE, "nested too deeply"),
    "too large": (b" " * (MAX_MANIFEST_BYTES + 1), BundleFault.TOO_LARGE, "4,194,305 bytes; at most 4,194,304"),
    "an array": (b"[]", BundleFault.FORMAT_UNSUPPORTED, "format None"),
    "a number": (b"7", BundleFault.FORMAT_UNSUPPORTED, "format None"),
    "a number of 10,000 digits": (b'{"size": ' + b"9" * 10_000 + b"}", UNREADABLE, "not valid JSON"),
}


@pytest.mark.parametrize(("data", "fault", "words"), TEXTS.values(), ids=list(TEXTS))
def test_other_texts(data: bytes, fault: BundleFault, words: str) -> None:
    refused(fault, data, words)


def test_a_duplicate_among_many_keys_is_found_at_once() -> None:
    keys = ",".join(f'"k{number}":0' for number in range(200_000))
    start = time.monotonic()
    with pytest.raises(BundleError, match="duplicate key 'k199999'"):
        parse_json(f'{{{keys},"k199999":0}}'.encode(), "bundle.json", UNREADABLE)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("path", ["a", "card.md", "image/cpu.onnx", "a/b/c/d", "A_b-c.9", "x" * 128, "a..b", "a."])
def test_plain_paths(path: str) -> None:
    check_path(path)


UNSAFE = (
    "", "/", ".", "..", "../a", "a/..", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "a/.", "~/a", ".hidden", "a/.git",
    "a\\b", "..\\a", "C:\\a", "C:a", "a:b", "a b", "a\n", "a\0", "a\x1b[31m", "\N{CYRILLIC SMALL LETTER A}", "é",
    "a\u202eb", "%2e%2e/a", "x" * 129, "x/" * 200 + "x", "-a", "aux*", "a?", "a|b", "<a>", '"a"', "\udcff",
)  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE, ids=ascii)
def test_unsafe_paths(path: str) -> None:
    with pytest.raises(BundleError, match="unsafe path") as caught:
        check_path(path)
    assert caught.value.fault is BundleFault.PATH_UNSAFE


CHARACTERS = st.integers(0, 0x10FFFF).map(chr)  # st.characters() would take seconds to begin


@given(st.text(st.sampled_from("ab.-_/\\: \0\n~é"), max_size=12) | st.text(CHARACTERS, max_size=12))
def test_an_accepted_path_stays_inside(path: str) -> None:
    try:
        check_path(path)
    except BundleError:
        return
    place = Path("/bundle", path)
    assert place.is_relative_to("/bundle")
    assert ".." not in place.parts
    assert place.parts[2:] == tuple(path.split("/"))


@given(data=st.data())
def test_mutated_manifests(data: st.DataObject, tiny_bundle: Path, mutated: Callable[..., bytes]) -> None:
    """Broken bytes give a manifest that holds all rules, or a BundleError."""
    broken = mutated(data, (tiny_bundle / "bundle.json").read_bytes())
    try:
        manifest = parse_manifest(broken)
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
    else:
        manifest.check()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(CHARACTERS, max_size=5)
    | st.just([])
    | st.just({}),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(CHARACTERS, max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(data=st.data(), value=VALUES)
def test_other_values_in_any_place(data: st.DataObject, value: Any, tiny_bundle: Path) -> None:
    """Any value in any place of the manifest gives a manifest or a BundleError."""
    document: Any = json.loads((tiny_bundle / "bundle.json").read_bytes())
    place, key = document, data.draw(st.sampled_from(list(document)))
    while isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = value
    try:
        parse_manifest(json.dumps(document).encode()).check()
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
