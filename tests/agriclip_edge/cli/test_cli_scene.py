"""``classify-scene``: a map out of a raster, what it says, and bundles of the wrong kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Cli = Callable[..., Any]


def classify(cli: Cli, scene_data: Path, output: Path, *more: str | Path, scene: Path | None = None) -> Any:
    scene = scene or scene_data / "scene.npy"
    return cli("classify-scene", scene, "--bundle", scene_data / "bundle", "--output", output, *more)


def test_a_map_and_its_summary(cli: Cli, scene_data: Path, tmp_path: Path) -> None:
    found = classify(cli, scene_data, tmp_path / "map.png", "--lidar", scene_data / "dsm.npy", "--json")
    assert found.code == 0
    record = found.json
    assert record["modalities"] == ["hyperspectral", "lidar"] and record["pixels"] == 900
    truth = np.load(scene_data / "classes.npy")
    shares = {entry["label"]: entry["pixels"] / 900 for entry in record["classes"]}
    for value, entry in enumerate(record["classes"], start=1):
        assert abs(shares[entry["label"]] - (truth == value).mean()) < 0.1
    assert sum(entry["pixels"] for entry in record["classes"]) + record["none_of_these"]["pixels"] == 900
    assert Image.open(tmp_path / "map.png").format == "PNG"
    assert Image.open(tmp_path / "map-confidence.png").format == "PNG"


def test_a_missing_sensor_is_said_and_makes_another_map(cli: Cli, scene_data: Path, tmp_path: Path) -> None:
    alone = classify(cli, scene_data, tmp_path / "map.png", "--json")
    assert alone.code == 0 and alone.json["modalities"] == ["hyperspectral"]
    assert "agriclip-edge: no lidar: classified by hyperspectral alone" in alone.lines
    both = classify(cli, scene_data, tmp_path / "map.png", "--modality", f"lidar={scene_data / 'dsm.npy'}", "--json")
    assert both.json["classes"] != alone.json["classes"]


def test_a_table_for_people(cli: Cli, scene_data: Path, tmp_path: Path) -> None:
    found = classify(cli, scene_data, tmp_path / "map.png", "--threshold", "1")
    lines = found.text.splitlines()
    assert found.code == 0 and lines[0].endswith("map.png")
    assert lines[-1].endswith("none of these") and "100.0 %" in lines[-1]


def test_some_of_the_classes_by_their_names(cli: Cli, scene_data: Path, tmp_path: Path) -> None:
    found = classify(cli, scene_data, tmp_path / "map.png", "--labels", "Bare soil, maize", "--json")
    assert found.code == 0, found.err
    assert [entry["label"] for entry in found.json["classes"]] == ["bare soil", "maize"]
    every = classify(cli, scene_data, tmp_path / "map.png", "--json").json["classes"]
    pixels = {entry["label"]: entry["pixels"] for entry in every}
    assert all(entry["pixels"] > 0.8 * pixels[entry["label"]] for entry in found.json["classes"])


def test_whole_numbers_need_a_unit(cli: Cli, scene_data: Path, tmp_path: Path) -> None:
    stored = tmp_path / "scene.npy"
    np.save(stored, np.rint(np.load(scene_data / "scene.npy").astype(np.float32) * 10_000).astype(np.uint16))
    refused = classify(cli, scene_data, tmp_path / "map.png", scene=stored)
    assert refused.code == 2 and len(refused.lines) == 1 and "--unit and --scale" in refused.lines[0]
    taken = classify(
        cli, scene_data, tmp_path / "map.png", "--unit", "reflectance", "--scale", "0.0001", "--json", scene=stored
    )
    plain = classify(cli, scene_data, tmp_path / "plain.png", "--json")
    assert [entry["share"] for entry in taken.json["classes"]] == pytest.approx(
        [entry["share"] for entry in plain.json["classes"]], abs=0.01
    )


def test_what_is_wrong_is_one_line(
    cli: Cli, scene_data: Path, tmp_path: Path, photos: dict[str, Path], root: Path
) -> None:
    camera = root / "examples" / "cameras" / "rededge-mx.json"

    def refused(code: int, message: str, *arguments: str | Path, **scene: Path) -> None:
        found = classify(cli, scene_data, tmp_path / "map.png", *arguments, **scene)
        assert (found.code, len(found.lines)) == (code, 1), found.err
        assert message in found.lines[0]
        assert not (tmp_path / "map.png").exists()

    refused(1, "no such file", scene=tmp_path / "none.tif")
    refused(1, "is no raster of an accepted format", scene=photos["cow"])
    refused(2, "--modality 'lidar'; accepted: NAME=FILE", "--modality", "lidar")
    refused(2, "--wavelengths 'red'", "--wavelengths", "red")
    refused(2, "no pack named 'weeds'", "--pack", "weeds")
    refused(2, "'olives' is no class of agriclip-tiny-scene, which has no map for other words; accepted: maize",
            "--labels", "maize, olives")  # fmt: skip
    refused(2, "label 'Maize' is there twice", "--labels", "maize, Maize")
    refused(2, "--camera says wavelengths", "--camera", camera, "--scale", "2")
    refused(1, "5 wavelengths", "--camera", camera)
    found = cli("classify-scene", scene_data / "scene.npy", "--bundle", scene_data / "bundle", "--output", "map.jpg")
    assert found.code == 2 and "ends in .tif or .png" in found.lines[0]


def test_bundles_of_the_other_kind_are_refused(
    cli: Cli, scene_data: Path, tiny_bundle: Path, tmp_path: Path, photos: dict[str, Path]
) -> None:
    found = cli("classify-scene", scene_data / "scene.npy", "--bundle", tiny_bundle, "--output", tmp_path / "map.png")
    assert found.code == 2 and "agriclip-tiny is for photos" in found.lines[0]
    for command in (
        ("classify", photos["cow"]),
        ("classify", photos["cow"], "--labels", "red apple, green apple"),
        ("embed", photos["cow"], "--output", tmp_path / "x.npy"),
        ("teach", "a cow", photos["cow"]),
        ("drift", photos["cow"]),
        ("bench",),
        ("prepare",),
        ("verify", "--photos", photos["cow"].parent),
    ):
        found = cli(*command, "--bundle", scene_data / "bundle")
        assert found.code == 2 and len(found.lines) == 1, (command, found.err)
        assert "agriclip-tiny-scene is for scenes (hyperspectral+lidar), not for photos" in found.lines[0]


def test_info_says_what_a_bundle_for_scenes_takes(cli: Cli, scene_data: Path) -> None:
    said = cli("info", "--bundle", scene_data / "bundle").text
    assert "hyperspectral+lidar in tiles of 64×64 pixels" in said
    assert "hyperspectral: 16 channels, reflectance, 400 to 1000 nm" in said
    assert cli("info", "--bundle", scene_data / "bundle", "--json").json["modality"] == "hyperspectral+lidar"


def test_a_geotiff_goes_in_and_a_geotiff_comes_out(cli: Cli, scene_data: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    transform, crs = rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6), rasterio.crs.CRS.from_epsg(32633)
    for name in ("scene", "dsm"):
        values = np.load(scene_data / f"{name}.npy").astype(np.float32)
        values[:3] = -9999
        profile = {"height": 30, "width": 30, "count": values.shape[-1], "dtype": "float32", "nodata": -9999}
        with rasterio.open(tmp_path / f"{name}.tif", "w", "GTiff", crs=crs, transform=transform, **profile) as file:
            file.write(values.transpose(2, 0, 1))
    found = classify(
        cli, scene_data, tmp_path / "map.tif", "--lidar", tmp_path / "dsm.tif", "--json", scene=tmp_path / "scene.tif"
    )
    assert found.code == 0, found.err
    assert found.json["no_data"] == 90 and found.json["ground_sampling"] == pytest.approx(0.5)
    areas = [entry["hectares"] for entry in [*found.json["classes"], found.json["none_of_these"]]]
    assert sum(areas) == pytest.approx(810 * 0.25 / 1e4)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs == crs and file.transform == transform
        truth, classes = np.load(scene_data / "classes.npy")[3:], file.read(1)[3:]
    assert (classes == truth)[truth > 0].mean() > 0.9
    assert sorted(path.name for path in tmp_path.glob("map*")) == [
        "map-confidence.png", "map-confidence.tif", "map.png", "map.tif"
    ]  # fmt: skip
