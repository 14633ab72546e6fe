"""Reference statistics: small, read by the runtime, and telling other photos from those held out."""

from __future__ import annotations

import numpy as np

from agriclip_edge.drift import MAX_BYTES, Reference, compare
from export.reference import make_reference

DIM, TASKS, LABELS = 64, 6, 4


def photos(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of ``count`` photos a label, their labels and tasks."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(TASKS * LABELS, DIM))
    moved = shift * np.random.default_rng(98).normal(size=DIM)
    label = np.repeat(np.arange(TASKS * LABELS), count)
    vectors = centres[label] + moved + 0.3 * generator.normal(size=(len(label), DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label, label // LABELS


def test_statistics_know_held_out_photos_and_no_others() -> None:
    train, label, task = photos(20, 0)
    held_out, _, held_out_task = photos(10, 1)
    words = np.eye(DIM, dtype=np.float32)[: TASKS * LABELS]
    data = make_reference(train, label, task, held_out, held_out_task, words).to_bytes()
    assert len(data) <= MAX_BYTES
    reference = Reference.from_bytes(data, DIM, "x")
    fresh, _, fresh_task = photos(30, 2)
    other, _, other_task = photos(30, 3, shift=0.8)
    states = [compare(reference, fresh[fresh_task == n][:64], [""] * 64).state for n in range(TASKS)]
    assert states.count("left") <= 1
    assert all(compare(reference, other[other_task == n][:64], [""] * 64).state == "left" for n in range(TASKS))


def test_labels_of_one_photo_are_no_yardstick() -> None:
    train, label, task = photos(20, 0)
    held_out, _, held_out_task = photos(10, 1)
    words = np.eye(DIM, dtype=np.float32)[: TASKS * LABELS]
    whole = make_reference(train, label, task, held_out, held_out_task, words)
    some = (task > 1) | (np.arange(len(task)) % 20 == 0)  # the first two tasks have one photo of each label
    for kept in (some, np.arange(len(task)) % 20 == 0):
        found = make_reference(train[kept], label[kept], task[kept], held_out, held_out_task, words)
        typical = Reference.from_bytes(found.to_bytes(), DIM, "x").typical
        assert np.isfinite(typical).all() and (typical > 0).all()
    found = make_reference(train[some], label[some], task[some], held_out, held_out_task, words)
    assert np.allclose(found.typical[2 * LABELS :], whole.typical[2 * LABELS :], rtol=0.25)


def test_many_labels_stay_within_the_size() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(3000, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    label = np.arange(3000) % 1000
    task = label // 100
    words = np.zeros((1000, 384), np.float32)
    assert len(make_reference(vectors, label, task, vectors[:500], task[:500], words).to_bytes()) <= MAX_BYTES
