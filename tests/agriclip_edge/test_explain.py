"""Explanations: what drew the answer did draw it, and the picture shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import agriclip_edge
from agriclip_edge import LabelError, PhotoError
from agriclip_edge.explain import GRID, cover, occlusion

REMOVED = 16  # of 64 cells


@pytest.mark.parametrize("name", ["chickens", "duck", "perch", "pig"])
def test_removing_what_drew_the_answer_lowers_it_more_than_removing_others(
    default_bundle: Path, photos: dict[str, Path], name: str
) -> None:
    classifier = agriclip_edge.load(default_bundle, runtime="onnxruntime")
    explanation = classifier.explain(photos[name])
    assert explanation.label == classifier.classify(photos[name]).best.label

    def probability(cells: np.ndarray) -> float:
        answer = classifier.classify(cover(explanation.square, cells), top_k=1000)
        return next(found.confidence for found in answer.predictions if found.label == explanation.label)

    generator = np.random.default_rng(0)
    drawn = explanation.strongest(REMOVED)
    others = []
    for _ in range(5):
        cells = np.zeros(GRID * GRID, bool)
        cells[generator.permutation(np.flatnonzero(~drawn))[:REMOVED]] = True
        others.append(probability(cells.reshape(GRID, GRID)))
    assert probability(drawn) < min(others)


def test_the_cell_that_a_score_hangs_on_is_found() -> None:
    square = np.full((64, 64, 3), 100, np.uint8)
    square[16:24, 40:48] = 250

    def score(squares: np.ndarray) -> np.ndarray:
        return squares[:, 16:24, 40:48].mean(axis=(1, 2, 3)).astype(np.float64)

    drops = occlusion(square, score)
    assert np.unravel_index(drops.argmax(), drops.shape) == (2, 5)
    assert drops.min() >= 0


def test_what_is_there_twice_is_found_both_times() -> None:
    square = np.full((64, 64, 3), 100, np.uint8)
    square[16:24, 40:48], square[56:64, 48:56] = 250, 240

    def score(squares: np.ndarray) -> np.ndarray:
        signs = [squares[:, 16:24, 40:48], squares[:, 56:64, 48:56]]
        return np.max([sign.mean(axis=(1, 2, 3)) for sign in signs], axis=0).astype(np.float64)

    chosen = np.argsort(-occlusion(square, score), axis=None)[:8]  # two small patches
    assert {2 * GRID + 5, 7 * GRID + 6} <= set(chosen.tolist())


def test_an_answer_that_hangs_on_nothing_has_no_heat() -> None:
    drops = occlusion(np.zeros((64, 64, 3), np.uint8), lambda squares: np.full(len(squares), 0.5))
    assert drops.shape == (GRID, GRID) and not drops.any()


def test_any_bundle_explains_any_label(tiny_bundle: Path, photos: dict[str, Path]) -> None:
    classifier = agriclip_edge.load(tiny_bundle)
    label = classifier.pack.labels[1].text
    explanation = classifier.explain(photos["cow"], label=label)
    assert explanation.label == label and explanation.square.shape == (32, 32, 3)
    picture = explanation.picture()
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and min(picture.shape[:2]) > 400
    with pytest.raises(LabelError, match="no label 'tractor' among the [0-9]+ in use"):
        classifier.explain(photos["cow"], label="tractor")
    with pytest.raises(PhotoError):
        classifier.explain("missing.jpg")


@pytest.mark.parametrize("shape", [(40, 900, 3), (900, 40, 3), (8, 8, 3)])
def test_panoramas_and_tiny_photos_have_a_picture_of_bounded_size(tiny_bundle: Path, shape: tuple[int, ...]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert max(agriclip_edge.load(tiny_bundle).explain(photo).picture().shape) < 2000
