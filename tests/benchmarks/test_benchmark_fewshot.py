"""The table of few-shot scenes: rows of every record, and gains only where the draws are the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from agriclip_edge.errors import UsageError
from benchmarks import fewshot
from training.diffclip.record import Draw, FewShotProtocol, Record, Subject, write_record
from training.diffclip.spectrum import Components
from training.diffclip.student import Figures, Student, StudentConfig, StudentRun, write_student
from training.diffclip.unseen import Unseen, unseen_path


def record(
    name: str, overall: tuple[float, float, float], scene: str = "a", distance: int = 0, shots: int = 2
) -> Record:
    asked = FewShotProtocol("made", scene, "stored", (shots,), (0, 1, 2), None, distance)
    draws = tuple(Draw(name, shots, seed, 4, 9, value, value, 0.0, (value, None)) for seed, value in enumerate(overall))
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
    again = fewshot.measure([*paths, paths[1]])
    assert tuple(detail.rows for detail in again.details) == (rows, gains)


def test_what_two_records_hold_counts_once(tmp_path: Path) -> None:
    ours, svm = record("DiffCLIP", (0.5, 0.6, 0.7)), record("SVM", (0.4, 0.5, 0.5))
    apart = [write_record(ours, tmp_path / "ours"), write_record(svm, tmp_path / "svm")]
    both = msgspec.structs.replace(svm, methods=(*ours.methods, *svm.methods), draws=(*ours.draws, *svm.draws))
    together = [apart[0], write_record(both, tmp_path / "both")]
    one, other = (fewshot.measure(paths) for paths in (apart, together))
    assert [detail.rows for detail in one.details] == [detail.rows for detail in other.details]


def test_the_shots_of_a_method_stand_together(tmp_path: Path) -> None:
    made = [(name, shots) for shots in (5, 1) for name in ("DiffCLIP", "SVM")]
    paths = [write_record(record(name, (0.4, 0.5, 0.7), shots=k), tmp_path / f"{name}{k}") for name, k in made]
    rows, gains = (detail.rows for detail in fewshot.measure(paths).details)
    assert [row[2:4] for row in rows] == [("DiffCLIP", 1), ("DiffCLIP", 5), ("SVM", 1), ("SVM", 5)]
    assert [row[3] for row in gains] == [1, 5]


def test_what_texts_alone_tell_is_listed_from_beside_the_record(tmp_path: Path) -> None:
    path = write_record(record("DiffCLIP", (0.5, 0.6, 0.7)), tmp_path / "ours")
    row = Unseen("DiffCLIP", 2, 3, 0.5312, 0.0104, (0.5, 0.56))
    beside = unseen_path(path.parent, "made", "stored")
    beside.write_bytes(msgspec.json.encode({"classes": ["oak", "pine"], "rows": [row]}))
    told = fewshot.measure([path, path]).details[-1]
    assert told.rows == (("made", "stored", "DiffCLIP", 2, "0.531 ± 0.010"),)
    beside.write_bytes(b"{")
    with pytest.raises(UsageError, match="no table of classes without a shot"):
        fewshot.measure([path])


def test_records_of_two_codes_are_refused(tmp_path: Path) -> None:
    old, new = (write_record(record("SVM", (value, 0.5, 0.5)), tmp_path / str(value)) for value in (0.3, 0.4))
    with pytest.raises(UsageError, match="records differ on SVM by 2 shots of made, stored"):
        fewshot.measure([old, new])


def test_students_say_how_they_compare_with_their_transformer(tmp_path: Path) -> None:
    sensors = {"hyperspectral": {"channels": 4, "unit": "reflectance", "wavelengths": [400.0, 500.0, 600.0, 700.0]}}
    student = Student({"hyperspectral": Components(4, 3, normalise=False)}, 3, 8, 4, StudentConfig.tiny())
    figures = Figures(0.9812, 0.97, {"lidar": 0.96}, 123.4, 34000, 0.5, 0.6)
    run = StudentRun(student, ("oak", "pine"), np.eye(2, 8, dtype=np.float32), 0.1, sensors, 1.0, figures)
    write_student(run, tmp_path / "field-student")
    paths = [write_record(record("DiffCLIP", (0.5, 0.6, 0.7)), tmp_path / "ours")]
    assert len(fewshot.measure(paths).details) == 2
    found = fewshot.measure(paths, [tmp_path / "field-student"])
    ((name, pixels, same, apart, missing, faster),) = found.details[-1].rows
    assert (name, pixels, apart, missing, faster) == ("field-student", 34000, "97.00", "lidar 96.00", 123.4)
    assert same == pytest.approx(98.12)
    assert found.samples["field-student-agreement_pct"] == pytest.approx([98.12])
