"""A variant within its budget passes; one beyond it is refused by name, with the figure and the layers to blame."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.errors import UsageError
from export.budget import BUDGET
from export.gate import Figures, failures, measure, read_budget, require, speed_ratio
from export.parity import GateError
from training.answers import judge_answers

GOOD = Figures(0.999, 0.995, 0.99, {"maize": 0.4, "apple": -0.2}, speed=1.7)


def units(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["int8", "bf16", "fp16-weights"])
def test_the_budget_of_a_sample_asks_less_of_each_variant_that_it_makes(kind: str) -> None:
    sample, whole = read_budget(kind, BUDGET.with_name("budget-sample.toml")), read_budget(kind)
    assert 0.9 <= sample.mean_cosine <= whole.mean_cosine and sample.drop_mean >= whole.drop_mean


@pytest.mark.parametrize("kind", ["int8", "bf16", "fp16-weights", "tensorrt-fp16", "tensorrt-int8"])
def test_every_kind_has_a_budget(kind: str) -> None:
    budget = read_budget(kind)
    assert 0.9 < budget.p1_cosine <= budget.mean_cosine <= 1
    assert 0 < budget.drop_mean <= budget.drop_task <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mean_cosine": 0.98}, "mean_cosine is 0.9800; accepted: at least 0.99"),
        ({"p1_cosine": 0.9}, "p1_cosine is 0.9000; accepted: at least 0.97"),
        ({"least_cosine": 0.98}, "least_cosine is 0.9800; accepted: at least 0.985"),
        ({"drops": {"maize": 0.9, "apple": 0.3}}, "drop_mean is 0.6000; accepted: at most 0.5"),
        ({"drops": {"maize": 1.5, "apple": -2}}, "drop_task is 1.5000 (maize); accepted: at most 1.0"),
        ({"speed": 0.9}, "speed is 0.9000; accepted: at least 1.0"),
        ({"speed": None}, "speed is not measured; accepted: at least 1.0"),
        ({"calibration_error": 0.011}, "calibration_error is 0.0110; accepted: at most 0.01"),
        ({"unknown_auroc": 0.02}, "unknown_auroc is 0.0200; accepted: at most 0.01"),
        ({"mean_cosine": float("nan")}, "mean_cosine is nan; accepted: at least 0.99"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_each_figure_can_refuse(change: dict[str, float], said: str) -> None:
    assert failures(GOOD, read_budget("int8")) == []
    broken = dataclasses.replace(GOOD, **change)
    assert failures(broken, read_budget("int8")) == [said]
    with pytest.raises(
        GateError,
        match="variant x does not pass its gate: .*layers to blame: conv_stem \\(3.0 dB\\)",
    ):
        require("variant x", broken, read_budget("int8"), lambda: [("conv_stem", 3.0)])


def test_the_measured_figures_are_those_of_the_vectors() -> None:
    reference = units(200)
    turned = reference.copy()
    turned[7] = -turned[7]
    figures = measure(reference, turned, {"a": 0.9, "b": 0.8}, {"a": 0.91, "b": 0.77})
    assert figures.least_cosine == pytest.approx(-1, abs=1e-5)
    assert figures.mean_cosine == pytest.approx(1 - 2 / 200, abs=1e-5)
    assert figures.drop_mean == pytest.approx(1.0)
    assert (figures.drop_task, figures.worst_task) == (pytest.approx(3.0), "b")
    told = figures.to_manifest()
    assert set(told) == {*"mean_cosine p1_cosine least_cosine drop_mean drop_task accuracy drop.a drop.b".split()}
    assert (told["drop.a"], told["drop.b"]) == (-1.0, 3.0)


def test_the_speed_of_an_emulated_variant_is_not_asked() -> None:
    emulated = dataclasses.replace(GOOD, speed=None, emulated=True)
    assert failures(emulated, read_budget("tensorrt-int8")) == []
    assert emulated.to_manifest()["emulated"] == 1.0 and "emulated" not in GOOD.to_manifest()


def test_a_broken_budget_is_named(tmp_path: Path) -> None:
    path = tmp_path / "budget.toml"
    for text, said in (
        ("[int8", "budget.toml"),
        ("[int8]\nmean_cosine = 'high'", "mean_cosine"),
        ("", "no budget for"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            read_budget("int8", path)


def test_speed_is_the_reference_over_the_variant() -> None:
    work = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)

    def encode(times: int) -> np.ndarray:
        for _ in range(times):
            np.linalg.svd(work)
        return work

    assert (
        speed_ratio(
            lambda _: encode(3),
            lambda _: encode(1),
            np.zeros((1, 2, 2, 3), np.uint8),
            rounds=5,
        )
        > 1.5
    )


def test_calibration_and_rejection_are_held_against_float32() -> None:
    generator = np.random.default_rng(0)
    label = np.repeat([0, 1, 2, 3], 40)
    task = label // 2
    clean = np.where(label[:, np.newaxis] == np.arange(4), 0.6, 0.3) + generator.normal(0, 0.05, (160, 4))
    noisy = clean + generator.normal(0, 0.2, clean.shape)
    first, second = (judge_answers(cosines, task, label, ["a", "b"], [[0, 1], [2, 3]]) for cosines in (clean, noisy))
    vectors = units(4)
    same = measure(vectors, vectors, {"a": 0.9}, {"a": 0.9}, trust=(first, first))
    assert (same.calibration_error, same.unknown_auroc) == (0, 0)
    worse = measure(vectors, vectors, {"a": 0.9}, {"a": 0.9}, trust=(first, second))
    assert worse.unknown_auroc == pytest.approx(first.mean("auroc") - second.mean("auroc"))
    assert worse.unknown_auroc > 0.01
    assert any(line.startswith("unknown_auroc") for line in failures(worse, read_budget("int8")))
    assert {"calibration_error", "unknown_auroc"} <= set(worse.to_manifest())
