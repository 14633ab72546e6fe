"""Levelling: what a raster has in common is taken off, whatever the pieces it is read in and whatever is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agriclip_edge import Bundle, BundleError
from agriclip_edge.bundle.manifest import SceneLevel
from agriclip_edge.scene.classify import Judge, classify_strips, count_tiles
from agriclip_edge.scene.level import Leveller, unit_length
from agriclip_edge.scene.model import SceneModel

Values = Mapping[str, np.ndarray]
ALL = slice(None)


class Plane:
    """Two modalities in memory; counts how much is read at once."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.values = {"bands": generator.random((13, 17, 3), np.float32), "lidar": np.ones((13, 17, 1), np.float32)}
        self.valid = {name: generator.random((13, 17)) < 0.8 for name in self.values}
        self.values["bands"][~self.valid["bands"]] = np.nan
        self.largest = 0

    def __call__(self, rows: slice, columns: slice) -> tuple[Values, Values]:
        valid = {name: array[rows, columns] for name, array in self.valid.items()}
        self.largest = max(self.largest, next(iter(valid.values())).size)
        return {name: array[rows, columns] for name, array in self.values.items()}, valid


@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("side", [4, 7, 100])
def test_a_share_of_the_mean_over_all_pixels_with_data_is_taken(side: int, length: bool) -> None:
    plane = Plane()
    level = Leveller(plane, {"bands": SceneLevel(0.25, length)}, 13, 17, side)
    assert plane.largest <= side * side
    seen = plane.valid["bands"]
    own = plane.values["bands"][seen].astype(np.float64)
    own = own / np.linalg.norm(own, axis=1, keepdims=True) if length else own
    np.testing.assert_allclose(level.means["bands"], own.mean(axis=0), rtol=1e-6)
    values, valid = level(slice(2, 9), slice(3, 17))
    part = seen[2:9, 3:17]
    np.testing.assert_array_equal(valid["bands"], part)
    wanted = np.zeros((13, 17, 3))
    wanted[seen] = own - 0.25 * own.mean(axis=0)
    np.testing.assert_allclose(values["bands"], wanted[2:9, 3:17], atol=1e-6)
    np.testing.assert_array_equal(values["lidar"], plane.values["lidar"][2:9, 3:17])  # nobody levels heights


def test_a_sensor_that_is_missing_or_blind_is_left_alone() -> None:
    plane = Plane()
    plane.valid["bands"][:] = False
    level = Leveller(plane, {"bands": SceneLevel(1.0, True), "sar": SceneLevel(1.0)}, 13, 17, 5)
    assert set(level.means) == {"bands"} and not level.means["bands"].any()
    values, _ = level(ALL, ALL)
    assert not values["bands"].any() and set(values) == {"bands", "lidar"}


def test_dark_pixels_have_no_length_to_be_divided_by() -> None:
    assert not unit_length(np.zeros((2, 2, 4), np.float32)).any()


class Bright:
    """Embeds a pixel by whether its first channel is above 0."""

    receptive_field = 3

    def __init__(self, side: int, levels: dict[str, SceneLevel]) -> None:
        self.side, self.levels = side, levels

    def embed(self, values: Values, valid: Values) -> np.ndarray:
        above = values["bands"][..., :1] > 0
        return np.concatenate([above, ~above], axis=-1).astype(np.float32)


def test_an_encoder_that_wants_levelled_values_gets_them_tile_by_tile() -> None:
    judge = Judge(np.eye(2, dtype=np.float32), 0.1, 0.0)
    plane = Plane()
    seen = plane.valid["bands"]
    mean = plane.values["bands"][seen][:, 0].mean()
    wanted = np.where(plane.values["bands"][..., 0] > mean, 1, 2)
    for side in (4, 9, 50):
        embedder, steps = Bright(side, {"bands": SceneLevel(1.0)}), []
        strips = list(classify_strips(plane, 13, 17, embedder, judge, lambda steps=steps: steps.append(1)))
        assert len(steps) == count_tiles(13, 17, embedder)
        found = np.concatenate([strip.classes for strip in strips])
        np.testing.assert_array_equal(found[seen], wanted[seen])
    plain = list(classify_strips(plane, 13, 17, Bright(9, {}), judge))
    assert (np.concatenate([strip.classes for strip in plain])[seen] == 1).all()


@pytest.fixture
def levelled(scene_data: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """The tests' bundle, whose spectra are said to be levelled; its pack is left out."""

    def make(level: Any) -> Path:
        folder = tmp_path / "levelled"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scene_data / "bundle", folder)
        document = json.loads((folder / "bundle.json").read_bytes())
        document["scene"]["modalities"][0]["level"] = level
        (folder / "bundle.json").write_text(json.dumps(document))
        return folder

    return make


def test_a_bundle_says_what_is_levelled(levelled: Callable[[Any], Path], scene_data: Path, cli: Any) -> None:
    folder = levelled({"share": 0.5, "unit_length": True})
    bundle = Bundle.open(folder)
    assert SceneModel(bundle, threads=1).levels == {"hyperspectral": SceneLevel(0.5, True)}
    assert SceneModel(Bundle.open(scene_data / "bundle"), threads=1).levels == {}
    assert bundle.preprocessing_id != Bundle.open(scene_data / "bundle").preprocessing_id  # its packs are others too
    with pytest.raises(BundleError, match="was made for preprocessing"):
        bundle.pack("classes")
    assert "400 to 1000 nm, levelled by 0.5 of each raster's mean" in cli("info", "--bundle", folder).text


@pytest.mark.parametrize("share", [0, -0.5, 1.01, 1e300])
def test_levels_beyond_the_mean_are_refused(levelled: Callable[[Any], Path], share: float) -> None:
    with pytest.raises(BundleError, match=r"gives hyperspectral the level .*; accepted: above 0, at most 1"):
        Bundle.open(levelled({"share": share}))
