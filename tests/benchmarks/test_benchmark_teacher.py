"""Tables of the teacher: what facts buy is judged on labels left out, and records of training become tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.preprocess import preprocessing_id
from benchmarks import ablation, evaluations, facts
from benchmarks.places import PLACES, SHARES, Place, origins
from training.align.encoders import Backbone, FeatureSpace
from training.align.features import FeatureStore
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.synthetic import rename_tasks, write_collection, write_text_model
from training.text_tower import TextTower

SIZE = 32


@pytest.fixture(scope="module")
def measured(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, list[str]]:
    folder = tmp_path_factory.mktemp("facts")
    write_collection(folder / "one")
    write_collection(folder / "two", seed=1)
    rename_tasks(folder / "two")
    write_text_model(folder / "text", next(tiny_bundle.rglob("vocab.txt")).read_bytes(), 16)
    torch.manual_seed(0)
    tower = ImageTower(16, "test_efficientnet").eval()
    backbone = Backbone(tower, FeatureSpace("test_efficientnet", "0", SIZE, preprocessing_id(SIZE)))
    store, steps = FeatureStore(folder / "features", StatusLine(Console(quiet=True))), list[str]()
    found = facts.measure(
        folder,
        backbone,
        TextTower(folder / "text"),
        store,
        lambda done, total, text: steps.append(text),
        facts.FactsConfig(collections=("one", "two"), looks=6),
    )
    return found, steps


def test_names_and_facts_are_compared_with_every_task_left_out(measured: tuple[object, list[str]]) -> None:
    found, steps = measured
    assert steps == ["fruit", "cover", "more-fruit", "more-cover", "done"]
    table, _ = found.details
    assert [row[:2] for row in table.rows] == [
        *((taught, shown) for taught in ("names", "names and facts") for shown in ("names", "names and facts")),
        ("names and facts", "names, facts and looks"),
    ]
    assert table.rows[0][3] == "–" and all(0 <= row[2] <= 100 for row in table.rows)
    gain = found.samples["facts_gain_points"][0]
    assert gain == pytest.approx(found.samples["unseen_facts_pct"][0] - found.samples["unseen_names_pct"][0])
    assert "of 5 labels have facts" in found.method


def test_photos_of_the_place_are_judged_at_every_share(measured: tuple[object, list[str]]) -> None:
    found, _ = measured
    table = found.details[1]
    assert table.rows[0][0] == "none" and len(table.rows) == 1 + len(PLACES) * len(SHARES)
    assert {(row[0], row[1]) for row in table.rows[1:]} == {(str(place), share) for place in PLACES for share in SHARES}
    assert table.rows[0][2] == pytest.approx(found.samples["unseen_looks_pct"][0])
    gain = found.samples["unseen_adapted_pct"][0] - found.samples["unseen_looks_pct"][0]
    assert found.samples["adapted_gain_points"][0] == pytest.approx(gain)
    assert len({row[2] for row in table.rows}) > 3  # what is taken off moves answers


def test_places_are_drawn_as_they_say() -> None:
    label, generator = np.repeat([0, 1, 2], [50, 30, 20]), np.random.default_rng(0)
    assert len(set(Place(30).draw(label, generator).tolist())) == 30
    for most, least in ((0.8, 0.6), (1.0, 1.0)):
        shown = label[Place(30, most).draw(label, generator)]
        assert least <= np.bincount(shown).max() / 30 <= 1
    assert np.bincount(label[Place(1000, 0.5).draw(label, generator)]).max() < 600
    vectors = np.eye(100, dtype=np.float32)
    for place, share, origin in origins(vectors, label, 0):
        assert origin.sum() == pytest.approx(share) and (origin > 0).sum() <= place.photos


def test_labels_that_are_left_out_teach_nothing(measured: tuple[object, list[str]]) -> None:
    """Both collections have the same labels: had the twin's photos stayed, the map would know them all."""
    found, _ = measured
    assert found.samples["unseen_names_pct"][0] < 90


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ablation.json"):
        ablation.measure(tmp_path / "ablation.json")
    with pytest.raises(UsageError, match="evaluation.json"):
        evaluations.measure([tmp_path / "evaluation.json"])
