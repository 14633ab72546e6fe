"""The table of few-shot scenes: rows of every record, and gains only where the draws are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fewshot
from training.diffclip.record import Draw, FewShotProtocol, Record, Subject, write_record


def record(name: str, overall: tuple[float, float, float], scene: str = "a", distance: int = 0) -> Record:
    asked = FewShotProtocol("made", scene, "stored", (2,), (0, 1, 2), None, distance)
    draws = tuple(Draw(name, 2, seed, 4, 9, value, value, 0.0, (value, None)) for seed, value in enumerate(overall))
    return Record(asked, ("oak", "pine"), (Subject(name, ""),), draws)


def test_methods_of_the_same_draws_are_compared_pair_by_pair(tmp_path: Path) -> None:
    paths = [
        write_record(record("DiffCLIP", (0.5, 0.6, 0.7)), tmp_path / "ours"),
        write_record(record("SVM", (0.4, 0.5, 0.5)), tmp_path / "svm"),
        write_record(record("SVM", (0.1, 0.1, 0.1), scene="b"), tmp_path / "elsewhere"),
        write_record(record("SVM", (0.2, 0.2, 0.2), distance=4), tmp_path / "apart"),
    ]
    found = fewshot.measure(paths)
    rows, gains = (detail.rows for detail in found.details)
    assert [row[2] for row in rows] == ["DiffCLIP", "SVM", "SVM", "SVM"] and rows[0][4].startswith("60.0")
    assert [row[1] for row in rows] == ["stored", "stored", "stored", "stored, 4 px"]
    ((scene, split, over, shots, gain, *_),) = gains
    assert (scene, split, over, shots) == ("made", "stored", "SVM", 2) and gain.startswith("+13.3")
    assert found.samples["made-stored-DiffCLIP-2_oa_pct"] == pytest.approx([50, 60, 70])
