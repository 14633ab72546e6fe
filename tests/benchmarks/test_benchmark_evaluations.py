"""What is derived from the records of several encoders."""

import pytest

from benchmarks.evaluations import between


def test_a_student_is_held_against_its_teacher_and_teaching_against_words() -> None:
    samples = {
        "teacher-leaves-facts-zero-shot_pct": [80.0],
        "student-leaves-facts-zero-shot_pct": [76.0],
        "student-leaves-facts-teach-5-shot_pct": [90.0],
        "other-leaves-facts-teach-5-shot_pct": [50.0],
        "student-soils-facts-zero-shot_pct": [40.0],
    }
    assert between(samples) == {
        "retention-leaves-facts-zero-shot_pct": [pytest.approx(95.0)],
        "student-leaves-facts-teach-5-shot_gain_points": [pytest.approx(14.0)],
    }
