"""Labels set against a place by photos without labels: what is taken off, what it changes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.adaptation import LEAST, MOST, SHARE, adapted, origin_of, spread
from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.labels.pack import Label, LabelPack

Vectors = npt.NDArray[np.float32]
ENCODER = "c" * 64
CLASSES, DIM = 4, 32


def unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def pack_of(rows: Vectors, **fields: str) -> LabelPack:
    labels = tuple(Label(f"label {row}") for row in range(len(rows)))
    rows = rows.astype(np.float16).astype(np.float32)
    return LabelPack("place", "a place", labels, rows, ("{}",), "a" * 64, "b" * 64, **fields)


def place(label: npt.NDArray[np.int64], towards: int = 0, seed: int = 0) -> Vectors:
    """Photos of a place whose light draws all of them towards one label's words."""
    generator = np.random.default_rng(seed)
    shown = np.eye(DIM)[label]
    return unit(shown + 1.2 * np.eye(DIM)[towards] + 0.1 * generator.normal(size=shown.shape))


def answers(pack: LabelPack, photos: Vectors) -> npt.NDArray[np.int64]:
    return (photos @ pack.embeddings.T - pack.offsets).argmax(axis=1)


WORDS = np.eye(DIM, dtype=np.float32)[:CLASSES]
LABEL = np.repeat(np.arange(CLASSES), 10)


def test_what_all_photos_share_is_taken_off() -> None:
    photos, asked = place(LABEL), place(LABEL, seed=1)
    plain = pack_of(WORDS)
    assert (answers(plain, asked) == 0).all()
    assert (answers(adapted(plain, photos, ENCODER), asked) == LABEL).mean() > 0.95
    assert (answers(plain, asked) == 0).all()  # the pack before is as it was


@given(seed=st.integers(0, 1000), length=st.floats(-3, 3))
def test_with_the_whole_mean_a_shift_of_all_photos_moves_no_score(seed: int, length: float) -> None:
    generator = np.random.default_rng(seed)
    photos, rows = (unit(generator.normal(size=(count, DIM))) for count in (20, 5))
    shift = (length * generator.normal(size=DIM)).astype(np.float32)
    scores, shifted = (
        own @ rows.T - rows @ origin_of(own, share=1.0) for own in (photos, (photos + shift).astype(np.float32))
    )
    np.testing.assert_allclose(shifted, scores, atol=1e-4)
    assert scores.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-5)  # all labels alike on average


def test_the_share_is_of_the_mean() -> None:
    photos = place(LABEL)
    mean = photos.mean(axis=0)
    for share in (0.0, 0.25, SHARE, 1.0):
        np.testing.assert_allclose(origin_of(photos, share), share * mean, atol=1e-6)
    assert origin_of(photos).dtype == np.float32 and 0 < SHARE < 1
    np.testing.assert_array_equal(origin_of(photos), origin_of(photos, SHARE))


def test_photos_that_all_show_one_label_leave_it_its_answers() -> None:
    """The whole mean would take the label itself off; a share of it does not."""
    generator = np.random.default_rng(0)
    alike = unit(WORDS[np.full(30, 1)] + 0.1 * generator.normal(size=(30, DIM)))
    asked = unit(WORDS[LABEL] + 0.1 * generator.normal(size=(len(LABEL), DIM)))
    pack = adapted(pack_of(WORDS), alike, ENCODER)
    assert (answers(pack, asked) == LABEL).all()
    whole = asked @ WORDS.T - WORDS @ origin_of(alike, share=1.0)
    assert (whole.argmax(axis=1) == LABEL).mean() < 1


def test_an_adapted_pack_is_the_same_after_it_was_stored() -> None:
    pack = adapted(pack_of(WORDS), place(LABEL), ENCODER)
    found = LabelPack.from_bytes(pack.to_bytes())
    assert found.origin == pack.origin and found.origin is not None
    assert (found.origin.photos, found.origin.image_encoder) == (len(LABEL), ENCODER)
    assert (found.offsets == pack.offsets).all() and pack.offsets.dtype == np.float32
    assert found.to_bytes() == pack.to_bytes()


def test_adapting_again_takes_the_new_photos() -> None:
    once = adapted(pack_of(WORDS), place(LABEL, towards=1), ENCODER)
    again = adapted(once, place(LABEL, towards=2), ENCODER)
    assert again.origin == adapted(pack_of(WORDS), place(LABEL, towards=2), ENCODER).origin != once.origin


def test_too_few_photos_and_taught_packs_are_refused() -> None:
    pack, photos = pack_of(WORDS), place(LABEL)
    for count in range(LEAST):
        with pytest.raises(UsageError, match=rf"^{count} photos of the place could be used; accepted: at least 4$"):
            adapted(pack, photos[:count], ENCODER)
    assert adapted(pack, photos[:LEAST], ENCODER).origin is not None
    with pytest.raises(LabelError, match="taught by photos with labels"):
        adapted(replace(pack, image_encoder=ENCODER), photos, ENCODER)


@given(count=st.integers(0, 500))
def test_photos_are_taken_at_even_steps(count: int) -> None:
    taken = spread(range(count))
    assert len(taken) == min(count, MOST) and taken == sorted(set(taken))
    if count:
        assert (taken[0], taken[-1]) == (0, count - 1)
    steps = np.diff(taken)
    assert not len(steps) or steps.max() - steps.min() <= 1
