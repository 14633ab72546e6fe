"""Labels of a scene in words: known classes as they are, others through the map that bound those, or one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agriclip_edge import Bundle, BundleError, BundleFault
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import LabelError
from agriclip_edge.labels.lists import parse_labels
from agriclip_edge.labels.prompts import embed_labels
from agriclip_edge.scene.words import Meaning, TextMap, typed_pack
from agriclip_edge.text.encoder import TextEncoder

TEMPLATE = "a multispectral and lidar view of {}"
MAP = "text/map.safetensors"


def bound(scene: Bundle, texts: Bundle) -> TextMap:
    """The map that puts the words of each class of the tests' bundle on its own vector."""
    pack = scene.pack("classes")
    vectors = embed_labels(pack.labels, [TEMPLATE], TextEncoder(texts))
    centre = vectors.mean(axis=0)
    apart = (vectors - centre) / np.linalg.norm(vectors - centre, axis=1, keepdims=True)
    affine = np.concatenate([apart, np.ones((len(apart), 1), np.float32)], axis=1)
    solved = np.linalg.lstsq(affine, pack.embeddings, rcond=None)[0]
    return TextMap(centre, solved[:-1].T.copy(), solved[-1])


@pytest.fixture
def worded(scene_data: Path, tiny_bundle: Path, tmp_path: Path) -> Callable[..., Bundle]:
    """The tests' bundle with a map for words through a text encoder: the tiny bundle's, if no other is asked for."""

    def make(data: bytes | None = None, texts: Bundle | None = None, **changes: Any) -> Bundle:
        texts = texts or Bundle.open(tiny_bundle)
        data = bound(Bundle.open(scene_data / "bundle"), texts).to_bytes() if data is None else data
        folder = tmp_path / "worded"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scene_data / "bundle", folder)
        (folder / MAP).parent.mkdir()
        (folder / MAP).write_bytes(data)
        document = json.loads((folder / "bundle.json").read_bytes())
        document["files"].append({"path": MAP, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        entry = {"encoder": texts.text_encoder_id, "file": MAP, "templates": [TEMPLATE]}
        document["scene"]["text"] = {**entry, **changes}
        (folder / "bundle.json").write_text(json.dumps(document))
        return Bundle.open(folder)

    return make


def test_known_classes_are_themselves_in_the_order_typed(scene_data: Path, tiny_bundle: Path) -> None:
    bundle = Bundle.open(scene_data / "bundle")
    known = bundle.pack("classes")
    typed = typed_pack(bundle, known, parse_labels("Bare soil,maize"), Bundle.open(tiny_bundle))
    assert [label.text for label in typed.labels] == ["bare soil", "maize"]
    rows = [[label.text for label in known.labels].index(name) for name in ("bare soil", "maize")]
    np.testing.assert_array_equal(typed.embeddings, known.embeddings[rows])
    assert (typed.threshold, typed.unknown, typed.name) == (known.threshold, known.unknown, "typed")
    bundle.accept(typed)


def test_other_words_go_through_the_map(worded: Callable[..., Bundle], tiny_bundle: Path) -> None:
    bundle, texts = worded(), Bundle.open(tiny_bundle)
    known = bundle.pack("classes")
    typed = typed_pack(bundle, known, parse_labels("maize, red alfalfa"), texts)
    assert [label.text for label in typed.labels] == ["maize", "red alfalfa"]
    turn = bound(bundle, texts)
    wanted = turn(embed_labels(parse_labels("red alfalfa"), [TEMPLATE], TextEncoder(texts)))
    np.testing.assert_allclose(typed.embeddings[1:], wanted, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(typed.embeddings, axis=1), 1, atol=1e-3)
    words = turn(embed_labels(known.labels, [TEMPLATE], TextEncoder(texts)))
    assert (words * known.embeddings).sum(axis=1).min() > 0.99  # the words of a class come to the class
    assert any(line.startswith("words     texts of 16 values") for line in verify_bundle(bundle.path))


def test_words_that_cannot_be_read_are_one_line(
    worded: Callable[..., Bundle], scene_data: Path, tiny_bundle: Path
) -> None:
    plain, texts = Bundle.open(scene_data / "bundle"), Bundle.open(tiny_bundle)
    known = plain.pack("classes")
    with pytest.raises(LabelError, match=r"'olive' is no class of .* no map for other words; accepted: maize, alf"):
        typed_pack(plain, known, parse_labels("maize, olive"), texts)
    with pytest.raises(LabelError, match="need text encoder 000000000000…, and agriclip-tiny has"):
        typed_pack(worded(encoder="0" * 64), known, parse_labels("olive"), texts)
    with pytest.raises(LabelError, match="is there twice"):
        typed_pack(plain, known, parse_labels("maize, MAIZE"), texts)
    wide = TextMap(np.zeros(17, np.float32), np.ones((80, 17), np.float32), np.zeros(80, np.float32)).to_bytes()
    with pytest.raises(LabelError, match="a text encoder of 16 values; the map for words takes 17"):
        typed_pack(worded(wide), known, parse_labels("olive"), texts)
    with pytest.raises(BundleError, match="not a safetensors file") as caught:
        typed_pack(worded(b"no map"), known, parse_labels("olive"), texts)
    assert caught.value.fault is BundleFault.TEXT_MAP_INVALID


def test_only_the_first_values_of_a_text_count(tiny_bundle: Path) -> None:
    encoder = TextEncoder(Bundle.open(tiny_bundle))
    whole, first = encoder.embed(["red", "green"]), Meaning(encoder, 5).embed(["red", "green"])
    np.testing.assert_allclose(first, whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True), rtol=1e-6)


def test_words_that_say_nothing_are_refused() -> None:
    turn = TextMap(np.array([1, 0], np.float32), np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    np.testing.assert_allclose(turn(np.array([[0, 1]], np.float32)), [[-(0.5**0.5), 0.5**0.5]], rtol=1e-6)
    with pytest.raises(LabelError, match="no more than what all classes have in common"):
        turn(np.array([[1, 0]], np.float32))


def test_a_map_is_read_back_as_it_was() -> None:
    generator = np.random.default_rng(0)
    turn = TextMap(*(generator.normal(size=shape).astype(np.float32) for shape in ((3,), (5, 3), (5,))))
    again = TextMap.from_bytes(turn.to_bytes(), 5, "map")
    for name in ("centre", "weight", "bias"):
        np.testing.assert_array_equal(getattr(again, name), getattr(turn, name))
    with pytest.raises(BundleError, match=r"weight is float32 \(5, 3\); accepted: float32 \(6, 3\)"):
        TextMap.from_bytes(turn.to_bytes(), 6, "map")
