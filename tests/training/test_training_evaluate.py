from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import embed_labels
from agriclip_edge.text.encoder import TextEncoder
from training.calibration import calibrate, expected_calibration_error, fit_temperature, own_task_cosines, softmax
from training.data import read_collection, read_photos
from training.evaluate import evaluate, judge, mean_per_class_accuracy


def test_each_class_counts_alike_however_many_photos_it_has() -> None:
    actual = np.array([0] * 8 + [1] * 2)
    assert mean_per_class_accuracy(np.zeros(10, np.int64), actual) == 0.5
    assert mean_per_class_accuracy(actual, actual) == 1.0


def test_a_bundle_that_tells_colours_apart_answers_colours(data: Path, text: TextEncoder, tiny_bundle: Path) -> None:
    from agriclip_edge import load

    collection, classifier = read_collection(data / "alive-mini"), load(tiny_bundle)
    labels = embed_labels([Label(label) for label in collection.labels], ["{}"], text)
    table = evaluate(lambda rgb: classifier.embed(list(rgb)), labels, collection, read_photos(collection, "val"))
    assert [(r.task, r.classes, r.photos) for r in table.results] == [("fruit", 3, 12), ("cover", 2, 8)]
    assert table.mean == 1.0
    assert table.chance == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_photos_choose_among_their_own_tasks_labels_alone(data: Path) -> None:
    collection = read_collection(data / "alive-mini")
    photos = read_photos(collection, "val")
    labels = np.eye(5, dtype=np.float32)
    vectors = labels[(photos.label + 3) % 5]  # nearest to a label of the other task, or to another of its own
    table = evaluate(lambda rgb: vectors[: len(rgb)], labels, collection, photos.take(np.arange(len(photos))))
    assert table.results[0].accuracy == pytest.approx(1 / 3)  # no offered label is near: the first one is taken
    among_all = judge(vectors, labels, collection, photos, among_all=True)
    assert among_all.mean == 0 and among_all.chance == pytest.approx(1 / 5)
    cosines = own_task_cosines(vectors, labels, collection, photos)
    assert np.isneginf(cosines[photos.task == 0, 3:]).all() and np.isfinite(cosines[photos.task == 0, :3]).all()


def test_the_temperature_is_found_again() -> None:
    generator = np.random.default_rng(0)
    cosines = generator.uniform(-1, 1, (20000, 6))
    right = (generator.random((20000, 1)) > softmax(cosines, 0.2).cumsum(axis=1)).sum(axis=1)
    assert fit_temperature(cosines, right) == pytest.approx(0.2, rel=0.03)
    honest = expected_calibration_error(softmax(cosines, 0.2), right)
    boasting = expected_calibration_error(softmax(cosines, 0.05), right)
    assert honest < 0.02 < 0.2 < boasting


def test_calibration_says_how_honest_it_is(data: Path) -> None:
    collection = read_collection(data / "alive-mini")
    photos = read_photos(collection, "val")
    generator = np.random.default_rng(1)
    labels = np.eye(5, dtype=np.float32)
    vectors = labels[photos.label] + 0.8 * generator.standard_normal((len(photos), 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    result = calibrate(vectors, labels, collection, photos)
    assert 0.01 < result.temperature < 1 and result.likelihood_loss < np.log(3) and result.calibration_error < 0.3
