"""How far answers can be trusted: figures of known cases, fits that ship, and no photo that judges its own fit."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from training import answers
from training.answers import (
    FOLDS,
    auroc,
    calibration_error,
    chance_error,
    coverage_risk,
    fit_pack,
    fit_threshold,
    folds,
    judge_answers,
    reliability,
    selective_accuracy,
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


def test_no_photo_judges_a_fit_that_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    cosines, task, label = photos()
    fold = folds(task, label)
    seen: list[int] = []
    real = answers.fit_pack

    def spy(own: np.ndarray, place: np.ndarray, around: float) -> answers.PackFit:
        seen.append(len(own))
        return real(own, place, around)

    monkeypatch.setattr(answers, "fit_pack", spy)
    judge_answers(cosines, task, label, NAMES, ROWS)
    of_pack = [int(((task == 0) & (fold != one)).sum()) for one in range(FOLDS)]
    assert seen[: 1 + FOLDS] == [CLASSES * EACH, *of_pack]
    assert max(of_pack) < CLASSES * EACH
    for number in np.unique(label):
        counts = np.bincount(fold[label == number], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


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
