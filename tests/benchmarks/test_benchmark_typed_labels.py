"""The labels of the figure are as many, as different and as mixed as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.labels.build import match_labels
from agriclip_edge.labels.lists import as_labels
from benchmarks.record import BenchmarkError
from benchmarks.typed_labels import TypedConfig, typed

FEW = TypedConfig(labels=2, synonyms=1, unknown=3)


def test_words_of_the_library_and_words_that_it_does_not_know(facts_bundle: Path) -> None:
    bundle = Bundle.open(facts_bundle)
    found = as_labels(typed(bundle, FEW))  # which refuses two alike
    how = [match.how for match in match_labels(bundle, found)]
    assert len(found) == 6 and how[:2] == ["label", "label"] and how[2] != "label" and how[3:] == ["", "", ""]
    assert typed(bundle, FEW) == [label.text for label in found]
    assert typed(bundle, replace(FEW, seed=1)) != [label.text for label in found]


def test_a_bundle_that_knows_too_little_is_told(tiny_bundle: Path, facts_bundle: Path) -> None:
    with pytest.raises(BenchmarkError, match="knows facts of 0 classes"):
        typed(Bundle.open(tiny_bundle), FEW)
    with pytest.raises(BenchmarkError, match="accepted: more"):
        typed(Bundle.open(facts_bundle), TypedConfig())


def test_the_figure_is_of_a_hundred_labels() -> None:
    config = TypedConfig()
    assert config.labels + config.synonyms + config.unknown == 100
    assert len(typed(Bundle.open(), config)) == 100
