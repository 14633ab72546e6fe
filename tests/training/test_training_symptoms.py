"""What facts say is seen becomes vectors: near to their words, apart from each other, alike where classes are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from agriclip_edge.labels.facts import Facts
from training.captions import reviewed_facts, shipped_facts
from training.symptoms import FACTS_OF, Vectors, attribute_words, symptom_vectors, with_codes, with_symptoms

DIM = 384


class Words:
    """Texts by their words, all of them near to one direction, as sentence encoders have it."""

    def embed(self, prompts: Sequence[str]) -> Vectors:
        def word(text: str) -> np.ndarray:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
            return np.random.default_rng(seed).standard_normal(DIM)

        rows = np.stack([2 * word("") + sum(word(part) for part in prompt.split()) for prompt in prompts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


TEXT = Words()


def facts(label: str, *colour: str, shape: tuple[str, ...] = ()) -> Facts:
    return Facts(label, "disease", "leaf disease", ("a", "b"), ("cabi",), colour=colour, shape=shape)


def test_classes_that_look_alike_are_near_whatever_their_host() -> None:
    known = shipped_facts()
    names = ("maize leaf with common rust", "bean leaf with rust", "healthy maize leaf")
    rust, other_rust, healthy = symptom_vectors([known[name] for name in names], TEXT)
    assert rust @ other_rust > 0.7 > 0.4 > rust @ healthy


def test_a_class_has_one_vector_whichever_others_are_asked_for() -> None:
    known = list(shipped_facts().values())
    alone, among = symptom_vectors(known[:1], TEXT), symptom_vectors(known[:40], TEXT)
    assert np.linalg.norm(among, axis=1) == pytest.approx(np.ones(40), abs=1e-6)
    np.testing.assert_allclose(alone[0], among[0], atol=1e-6)


def test_codes_are_apart_where_words_are_near() -> None:
    brown, dark = TEXT.embed(["brown", "dark brown"])
    one, two = symptom_vectors([facts("x", "brown"), facts("y", "dark brown")], TEXT)
    assert one @ two < brown @ dark - 0.3
    white = TEXT.embed(["white"])[0]
    assert one @ brown > one @ white + 0.2  # each is still the nearest to its own word


def test_rare_attributes_weigh_more() -> None:
    usual = [facts(str(number), "green") for number in range(20)] + [facts("rare", "green", "violet")]
    green, violet, both = symptom_vectors(
        [facts("g", "green"), facts("v", "violet"), facts("b", "green", "violet")], TEXT, usual
    )
    assert both @ violet > both @ green


def test_labels_without_facts_keep_their_names() -> None:
    labels = ("steam locomotive", "bean leaf with rust", "Bean leaf with rust")
    names = TEXT.embed(labels)
    mixed = with_symptoms(names, labels, TEXT, 2 / 3)
    np.testing.assert_array_equal(mixed[0], names[0])
    seen = symptom_vectors([shipped_facts()["bean leaf with rust"]], TEXT)[0]
    expected = names[1:] / 3 + 2 * seen / 3
    np.testing.assert_allclose(mixed[1:], expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(with_symptoms(names, labels, TEXT, 0), names)


def test_a_prompt_may_stand_for_the_facts_of_a_label() -> None:
    embed = with_codes(TEXT.embed, TEXT)
    label = "bean leaf with rust"
    plain, seen, again = embed(["a leaf", FACTS_OF + label, "a leaf"])
    np.testing.assert_array_equal(np.stack([plain, again]), TEXT.embed(["a leaf", "a leaf"]))
    np.testing.assert_allclose(seen, symptom_vectors([shipped_facts()[label]], TEXT)[0], atol=1e-6)


def test_reviewed_classes_are_part_of_the_library_and_every_class_has_attributes() -> None:
    reviewed = reviewed_facts()
    assert 200 < len(reviewed) < len(shipped_facts())
    assert reviewed.keys() < shipped_facts().keys()
    assert all(attribute_words(entry) for entry in shipped_facts().values())
