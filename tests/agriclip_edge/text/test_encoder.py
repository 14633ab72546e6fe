"""Prompts become unit vectors, each the same in whatever company it comes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import LabelError
from agriclip_edge.text.encoder import TextEncoder

PROMPTS = [
    f"{colour} {thing}" for colour in ("red", "green", "blue") for thing in ("apple", "leaf of the field", "x y z")
]


@pytest.fixture(scope="module")
def encoder(tiny_bundle: Path) -> TextEncoder:
    return TextEncoder(Bundle.open(tiny_bundle), threads=1)


def test_unit_vectors(encoder: TextEncoder) -> None:
    found = encoder.embed(PROMPTS)
    assert found.shape == (len(PROMPTS), 16)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_prompt_does_not_see_its_neighbours(encoder: TextEncoder) -> None:
    """Not in its padding, not in the order, not across the runs that many prompts are cut into."""
    many = [PROMPTS[number % len(PROMPTS)] for number in range(150)]
    together = encoder.embed(many)
    for prompt, row in zip(many, together):
        assert np.allclose(row, encoder.embed([prompt])[0], atol=1e-6)
    assert np.allclose(encoder.embed(many[::-1])[::-1], together, atol=1e-6)


def test_any_number_of_threads_gives_the_same_vectors(encoder: TextEncoder, tiny_bundle: Path) -> None:
    many = [f"{prompt} {number}" for number in range(9) for prompt in PROMPTS]
    bundle = Bundle.open(tiny_bundle)
    for threads in (2, 5):
        assert np.array_equal(TextEncoder(bundle, threads).embed(many), encoder.embed(many))


def test_a_prompt_that_is_too_long(encoder: TextEncoder) -> None:
    encoder.embed(["red " * 14])  # with [CLS] and [SEP] just 16
    with pytest.raises(LabelError, match=r"'red red .*'… has 17 tokens; at most 16 are accepted"):
        encoder.embed(["green", "red " * 15])


def test_words_that_nobody_knows(encoder: TextEncoder) -> None:
    assert np.allclose(np.linalg.norm(encoder.embed(["ξένος", "🌾", ""]), axis=1), 1, atol=1e-5)


def test_eight_threads(encoder: TextEncoder) -> None:
    alone = [encoder.embed([prompt]) for prompt in PROMPTS]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(lambda prompt: encoder.embed([prompt]), PROMPTS * 20), alone * 20):
            assert (found == right).all()


def test_a_bundle_without_text_encoder(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    bundle.manifest = _without_text(bundle)
    with pytest.raises(LabelError, match="this bundle has no text encoder; accepted: the labels of its packs"):
        TextEncoder(bundle)


def _without_text(bundle: Bundle) -> object:
    import msgspec

    return msgspec.structs.replace(bundle.manifest, text=None)


def test_the_shipped_encoder_knows_what_words_mean(default_bundle: Path) -> None:
    """A label is nearest to its own paraphrase."""
    encoder = TextEncoder(Bundle.open())
    one = encoder.embed(["a cow", "wheat rust", "a ripe tomato", "an empty field"])
    other = encoder.embed(["cattle", "a wheat leaf with rust", "red ripe tomatoes", "a field without plants"])
    assert ((one @ other.T).argmax(axis=1) == np.arange(4)).all()
