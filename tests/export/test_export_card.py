"""The card says how far answers can be trusted, from the figures of the variant that ships."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from export.card import RELIABILITY_FILE, RISK_FILE, _trust, card_pictures
from training.answers import judge_answers


def test_the_card_tells_each_packs_figures_and_shows_pictures_that_ship() -> None:
    generator = np.random.default_rng(0)
    label = np.repeat([0, 1, 2, 3], 20)
    cosines = np.where(label[:, np.newaxis] == np.arange(4), 0.6, 0.4) + generator.normal(0, 0.1, (80, 4))
    trust = judge_answers(cosines, label // 2, label, ["maize", "apple"], [[0, 1], [2, 3]])
    card = _trust(trust, SimpleNamespace(judged=SimpleNamespace(split="val", collection="small")))  # type: ignore[arg-type]
    for one in trust.packs:
        row = next(line for line in card.splitlines() if line.startswith(f"| {one.pack} | 40 |"))
        assert f"{100 * one.error:.1f} | {100 * one.chance_error:.1f} | {one.auroc:.4f}" in row
    assert f"{trust.temperature:.4f}" in card
    assert trust.typed is None and "Typed labels have no least cosine" in card
    pictures = card_pictures(trust)
    assert set(pictures) == {RELIABILITY_FILE, RISK_FILE}
    assert all(f"({path})" in card and picture.startswith("<svg") for path, picture in pictures.items())


def test_the_card_says_how_typed_labels_fare() -> None:
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(8), 20)
    cosines = np.where(label[:, np.newaxis] == np.arange(8), 0.6, 0.1) + generator.normal(0, 0.1, (160, 8))
    trust = judge_answers(cosines, label // 2, label, list("abcd"), [[0, 1], [2, 3], [4, 5], [6, 7]])
    card = _trust(trust, SimpleNamespace(judged=SimpleNamespace(split="val", collection="small")))  # type: ignore[arg-type]
    typed = trust.typed
    assert typed is not None and "no least cosine" not in card
    assert f"least cosine, {typed.unknown:.4f}" in card and f"{typed.sets} label sets" in card
    assert f"AUROC {typed.auroc:.4f}; {100 * typed.lost:.1f} % of the photos" in card
