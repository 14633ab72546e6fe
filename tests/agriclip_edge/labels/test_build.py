"""Typed labels become packs of names and symptoms; the caller can have the names alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import agriclip_edge
from agriclip_edge import Bundle, BundleError, BundleFault, Label, LabelError, LabelPack
from agriclip_edge.labels.build import Making, centred, make_pack, with_symptoms
from agriclip_edge.labels.pack import merge
from agriclip_edge.parallel import begin
from agriclip_edge.text.encoder import TextEncoder

TYPED = ["common rust of maize", "blue water", Label("jassid", "pest", ("hopper",), {"fr": "jasside"})]


@pytest.fixture(scope="module")
def bundle(facts_bundle: Path) -> Bundle:
    return Bundle.open(facts_bundle)


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> TextEncoder:
    return TextEncoder(bundle, 1)


def unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def test_symptoms_enter_and_the_match_is_kept(bundle: Bundle, encoder: TextEncoder) -> None:
    pack = make_pack(bundle, encoder, TYPED)
    assert pack.labels == (
        Label("common rust of maize", "maize leaf", (), {"es": "roya del maíz"}, "maize leaf with rust"),
        Label("blue water"),
        Label("jassid", "pest", ("hopper",), {"fr": "jasside"}, "leafhopper"),
    )
    alone = make_pack(bundle, encoder, TYPED, Making(facts=False))
    library = bundle.facts
    assert library is not None
    for row, number in ((0, 0), (2, 4)):
        expected = unit(alone.embeddings[row] + library.symptoms[number])
        assert np.allclose(pack.embeddings[row], expected, atol=2e-3)
        assert pack.embeddings[row] @ library.symptoms[number] > alone.embeddings[row] @ library.symptoms[number] + 0.01
    assert np.array_equal(pack.embeddings[1], alone.embeddings[1])
    assert LabelPack.from_bytes(pack.to_bytes()).labels == pack.labels


def test_an_encoder_that_is_being_opened_is_waited_for(bundle: Bundle, encoder: TextEncoder) -> None:
    pack = make_pack(bundle, begin(TextEncoder, bundle, 1), TYPED)
    assert pack.labels == make_pack(bundle, encoder, TYPED).labels
    assert np.array_equal(pack.embeddings, make_pack(bundle, encoder, TYPED).embeddings)


def test_the_bundle_says_how_much_the_symptoms_count(bundle: Bundle) -> None:
    library = bundle.facts
    assert library is not None and library.share == 0.5
    names = np.eye(16, dtype=np.float32)[:1]
    for share in (0.0, 0.8, 1.0):
        found = with_symptoms(names, [Label("x", facts="leafhopper")], replace(library, share=share))
        assert np.allclose(found[0], unit((1 - share) * names[0] + share * library.symptoms[4]), atol=1e-6)


def test_names_alone(bundle: Bundle, encoder: TextEncoder, tiny_bundle: Path) -> None:
    alone = make_pack(bundle, encoder, TYPED, Making(facts=False))
    assert [label.facts for label in alone.labels] == ["", "", ""]
    assert alone.labels[0] == Label("common rust of maize")
    plain = agriclip_edge.load(tiny_bundle).build_pack(TYPED)
    assert np.array_equal(plain.embeddings, alone.embeddings)


def test_the_sdk_takes_the_switch(facts_bundle: Path) -> None:
    with_facts = agriclip_edge.load(facts_bundle, labels=["roya del maíz", "ripe tomatoes"])
    assert [label.facts for label in with_facts.pack.labels] == ["maize leaf with rust", "ripe tomato"]
    without = agriclip_edge.load(facts_bundle, labels=["roya del maíz", "ripe tomatoes"], facts=False)
    assert [label.facts for label in without.pack.labels] == ["", ""]
    assert [label.facts for label in without.use_labels(["ripe tomato"]).labels] == ["ripe tomato"]
    assert [label.facts for label in without.use_labels(["ripe tomato"], facts=False).labels] == [""]


def test_a_class_that_the_bundle_does_not_have_is_forgotten(bundle: Bundle, encoder: TextEncoder) -> None:
    pack = make_pack(bundle, encoder, [Label("blue water", facts="deep water")])
    assert pack.labels[0].facts == ""


def test_centred_packs(bundle: Bundle, encoder: TextEncoder, facts_bundle: Path, tiny_bundle: Path) -> None:
    library = bundle.facts
    assert library is not None
    plain, moved = (make_pack(bundle, encoder, TYPED, Making(centre=on)) for on in (False, True))
    assert (plain.centre, moved.centre) == ("", library.sha256)
    assert np.allclose(moved.embeddings, unit(plain.embeddings - library.centre), atol=5e-3)
    again = LabelPack.from_bytes(moved.to_bytes())
    assert again.centre == library.sha256
    assert agriclip_edge.load(facts_bundle).use(again) is again
    assert merge([moved, again]).centre == library.sha256
    with pytest.raises(LabelError, match=r"some packs are centred \(typed\) and some are not"):
        merge([plain, moved])
    with pytest.raises(BundleError, match="was centred with facts .* the bundle's are none") as caught:
        Bundle.open(tiny_bundle).accept(moved)
    assert caught.value.fault is BundleFault.PACK_FOREIGN_CENTRE
    with pytest.raises(LabelError, match="no facts library, so there is no centre"):
        agriclip_edge.load(tiny_bundle).build_pack(["rust"], centre=True)


def test_a_label_on_the_centre_is_refused() -> None:
    with pytest.raises(LabelError, match="lies on the centre"):
        centred(np.eye(2, dtype=np.float32), np.array([1, 0], np.float32))
