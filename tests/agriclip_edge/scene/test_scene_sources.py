"""Files and cameras held against a bundle: bands resampled, units asked for, what is taken for granted said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge import Bundle
from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.scene.camera import read_camera
from agriclip_edge.scene.read import open_raster
from agriclip_edge.scene.sources import Sources

ALL = slice(None)


@pytest.fixture(scope="module")
def modalities(scene_data: Path) -> dict:
    return {each.name: each for each in Bundle.open(scene_data / "bundle").for_scenes().modalities}


def raster(folder: Path, values: np.ndarray, name: str = "hyperspectral", **said: object):
    path = folder / f"{name}.npy"
    np.save(path, values)
    return open_raster(path, name, **said)


def test_a_raster_of_the_bundles_own_bands_is_read_as_it_is(tmp_path: Path, modalities: dict) -> None:
    values = np.random.default_rng(0).random((5, 6, 16), np.float32)
    waves = modalities["hyperspectral"].wavelengths
    sources = Sources([raster(tmp_path, values, unit="reflectance", wavelengths=waves)], modalities)
    found, valid = sources(slice(1, 4), ALL)
    np.testing.assert_array_equal(found["hyperspectral"], values[1:4])
    assert valid["hyperspectral"].all()
    assert sources.notes == ["no lidar: classified by hyperspectral alone"]


def test_other_bands_are_resampled_and_said(tmp_path: Path, modalities: dict) -> None:
    waves = np.linspace(395, 1010, 60)
    values = np.broadcast_to(waves / 1000, (4, 4, 60)).astype(np.float32).copy()
    values[0, 0] = np.nan
    sources = Sources([raster(tmp_path, values, unit="reflectance", wavelengths=waves)], modalities)
    found, valid = sources(ALL, ALL)
    np.testing.assert_allclose(
        found["hyperspectral"][1, 1], np.array(modalities["hyperspectral"].wavelengths) / 1000, atol=0.005
    )
    assert not valid["hyperspectral"][0, 0] and np.isfinite(found["hyperspectral"]).all()
    assert "60 bands of hyperspectral.npy resampled to the bundle's 16" in sources.notes


def test_bands_that_do_not_reach_are_refused(tmp_path: Path, modalities: dict, root: Path) -> None:
    camera = read_camera(root / "examples" / "cameras" / "rededge-mx.json")
    five = raster(tmp_path, np.ones((4, 4, 5), np.float32), unit=camera.unit, wavelengths=camera.wavelengths)
    with pytest.raises(UsageError, match="the scene's bands reach from 475 to 842 nm; the model needs 400"):
        Sources([five], modalities)


def test_units_are_asked_for_where_they_would_matter(tmp_path: Path, modalities: dict) -> None:
    whole = np.full((4, 4, 16), 2500, np.uint16)
    with pytest.raises(UsageError, match="uint16 without a unit; the bundle wants reflectance of hyperspectral"):
        Sources([raster(tmp_path, whole)], modalities)
    with pytest.raises(UsageError, match="holds radiance; the bundle wants reflectance"):
        Sources([raster(tmp_path, whole, unit="radiance")], modalities)
    sources = Sources([raster(tmp_path, whole, unit="reflectance", scale=1e-4)], modalities)
    assert sources(ALL, ALL)[0]["hyperspectral"][0, 0, 0] == pytest.approx(0.25)
    assert "hyperspectral.npy does not say its wavelengths: taken as the bundle's, in order" in sources.notes
    guessed = Sources([raster(tmp_path, whole.astype(np.float32))], modalities)
    assert "hyperspectral.npy does not say its unit: taken as reflectance" in guessed.notes


def test_grids_names_and_channels_must_fit(tmp_path: Path, modalities: dict) -> None:
    scene = raster(tmp_path, np.ones((4, 4, 16), np.float32))
    with pytest.raises(PhotoError, match="4 × 5 pixels"):
        Sources([scene, raster(tmp_path, np.ones((4, 5), np.float32), "lidar")], modalities)
    with pytest.raises(UsageError, match="the bundle knows no sar; it knows: hyperspectral, lidar"):
        Sources([scene, raster(tmp_path, np.ones((4, 4), np.float32), "sar", unit="intensity")], modalities)
    with pytest.raises(UsageError, match="has 7 channels; the bundle wants 16 of hyperspectral: --camera"):
        Sources([raster(tmp_path, np.ones((4, 4, 7), np.float32))], modalities)
    assert Sources([scene, raster(tmp_path, np.ones((4, 4), np.float32), "lidar")], modalities).names == [
        "hyperspectral",
        "lidar",
    ]


def test_a_cameras_file_is_read_strictly(tmp_path: Path, root: Path) -> None:
    assert read_camera(root / "examples" / "cameras" / "rededge-mx-dual.json").wavelengths[5] == 444

    def refused(message: str, text: str) -> None:
        path = tmp_path / "camera.json"
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_camera(path)

    band = {"name": "red", "centre": 668, "width": 14}
    refused("is no camera", "not json")
    refused("unknown field `lens`", json.dumps({"name": "x", "bands": [band], "lens": 1}))
    refused("accepted are up to 1 MiB and 1 to 4,096 bands", json.dumps({"name": "x", "bands": []}))
    refused("band 'red' at 0.668 nm", json.dumps({"name": "x", "bands": [{**band, "centre": 0.668}]}))
    refused("Invalid enum", json.dumps({"name": "x", "bands": [band], "unit": "furlongs"}))
    with pytest.raises(UsageError, match="No such file"):
        read_camera(tmp_path / "none.json")
