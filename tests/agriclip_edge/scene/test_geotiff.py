"""GeoTIFFs as drones' software and GDAL write them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agriclip_edge.errors import PhotoError
from agriclip_edge.scene.raster import check_grid
from agriclip_edge.scene.read import open_raster, read_modality

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed; pip install agriclip-edge[scene]")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

CUBE = np.arange(40 * 30 * 5, dtype=np.uint16).reshape(40, 30, 5)
DRONE = (475.0, 560.0, 668.0, 717.0, 842.0)


def write(path: Path, cube: Any = CUBE, place: tuple[float, float] = (500000.0, 4000000.0), **more: Any) -> Path:
    profile = {
        "driver": "GTiff",
        "height": cube.shape[0],
        "width": cube.shape[1],
        "count": cube.shape[2],
        "dtype": cube.dtype,
        "crs": "EPSG:32617",
        "transform": rasterio.transform.from_origin(*place, 0.5, 0.5),
        **more,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.moveaxis(cube, -1, 0))
    return path


@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_windows_place_and_nodata(tmp_path: Path, interleave: str) -> None:
    path = write(tmp_path / "scene.tif", nodata=0, tiled=True, blockxsize=16, blockysize=16, interleave=interleave)
    with open_raster(path, "multispectral", unit="reflectance", scale=1e-4, wavelengths=DRONE) as raster:
        assert (raster.height, raster.width, raster.channels) == (40, 30, 5)
        assert raster.ground_sampling == 0.5 and "UTM zone 17N" in raster.crs
        assert raster.transform == (0.5, 0.0, 500000.0, 0.0, -0.5, 4000000.0)
        values, valid = raster.read(slice(7, 29), slice(3, 30))
        assert not raster.read(slice(0, 1), slice(0, 1))[1][0, 0]
    np.testing.assert_allclose(values, CUBE[7:29, 3:30] * 1e-4, rtol=1e-6)
    assert valid.all()


def test_wavelengths_stand_in_names_or_in_gdals_tags(tmp_path: Path) -> None:
    path = write(tmp_path / "named.tif")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Blue 475 nm", "Green (560.0 nm)", "668nm", "717 nanometers", "0.842 um")
    found = read_modality(open_raster(path, "multispectral")).wavelengths
    assert found is not None
    np.testing.assert_allclose(found, DRONE)
    path = write(tmp_path / "tagged.tif")
    with rasterio.open(path, "r+") as file:
        for band, length in enumerate(DRONE, 1):
            file.update_tags(band, wavelength=str(length / 1e3), wavelength_units="Micrometers")
    found = read_modality(open_raster(path, "multispectral")).wavelengths
    assert found is not None
    np.testing.assert_allclose(found, DRONE)
    assert read_modality(open_raster(write(tmp_path / "plain.tif"), "multispectral")).wavelengths is None


def test_opacity_is_the_mask_and_no_channel(tmp_path: Path) -> None:
    path = tmp_path / "drone.tif"
    alpha = np.full((40, 30, 1), 255, np.uint16)
    alpha[:, 20:] = 0
    write(path, np.concatenate([CUBE[..., :4], alpha], axis=-1))
    with rasterio.open(path, "r+") as file:
        named = rasterio.enums.ColorInterp
        file.colorinterp = (named.blue, named.green, named.red, named.undefined, named.alpha)
    modality = read_modality(open_raster(path, "multispectral"))
    assert modality.values.shape == (40, 30, 4)
    assert modality.valid[:, :20].all() and not modality.valid[:, 20:].any()


def test_float_heights_with_gaps(tmp_path: Path) -> None:
    heights = np.full((8, 8, 1), 12.5, np.float32)
    heights[0, 0], heights[1, 1] = -3.4028234663852886e38, np.nan
    lidar = read_modality(open_raster(write(tmp_path / "dsm.tif", heights, nodata=-3.4028234663852886e38), "lidar"))
    assert lidar.unit == "metres" and lidar.valid.sum() == 62 and not lidar.valid[0, 0] and not lidar.valid[1, 1]


def test_rasters_that_lie_elsewhere_are_no_scene(tmp_path: Path) -> None:
    here = open_raster(write(tmp_path / "a.tif"), "multispectral")
    shifted = open_raster(write(tmp_path / "b.tif", place=(500000.25, 4000000.0)), "lidar")
    same = open_raster(write(tmp_path / "c.tif", place=(500000.001, 4000000.0)), "lidar")
    with here, shifted, same:
        check_grid([here, same])
        with pytest.raises(PhotoError, match="b.tif: lies elsewhere than a.tif"):
            check_grid([here, shifted])


def test_broken_files_are_one_line(tmp_path: Path, refused_in_one_line: Callable[..., None]) -> None:
    path = write(tmp_path / "scene.tif", compress="deflate")
    refused_in_one_line(path, (8, 100, path.stat().st_size // 2), first=4, places=12)


def test_blocks_too_large_to_decode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    profile = {"driver": "GTiff", "height": 40000, "width": 40000, "count": 1, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", sparse_ok=True, blockysize=40000, **profile):
        pass
    with pytest.raises(PhotoError, match="blocks of 40000 × 40000 pixels"):
        open_raster(path, "multispectral")


def test_links_to_other_rasters_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "scene.tif")
    link = tmp_path / "scene.vrt"
    link.write_text('<VRTDataset rasterXSize="30" rasterYSize="40"></VRTDataset>')
    with pytest.raises(PhotoError, match="no raster of an accepted format"):
        open_raster(link, "multispectral")
