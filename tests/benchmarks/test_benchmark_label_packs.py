"""Figures of label vectors: right answers, and cosines that one threshold parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.label_packs import figures
from training.data import Collection, Photos

COLLECTION = Collection(Path(), "made", (), ("a", "b", "c", "d"), ((0, 1), (2, 3)))
LABELS = np.eye(4, dtype=np.float32)


def answers(*labels: int) -> Photos:
    numbers = np.array(labels)
    return Photos((), numbers // 2, numbers, "")


def test_all_right() -> None:
    found = figures(LABELS, LABELS, COLLECTION, answers(0, 1, 2, 3))
    assert (found.accuracy, found.together, found.pooled) == (1, 1, 1)


def test_half_right_and_never_sure() -> None:
    photos = np.array([[0.9, 0.1, 0, 0], [0.9, 0.2, 0, 0], [0, 0, 0.3, 0.1], [0, 0.8, 0.2, 0.1]], np.float32)
    found = figures(photos, LABELS, COLLECTION, answers(0, 1, 2, 3))
    assert found.accuracy == pytest.approx(0.5)
    assert found.together == pytest.approx(0.5)
    assert 0.5 < found.pooled < 1
    assert found.spread > 1
