"""The pictures of how far answers can be trusted, from the record."""

from __future__ import annotations

from pathlib import Path

from training.answers_picture import coverage_risk_picture, reliability_picture

from .answers import RELIABILITY, RISK
from .record import RECORDS, Detail, read_record


def render_reliability(folder: Path = RECORDS) -> str:
    """The reliability diagram; without a record it has no points."""
    rows = _table(folder, RELIABILITY)
    return reliability_picture([(float(one), float(right), int(photos)) for one, right, photos in rows])


def render_coverage_risk(folder: Path = RECORDS) -> str:
    """The risk by coverage; without a record it has no points."""
    return coverage_risk_picture([(float(coverage), float(risk)) for coverage, risk in _table(folder, RISK)])


def _table(folder: Path, title: str) -> tuple[tuple[str | int | float, ...], ...]:
    path = folder / "answers.json"
    details: tuple[Detail, ...] = read_record(path).details if path.exists() else ()
    return next((detail.rows for detail in details if detail.title == title), ())
