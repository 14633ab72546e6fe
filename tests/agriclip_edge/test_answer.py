"""Cosines become the answer that docs/answer.md promises."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.answer import Answer, Prediction, Timing, Verdict, decide, rank
from agriclip_edge.labels.pack import Label

LABELS = [Label("wheat", "cereal"), Label("rust"), Label("soil")]


def test_best_first_with_the_softmax_of_cosine_over_temperature() -> None:
    cosines = np.array([0.2, 0.5, -0.1], np.float32)
    found = rank(cosines, LABELS, temperature=0.1)
    weights = np.exp(np.array([2.0, 5.0, -1.0]))
    assert [prediction.label for prediction in found] == ["rust", "wheat", "soil"]
    assert [prediction.parent for prediction in found] == ["", "cereal", ""]
    assert np.allclose([prediction.confidence for prediction in found], weights[[1, 0, 2]] / weights.sum())
    assert np.allclose([prediction.cosine for prediction in found], [0.5, 0.2, -0.1])


def test_equal_cosines_keep_the_order_of_the_labels() -> None:
    found = rank(np.full(3, 0.3, np.float32), LABELS, temperature=0.1)
    assert [prediction.label for prediction in found] == ["wheat", "rust", "soil"]
    assert all(prediction.confidence == pytest.approx(1 / 3) for prediction in found)
    many = [Label(str(number)) for number in range(1000)]
    cosines = np.tile(np.array([0.1, 0.2], np.float32), 500)
    order = [int(prediction.label) for prediction in rank(cosines, many, temperature=0.1, top_k=1000)]
    assert order == [*range(1, 1000, 2), *range(0, 1000, 2)]


def test_choice() -> None:
    cosines = np.array([0.2, 0.5, -0.1], np.float32)
    everything = rank(cosines, LABELS, temperature=0.1)
    assert rank(cosines, LABELS, temperature=0.1, top_k=2) == everything[:2]
    assert rank(cosines, LABELS, temperature=0.1, top_k=99) == everything
    assert rank(cosines, LABELS, temperature=0.1, min_confidence=0.5) == everything[:1]
    assert rank(cosines, LABELS, temperature=0.1, min_confidence=1.0) == ()


@given(
    cosines=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8),
    temperature=st.floats(1e-4, 999),
    top_k=st.integers(1, 9),
)
def test_confidence_is_a_probability(cosines: list[float], temperature: float, top_k: int) -> None:
    labels = [Label(str(number)) for number in range(len(cosines))]
    found = rank(np.array(cosines, np.float32), labels, temperature=temperature, top_k=top_k)
    assert len(found) == min(top_k, len(cosines))
    assert [prediction.cosine for prediction in found] == sorted(cosines, reverse=True)[: len(found)]
    total = sum(prediction.confidence for prediction in found)
    assert all(0 <= prediction.confidence <= 1 for prediction in found)
    assert total <= 1 + 1e-9
    if top_k >= len(cosines):
        assert total == pytest.approx(1)
    confidences = [prediction.confidence for prediction in found]
    assert confidences == sorted(confidences, reverse=True)


def test_record() -> None:
    answer = Answer("a.jpg", (Prediction("wheat", "cereal", 0.91234567, -0.48123449),))
    assert answer.to_record() == {
        "path": "a.jpg",
        "predictions": [{"label": "wheat", "parent": "cereal", "confidence": 0.912346, "cosine": -0.481234}],
        "answer": None,
        "error": None,
    }
    failed = Answer(None, (), "no such file").to_record()
    assert failed == {"path": None, "predictions": [], "answer": None, "error": "no such file"}
    sure = Answer("a.jpg", (), verdict=Verdict("label", "wheat", 0.91234567, None, "wheat")).to_record()["answer"]
    assert sure == {"kind": "label", "label": "wheat", "confidence": 0.912346, "reason": None, "text": "wheat"}


def test_best() -> None:
    one, two = Prediction("a", "", 0.6, 0.2), Prediction("b", "", 0.4, 0.1)
    assert Answer(None, (one, two)).best is one
    assert Answer(None, ()).best is None


def test_timing() -> None:
    timing = Timing(decode=4.0, preprocess=3.0, encode=2.0, rank=1.0)
    assert timing.total == 10.0
    assert Timing().total == 0


def test_answers_cannot_be_changed() -> None:
    answer = Answer("a.jpg", (Prediction("a", "", 1.0, 1.0),))
    for thing, field in ((answer, "path"), (answer.predictions[0], "label"), (answer.timing_ms, "decode")):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, field, "other")


BEANS = [Label("bean rust", "bean leaf"), Label("bean spot", "bean leaf"), Label("a cow", "animal"), Label("soil")]


def verdict(cosines: list[float], **more: Any) -> Verdict:
    return decide(np.array(cosines, np.float32), BEANS, temperature=0.05, **more)


def test_a_sure_label_is_the_answer_and_the_photo_is_not_looked_at() -> None:
    def look() -> None:
        raise AssertionError("looked at a photo whose answer is sure")

    found = verdict([0.6, 0.2, 0.1, 0.1], unknown=0.5, complaint=look)
    assert (found.kind, found.label, found.reason, found.text) == ("label", "bean rust", None, "bean rust")
    assert found.confidence == pytest.approx(
        rank(np.array([0.6, 0.2, 0.1, 0.1]), BEANS, temperature=0.05)[0].confidence
    )


def test_labels_that_share_the_probability_give_their_parent() -> None:
    found = verdict([0.5, 0.5, 0.1, 0.1], threshold=0.6, title="apple leaf, bean leaf disease (two)")
    assert (found.kind, found.label, found.reason) == ("parent", "bean leaf", "tie")
    assert found.text == "bean leaf, disease unsure"
    assert found.confidence == pytest.approx(2 / (2 + 2 * np.exp(-8)), rel=1e-6)
    assert verdict([0.5, 0.5, 0.1, 0.1], threshold=0.6).text == "bean leaf, which one unsure"


def test_labels_without_a_common_parent_give_none_of_these() -> None:
    for cosines in ([0.5, 0.1, 0.5, 0.1], [0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.49, 0.1]):
        found = verdict(cosines, threshold=0.6)
        assert (found.kind, found.label, found.reason) == ("none", None, "tie")
        assert found.text == "none of these (tie)"


def test_a_photo_far_from_every_label_shows_none_however_sure_the_softmax_is() -> None:
    assert verdict([0.4, 0.0, 0.0, 0.0]).kind == "label"
    found = verdict([0.4, 0.0, 0.0, 0.0], unknown=0.41)
    assert (found.kind, found.reason) == ("none", "out-of-distribution")
    assert found.text == "none of these (out of distribution)"


def test_what_is_wrong_with_the_photo_is_the_reason_of_an_unsure_answer() -> None:
    for more in ({"unknown": 0.9}, {"threshold": 0.6}):
        found = verdict([0.5, 0.5, 0.1, 0.1], complaint=lambda: "too-dark", **more)
        assert found.reason == "too-dark"


@given(
    cosines=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4),
    threshold=st.floats(0.01, 1),
    unknown=st.none() | st.floats(-1, 1),
)
def test_a_verdict_is_one_of_the_closed_forms(cosines: list[float], threshold: float, unknown: float | None) -> None:
    found = verdict(cosines, threshold=threshold, unknown=unknown)
    assert 0 <= found.confidence <= 1
    if found.kind == "label":
        assert found.reason is None and found.confidence >= threshold
        assert unknown is None or max(cosines) >= unknown
    else:
        assert found.reason in ("tie", "out-of-distribution")
        assert (found.label is None) == (found.kind == "none")
        assert found.kind == "none" or found.confidence >= 0.8


def test_offsets_move_order_and_confidence_and_leave_cosines() -> None:
    cosines = np.array([0.50, 0.45, 0.10], np.float32)
    offsets = np.array([0.30, 0.10, 0.10], np.float32)
    labels = [Label("rust", "leaf"), Label("blight", "leaf"), Label("cow")]
    found = rank(cosines, labels, temperature=0.1, offsets=offsets)
    assert [one.label for one in found] == ["blight", "rust", "cow"]
    assert [one.cosine for one in found] == pytest.approx([0.45, 0.50, 0.10])
    moved = rank(cosines - offsets, labels, temperature=0.1)
    assert [one.confidence for one in found] == [one.confidence for one in moved]
    verdict = decide(cosines, labels, temperature=0.1, offsets=offsets)
    assert verdict == decide(cosines - offsets, labels, temperature=0.1) and verdict.label == "blight"
    zeros = np.zeros(3, np.float32)
    assert rank(cosines, labels, temperature=0.1, offsets=zeros) == rank(cosines, labels, temperature=0.1)
    assert decide(cosines, labels, temperature=0.1, offsets=zeros) == decide(cosines, labels, temperature=0.1)


def test_the_broader_label_and_the_least_cosine_of_an_adapted_pack() -> None:
    cosines = np.array([0.50, 0.41, 0.40], np.float32)
    offsets = np.array([0.50, 0.10, 0.10], np.float32)
    labels = [Label("cow"), Label("rust", "leaf"), Label("blight", "leaf")]
    verdict = decide(cosines, labels, temperature=0.05, threshold=0.6, offsets=offsets)
    assert (verdict.kind, verdict.label) == ("parent", "leaf")
    # The nearest label is the cow, at 0.50, though it is not the answer.
    assert decide(cosines, labels, temperature=0.05, threshold=0.4, unknown=0.45, offsets=offsets).label == "rust"
    assert decide(cosines, labels, temperature=0.05, unknown=0.55, offsets=offsets).reason == "out-of-distribution"
