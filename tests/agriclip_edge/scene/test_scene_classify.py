"""Maps tile by tile: no seam, no data, none of these, areas; and what they look like on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agriclip_edge import Bundle
from agriclip_edge.bundle.manifest import SceneLevel
from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.scene.classify import NO_DATA, NONE, Judge, Strip, Summary, classify_strips, count_tiles
from agriclip_edge.scene.draw import Preview, colours, draw_classes, draw_confidence
from agriclip_edge.scene.model import SceneModel
from agriclip_edge.scene.write import Ground, check_output, write_map

Values = Mapping[str, np.ndarray]


class Largest:
    """Embeds a pixel by the largest value within two pixels: the value and its rest, as a unit vector."""

    receptive_field = 5
    levels: dict[str, SceneLevel] = {}  # noqa: RUF012 # none is ever put in
    sizes: list[tuple[int, ...]]

    def __init__(self, side: int) -> None:
        self.side, self.sizes = side, []

    def embed(self, values: Values, valid: Values) -> np.ndarray:
        plane = np.where(valid["one"], values["one"][..., 0], 0)
        self.sizes.append(plane.shape)
        around = np.pad(plane, 2)
        shifts = [around[r : r + plane.shape[0], c : c + plane.shape[1]] for r in range(5) for c in range(5)]
        share = np.maximum.reduce(shifts)
        return np.stack([np.sqrt(share), np.sqrt(1 - share)], axis=-1).astype(np.float32)


JUDGE = Judge(np.eye(2, dtype=np.float32), temperature=0.2, threshold=0.6)


def mapped(side: int, plane: np.ndarray, seen: np.ndarray) -> tuple[list[Strip], Largest, int]:
    embedder, steps = Largest(side), 0

    def step() -> None:
        nonlocal steps
        steps += 1

    def read(rows: slice, columns: slice) -> tuple[Values, Values]:
        return {"one": plane[rows, columns, np.newaxis]}, {"one": seen[rows, columns]}

    return list(classify_strips(read, *plane.shape, embedder, JUDGE, step)), embedder, steps


def test_tiles_of_any_size_make_the_same_map() -> None:
    generator = np.random.default_rng(0)
    plane = (generator.random((37, 53)) ** 8).astype(np.float32)
    seen = generator.random(plane.shape) < 0.9
    whole, _, _ = mapped(100, plane, seen)
    assert len(whole) == 1 and set(np.unique(whole[0].classes)) == {NO_DATA, 1, 2, NONE}
    for side in (6, 11, 24):
        strips, embedder, steps = mapped(side, plane, seen)
        np.testing.assert_array_equal(np.concatenate([strip.classes for strip in strips]), whole[0].classes)
        np.testing.assert_array_equal(np.concatenate([strip.confidence for strip in strips]), whole[0].confidence)
        assert steps == count_tiles(*plane.shape, embedder)
        assert max(max(size) for size in embedder.sizes) <= side  # memory is that of a tile
    assert (whole[0].classes[~seen] == NO_DATA).all() and (whole[0].confidence[~seen] == 0).all()


def test_the_shipped_encoder_shows_no_seam(scene_data: Path) -> None:
    bundle = Bundle.open(scene_data / "bundle")
    model = SceneModel(bundle, threads=1, runtime="float")
    spectra = np.load(scene_data / "scene.npy").astype(np.float32)

    def read(rows: slice, columns: slice) -> tuple[Values, Values]:
        part = spectra[rows, columns]
        return {"hyperspectral": part}, {"hyperspectral": np.ones(part.shape[:2], bool)}

    judge = Judge(bundle.pack("classes").embeddings, 0.1, 0.0)
    maps = []
    for side in (64, 13, 8):
        model.side = side
        strips = list(classify_strips(read, *spectra.shape[:2], model, judge))
        maps.append(np.concatenate([strip.confidence for strip in strips]))
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    np.testing.assert_allclose(maps[2], maps[0], atol=1e-5)


def test_a_raster_smaller_than_the_margin_is_refused() -> None:
    with pytest.raises(UsageError, match="a raster of 40 by 2 pixels; accepted: at least 3 either way"):
        mapped(8, np.zeros((2, 40), np.float32), np.ones((2, 40), bool))


def test_a_judge_says_none_below_either_limit() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0.7071, 0.7071]], np.float32)
    classes, confidence = JUDGE(vectors)
    assert classes.tolist() == [1, 2, NONE]
    np.testing.assert_allclose(confidence, [1 / (1 + np.exp(-5)), 1 / (1 + np.exp(-1)), 0.5], atol=1e-4)
    assert Judge(np.eye(2, dtype=np.float32), 0.2, 0.0, unknown=0.9)(vectors)[0].tolist() == [1, NONE, NONE]
    with pytest.raises(LabelError, match="300 labels; a map holds at most 254"):
        Judge(np.ones((300, 2), np.float32), 1.0)


def test_areas_are_counted() -> None:
    summary = Summary(("maize", "soil"), pixel_area=25.0)
    summary.add(strip([[0, 1, 1, 2], [255, 2, 2, 2]]))
    record = summary.to_record()
    assert (record["pixels"], record["no_data"], record["none_of_these"]["pixels"]) == (8, 1, 1)
    assert record["classes"][1] == {
        "label": "soil", "value": 2, "pixels": 4, "share": round(4 / 7, 6), "hectares": 0.01
    }  # fmt: skip
    unknown = Summary(("maize",))
    assert "hectares" not in unknown.to_record()["classes"][0]


def strip(rows: list[list[int]], first: int = 0) -> Strip:
    classes = np.array(rows, np.uint8)
    return Strip(slice(first, first + len(rows)), classes, (classes > 0).astype(np.float32))


def test_colours_are_apart_and_keep_their_places() -> None:
    many = colours(60)
    assert len(set(many)) == 60 and many[:9] == colours(9)


def test_a_preview_is_every_nth_pixel_however_strips_fall() -> None:
    plane = np.random.default_rng(1).integers(0, 256, (4003, 5), dtype=np.uint8)
    preview = Preview(*plane.shape)
    for start in range(0, 4003, 7):
        part = plane[start : start + 7]
        preview.add(Strip(slice(start, start + len(part)), part, part / np.float32(255)))
    np.testing.assert_array_equal(preview.classes, plane[::3, ::3])
    np.testing.assert_array_equal(preview.confidence, plane[::3, ::3] / np.float32(255))


def test_pictures_show_classes_in_their_colours_and_name_those_that_occur() -> None:
    classes = np.array([[1, 1, 2], [0, 255, 3]], np.uint8)
    summary = Summary(("maize", "soil", "water", "nothing"), 1.0)
    summary.add(Strip(slice(0, 2), classes, np.ones((2, 3), np.float32)))
    picture = np.asarray(draw_classes(classes, summary, "a field"))
    tones = colours(4)
    for tone in tones[:3]:
        assert (picture == tone).all(axis=-1).sum() > 1000
    assert not (picture == tones[3]).all(axis=-1).any()
    bare = np.asarray(draw_classes(classes, Summary(("maize",)), ""))
    assert bare.shape[1] < picture.shape[1]  # no legend without counts
    confident = np.asarray(draw_confidence(classes, np.full((2, 3), 0.5, np.float32)))
    assert (confident == (8, 69, 86)).all(axis=-1).any()


GROUND = Ground(6, 4, sampling=2.0)


def strips(fail: bool = False) -> Iterator[Strip]:
    yield strip([[1, 1, 2, 0]] * 4)
    if fail:
        raise RuntimeError("cut off")
    yield strip([[255, 2, 2, 0]] * 2, first=4)


def test_a_map_as_pictures_alone(tmp_path: Path) -> None:
    summary = write_map(strips(), GROUND, ("maize", "soil"), tmp_path / "map.png")
    assert summary.to_record()["classes"][0]["hectares"] == 0.0032
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map-confidence.png", "map.png"]
    assert Image.open(tmp_path / "map.png").size[0] > 300


def test_a_map_as_geotiff_keeps_its_place(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    transform = (2.0, 0.0, 500000.0, 0.0, -2.0, 5000000.0)
    crs = rasterio.crs.CRS.from_epsg(32633)
    ground = Ground(6, 4, crs.to_wkt(), transform, 2.0)
    write_map(strips(), ground, ("maize", "soil"), tmp_path / "map.tif")
    expected = np.concatenate([part.classes for part in strips()])
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected)
        assert (file.crs, tuple(file.transform)[:6], file.nodata, file.dtypes) == (crs, transform, 0, ("uint8",))
        assert file.colormap(1)[2][:3] == colours(2)[1]
        assert file.tags(1)["1"] == "maize" and file.tags(1)["255"] == "none of these"
    with rasterio.open(tmp_path / "map-confidence.tif") as file:
        np.testing.assert_array_equal(file.read(1), np.where(expected == 0, 255, 100))
        assert file.nodata == 255


def test_a_map_that_is_cut_off_leaves_the_former_one(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    write_map(strips(), GROUND, ("maize", "soil"), tmp_path / "map.tif")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match="cut off"):
        write_map(strips(fail=True), GROUND, ("maize", "soil"), tmp_path / "map.tif")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_place_for_a_map_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends in .tif or .png"):
        check_output(tmp_path / "map.jpg")
    with pytest.raises(UsageError, match="no such folder"):
        check_output(tmp_path / "none" / "map.png")
