"""A label's embedding is the mean over its wordings and templates, brought back to length 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import LabelError
from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import check_templates, embed_labels
from agriclip_edge.text.encoder import TextEncoder

TEMPLATES = ("{}", "a photo of {}", "{} in a field")


@pytest.fixture(scope="module")
def encoder(tiny_bundle: Path) -> TextEncoder:
    return TextEncoder(Bundle.open(tiny_bundle), threads=1)


def unit(vector: np.ndarray) -> np.ndarray:
    found: np.ndarray = vector / np.linalg.norm(vector)
    return found


def test_mean_over_wordings_and_templates(encoder: TextEncoder) -> None:
    labels = [Label("red apple"), Label("green apple", "apple", ("unripe apple", "green fruit"))]
    found = embed_labels(labels, TEMPLATES, encoder)
    assert found.shape == (2, 16)
    assert found.dtype == np.float32
    for label, row in zip(labels, found):
        prompts = [template.format(words) for words in (label.text, *label.synonyms) for template in TEMPLATES]
        one_by_one = np.stack([encoder.embed([prompt])[0] for prompt in prompts]).astype(np.float64)
        assert np.allclose(row, unit(one_by_one.mean(axis=0)), atol=1e-6)


def test_a_parent_is_no_wording(encoder: TextEncoder) -> None:
    alone, child = embed_labels([Label("red apple"), Label("red apple.", "blue water")], ("{}",), encoder)
    assert np.allclose(child, encoder.embed(["red apple."])[0], atol=1e-6)
    assert np.allclose(alone, encoder.embed(["red apple"])[0], atol=1e-6)


def test_braces_in_a_label_are_words(encoder: TextEncoder) -> None:
    found = embed_labels([Label("{} red {0} %s")], ("a photo of {}",), encoder)[0]
    assert np.allclose(found, encoder.embed(["a photo of {} red {0} %s"])[0], atol=1e-6)


@pytest.mark.parametrize("templates", [("{}",), ("a {} b", "{}"), ("{}{ }",)], ids=str)
def test_templates(templates: tuple[str, ...]) -> None:
    check_templates(templates)


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ((), "no template"),
        (("a photo",), "holds 0 times {}; accepted: once"),
        (("{}", "{} {}"), "holds 2 times {}"),
        (("{label}",), "holds 0 times {}"),
        (("",), "holds 0 times {}"),
    ],
    ids=str,
)
def test_templates_without_a_place_for_the_label(templates: tuple[str, ...], words: str, encoder: TextEncoder) -> None:
    with pytest.raises(LabelError, match=words):
        check_templates(templates)
    with pytest.raises(LabelError, match=words):
        embed_labels([Label("rust")], templates, encoder)
