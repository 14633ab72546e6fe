"""Labels' rows from a few photos: what they learn, and what is claimed of photos that were left out."""

from __future__ import annotations

import numpy as np
import pytest

from agriclip_edge.fewshot import fit_rows

DIM = 32


def world(shots: int, seed: int = 0, classes: int = 4, noise: float = 0.8, words: float = 2) -> tuple[np.ndarray, ...]:
    """Words that say a little, photos far away from them: (texts, photos, label, other photos, their label)."""
    generator = np.random.default_rng(seed)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    shared, truth = 3 * generator.normal(size=DIM), generator.normal(size=(classes, DIM))
    texts = unit(truth + words * generator.normal(size=(classes, DIM)))
    label, other = np.repeat(np.arange(classes), shots), np.repeat(np.arange(classes), 50)
    photos = unit(shared + truth[label] + noise * generator.normal(size=(len(label), DIM)))
    others = unit(shared + truth[other] + noise * generator.normal(size=(len(other), DIM)))
    return texts, photos, label, others, other


def accuracy(vectors: np.ndarray, rows: np.ndarray, label: np.ndarray) -> float:
    return float(((vectors @ rows.T).argmax(axis=1) == label).mean())


@pytest.mark.parametrize("shots", [1, 2, 5, 20])
def test_photos_make_better_rows_than_words(shots: int) -> None:
    texts, photos, label, others, other = world(shots)
    found = fit_rows(texts, photos, label, 0.05)
    assert np.allclose(np.linalg.norm(found.rows, axis=1), 1, atol=1e-5)
    assert accuracy(others, found.rows, other) > accuracy(others, texts, other) + 0.2
    assert np.allclose(found.left_out.sum(axis=1), 1)


def test_left_out_is_what_a_fit_without_the_photo_says() -> None:
    texts, photos, label, _, _ = world(shots=6)
    found = fit_rows(texts, photos, label, 0.05)
    for row in range(0, len(photos), 5):
        kept = np.arange(len(photos)) != row
        without = fit_rows(texts, photos[kept], label[kept], 0.05)
        # The direction that all photos share moves a little with each photo; all else is exact.
        expected = photos[row] @ without.rows.T
        assert expected.argmax() == found.left_out[row].argmax() or np.ptp(np.sort(expected)[-2:]) < 0.1


def test_the_estimate_is_near_the_truth_and_not_that_of_known_photos() -> None:
    texts, photos, label, others, other = world(shots=10, seed=3, classes=8, noise=2)
    found = fit_rows(texts, photos, label, 0.05)
    estimate = float((found.left_out.argmax(axis=1) == label).mean())
    assert accuracy(photos, found.rows, label) > estimate
    assert abs(estimate - accuracy(others, found.rows, other)) < 0.1


def test_labels_without_photos_still_answer() -> None:
    texts, photos, label, others, other = world(shots=5, words=1)
    kept = label < 3
    found = fit_rows(texts, photos[kept], label[kept], 0.05)
    answers = (others @ found.rows.T).argmax(axis=1)
    assert (answers[other == 3] == 3).any() and (answers[other < 3] == other[other < 3]).mean() > 0.6


def test_a_linear_head_needs_photos() -> None:
    texts, photos, label, _, _ = world(shots=2)
    assert fit_rows(texts, photos, label, 0.05).penalty is None
    texts, photos, label, _, _ = world(shots=20)
    assert fit_rows(texts, photos, label, 0.05).penalty is not None


def test_one_taught_label_is_not_always_the_answer_where_the_gap_is_known() -> None:
    texts, photos, label, others, other = world(shots=5)
    gap = np.mean([photos[label == row].mean(axis=0) - texts[row] for row in range(1, 4)], axis=0)
    found = fit_rows(texts, photos[label == 0], label[label == 0], 0.05, gap.astype(np.float32))
    answers = (others @ found.rows.T).argmax(axis=1)
    assert (answers[other == 0] == 0).mean() > 0.8
    assert (answers[other != 0] == 0).mean() < 0.5
