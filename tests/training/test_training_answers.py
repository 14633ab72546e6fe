"""How far answers can be trusted: figures of known cases, fits that ship, and no photo that judges its own fit."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import pytest

from training.answers import (
    APART,
    FOLDS,
    KEPT,
    auroc,
    calibration_error,
    chance_error,
    coverage_risk,
    fit_pack,
    fit_threshold,
    folds,
    judge_answers,
    judge_typed,
    reliability,
    selective_accuracy,
    squared_calibration_error,
)
from training.answers_picture import coverage_risk_picture, reliability_picture

TASKS, CLASSES, EACH = 3, 4, 30
NAMES, ROWS = ["a", "b", "c"], [list(range(4 * task, 4 * task + 4)) for task in range(3)]


def photos(temperature: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines whose labels are drawn from the softmax over the photo's task at ``temperature``: calibrated there."""
    generator = np.random.default_rng(seed)
    task = np.repeat(np.arange(TASKS), CLASSES * EACH)
    cosines = generator.normal(0.1, 0.02, (len(task), TASKS * CLASSES))
    label = np.empty(len(task), np.int64)
    for photo, number in enumerate(task):
        cosines[photo, ROWS[number]] = generator.normal(0.4, 0.1, CLASSES)
        logits = cosines[photo, ROWS[number]] / temperature
        shares = np.exp(logits - logits.max())
        label[photo] = ROWS[number][generator.choice(CLASSES, p=shares / shares.sum())]
    return cosines, task, label


def test_calibrated_photos_are_found_calibrated() -> None:
    trust = judge_answers(*photos(), NAMES, ROWS)
    assert trust.temperature == pytest.approx(0.05, rel=0.15)
    for one in trust.packs:
        assert (one.photos, one.auroc) == (CLASSES * EACH, pytest.approx(1, abs=1e-3))
        assert one.error < one.chance_error + 0.05
        assert one.selective >= one.accuracy
        assert one.rejected > 0.95
        assert 0.5 <= trust.fits[one.pack].threshold <= 0.9
    assert calibration_error(trust.confidence, trust.right) < 1.6 * chance_error(trust.confidence)


def test_the_squared_error_is_free_of_chance() -> None:
    """Over many packs of 40 photos: 0 where confidences are right, and the squared gap where they are not."""
    generator = np.random.default_rng(0)
    exact, sure, plain = [], [], []
    for _ in range(2000):
        confidence = generator.uniform(0.5, 0.9, 40)
        right = generator.random(40) < confidence
        exact.append(squared_calibration_error(confidence, right))
        sure.append(squared_calibration_error(confidence + 0.1, right))
        plain.append(calibration_error(confidence, right))
    assert abs(np.mean(exact)) < 5e-4  # four standard errors
    assert np.mean(sure) == pytest.approx(0.01, abs=1e-3)
    assert np.mean(plain) > 0.1  # what the error without squares says of confidences that are right


def test_no_photo_judges_a_fit_that_it_made() -> None:
    """Wrong labels of one fold change how the others are judged, and nothing of how it is judged itself."""
    generator = np.random.default_rng(0)
    label = np.tile([0, 1, 2, 3], EACH)  # neighbours have one place in their classes, so that a swap moves no fold
    task, rows = label // 2, [[0, 1], [2, 3]]
    cosines = np.where(label[:, np.newaxis] == np.arange(4), 0.6, 0.4) + generator.normal(0, 0.08, (len(label), 4))
    fold = folds(task, label)
    for number in np.unique(label):
        counts = np.bincount(fold[label == number], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    swapped = np.where(fold == 2, label ^ 1, label)
    assert (folds(task, swapped) == fold).all()
    right, wrong = (judge_answers(cosines, task, given, ["a", "b"], rows) for given in (label, swapped))
    np.testing.assert_array_equal(right.confidence[fold == 2], wrong.confidence[fold == 2])
    assert (right.right[fold == 2] != wrong.right[fold == 2]).all()
    for other in {0, 1, 3, 4}:
        assert (right.confidence[fold == other] > wrong.confidence[fold == other]).all()


def typed_photos(nearness: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[list[int]]]:
    """Photos of tasks of three labels each; a photo's cosine to its own label is its task's, to others 0.1."""
    generator = np.random.default_rng(0)
    rows = [list(range(3 * number, 3 * number + 3)) for number in range(len(nearness))]
    label = np.repeat(np.arange(3 * len(nearness)), 20)
    own = np.asarray(nearness)[label // 3, np.newaxis]
    cosines = np.where(label[:, np.newaxis] == np.arange(3 * len(nearness)), own, 0.1)
    return cosines + generator.normal(0, 0.04, cosines.shape), label // 3, label, rows


def test_typed_labels_get_a_least_cosine_and_are_judged_by_other_tasks() -> None:
    typed = judge_typed(*typed_photos([0.5] * 6))
    assert typed is not None
    assert 0.1 < typed.unknown < 0.5 and typed.sets > 100
    assert typed.auroc > 0.999 and typed.lost < 0.01 and typed.error < 0.05
    assert typed.rejected == pytest.approx(APART, abs=0.05)
    assert typed == judge_typed(*typed_photos([0.5] * 6))
    assert judge_typed(*typed_photos([0.5] * 3)) is None  # halves of one task each: no other photos


def test_typed_labels_that_fitted_nothing_say_what_they_lose() -> None:
    """Every second task's photos lie as far from their labels as others' do: the other half cannot know."""
    typed = judge_typed(*typed_photos([0.5, 0.12] * 3))
    assert typed is not None and typed.lost > 0.1
    assert judge_typed(*typed_photos([0.12] * 6)).unknown < typed.unknown  # type: ignore[union-attr]


def test_no_more_of_the_own_photos_are_lost_than_of_a_pack() -> None:
    cosines, task, label, rows = typed_photos([0.14] * 6)
    typed = judge_typed(cosines, task, label, rows)
    assert typed is not None
    best = cosines[np.arange(len(label)), label]
    assert typed.unknown <= np.quantile(best, 1 - KEPT) + 0.05
    assert typed.lost < 3 * (1 - KEPT)


def test_few_right_answers_do_not_make_certain() -> None:
    own, label = np.tile([0.5, 0.3], (10, 1)), np.zeros(10, np.int64)
    assert fit_pack(own, label, 0.05).temperature > 0.02
    many = fit_pack(np.tile(own, (200, 1)), np.zeros(2000, np.int64), 0.05).temperature
    assert many < fit_pack(own, label, 0.05).temperature


def test_the_threshold_lets_95_percent_right_answers_through() -> None:
    confidence = np.linspace(1, 0.5, 100)
    right = np.ones(100, bool)
    right[60:] = False
    assert fit_threshold(confidence, right) == pytest.approx(confidence[62])
    assert fit_threshold(confidence, ~right) == 0.9
    assert fit_threshold(confidence, np.ones(100, bool)) == 0.5


def test_error_of_known_cases() -> None:
    right = np.arange(100) % 10 < 8
    assert calibration_error(np.full(100, 0.8), right) < 0.07
    assert calibration_error(np.full(100, 1.0), right) == pytest.approx(0.2)
    assert chance_error(np.full(24, 0.8)) > chance_error(np.full(2400, 0.8)) > 0
    assert chance_error(np.ones(24)) == 0


def test_auroc_and_selective_accuracy() -> None:
    assert auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1
    assert auroc(np.array([0.5]), np.array([0.5])) == 0.5
    confidence, right = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, True, True, False, False])
    assert selective_accuracy(confidence, right) == 0.75
    assert coverage_risk(confidence, right, 5) == [(0.2, 0), (0.4, 0), (0.6, 0), (0.8, 0.25), (1.0, 0.4)]
    assert reliability(confidence, right, 1) == [(pytest.approx(0.7), 0.6, 5)]


def test_pictures_hold_every_point() -> None:
    bins = [(0.6, 0.5, 10), (0.9, 1.0, 10)]
    for picture, points in (
        (reliability_picture(bins), 2),
        (coverage_risk_picture([(0.5, 0.0), (0.8, 0.02), (1.0, 0.1)]), 3),
    ):
        root = ET.fromstring(picture)
        circles = root.findall("{http://www.w3.org/2000/svg}circle")
        assert len(circles) == points
        width, height = float(root.get("width", "")), float(root.get("height", ""))
        assert all(0 < float(c.get("cx", "")) < width and 0 < float(c.get("cy", "")) < height for c in circles)
        assert len(picture) < 8000
