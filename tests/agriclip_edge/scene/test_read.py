"""NumPy files, what a caller says over what a file says, and rasters that belong together or not."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.scene import arrays as arrays_module
from agriclip_edge.scene import raster as raster_module
from agriclip_edge.scene.read import open_raster, read_modality, read_scene


def test_a_cube_and_its_heights_become_a_scene(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    heights = np.full((6, 5), 2.5)
    heights[0, 0] = -9999
    np.savez_compressed(tmp_path / "cube.npz", hsi=cube, wavelengths=np.array([450.0, 550, 650, 850]), note=np.ones(3))
    np.save(tmp_path / "heights.npy", heights)
    with (
        open_raster(tmp_path / "cube.npz", "hyperspectral", unit="reflectance") as spectra,
        open_raster(tmp_path / "heights.npy", "lidar", nodata=-9999) as lidar,
    ):
        scene = read_scene([spectra, lidar], "field")
    first, second = scene.modalities
    np.testing.assert_array_equal(first.values, cube)
    assert first.wavelengths is not None and first.wavelengths.tolist() == [450, 550, 650, 850]
    assert first.unit == "reflectance" and second.unit == "metres"
    assert second.values.shape == (6, 5, 1) and not second.valid[0, 0] and second.valid.sum() == 29
    assert scene.tile.shape == (6, 5) and (scene.tile == 0).all()


def test_what_is_read_can_be_changed_without_touching_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cube.npy"
    np.save(path, np.ones((4, 4, 2), np.float32))
    with open_raster(path, "multispectral") as raster:
        values, _ = raster.read()
        values[:] = 7
        assert (raster.read()[0] == 1).all()


def test_whole_numbers_keep_their_nodata_only_where_they_can_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "cube.npy"
    np.save(path, np.array([[[0], [65535]], [[5], [6]]], np.uint16))
    assert read_modality(open_raster(path, "multispectral", nodata=65535)).valid.sum() == 3
    assert read_modality(open_raster(path, "multispectral", nodata=-9999)).valid.sum() == 4
    assert read_modality(open_raster(path, "multispectral", nodata=0, scale=0.1)).values[1, 1, 0] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("said", "error", "says"),
    [
        ({"unit": "furlongs"}, UsageError, "no unit 'furlongs'"),
        ({"wavelengths": [500.0]}, PhotoError, "2 channels and 1 wavelengths"),
        ({"wavelengths": [500.0, float("nan")]}, PhotoError, "not a positive number"),
        ({"scale": 0.0}, UsageError, "a scale of 0.0"),
        ({"variable": "hsi"}, UsageError, "holds one array"),
    ],
)
def test_what_a_caller_says_is_checked(
    tmp_path: Path, said: dict[str, object], error: type[Exception], says: str
) -> None:
    np.save(tmp_path / "cube.npy", np.ones((4, 4, 2)))
    with pytest.raises(error, match=says):
        open_raster(tmp_path / "cube.npy", "multispectral", **said)  # type: ignore[arg-type]


def test_several_arrays_want_a_name(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    np.savez(path, one=np.ones((3, 3)), two=np.zeros((3, 3)))
    with pytest.raises(UsageError, match=r"2 rasters; name one of one \(3, 3\), two \(3, 3\)"):
        open_raster(path, "lidar")
    with pytest.raises(UsageError, match="no raster 'three'"):
        open_raster(path, "lidar", variable="three")
    assert (read_modality(open_raster(path, "lidar", variable="two")).values == 0).all()


def test_rasters_of_different_sizes_do_not_become_a_scene(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 4, 2)))
    np.save(tmp_path / "b.npy", np.ones((5, 4)))
    with open_raster(tmp_path / "a.npy", "multispectral") as one, open_raster(tmp_path / "b.npy", "lidar") as other:
        with pytest.raises(PhotoError, match="5 × 4 pixels and a.npy 4 × 4: bring both onto one grid"):
            read_scene([one, other])
        with pytest.raises(UsageError, match="two modalities of one name"):
            read_scene([one, one])


def npy_header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        npy_header("(1000000, 1000000, 100)") + b"\0" * 80,
        npy_header("(-1, 5)"),
        npy_header("(3, 'x')"),
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x09" + b"\0" * 100,
        b"",
        b"GIF89a",
    ],
)
def test_a_hostile_array_is_one_line_and_takes_no_memory(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scene.npy"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"scene\.npy") as caught:
        read_modality(open_raster(path, "hyperspectral"))
    assert "\n" not in str(caught.value)


def test_an_archive_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hsi.npy", npy_header("(60000, 60000, 100)") + b"\0" * 80)
    with pytest.raises(PhotoError, match="header speaks of 2,880,000,000,000 bytes"):
        open_raster(path, "hyperspectral")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PhotoError, match="cannot be read"):
        open_raster(path, "hyperspectral")


def test_spoilt_archives_are_one_line(tmp_path: Path, refused_in_one_line: Callable[..., None]) -> None:
    path = tmp_path / "scene.npz"
    np.savez_compressed(path, hsi=np.random.default_rng(0).random((9, 9, 3)), wavelengths=np.arange(400.0, 700, 100))
    refused_in_one_line(path, first=4, places=8, rounds=60)


def test_an_array_that_can_only_be_read_whole_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "cube.npz", hsi=np.ones((8, 8, 2)))
    monkeypatch.setattr(arrays_module, "MAX_VALUES", 64)
    with pytest.raises(PhotoError, match="8 × 8 × 2 values are too many for one read"):
        open_raster(tmp_path / "cube.npz", "multispectral")


def test_pickled_objects_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    np.savez(path, hsi=np.array([[object(), 1], [2, 3]], dtype=object))
    with pytest.raises(PhotoError, match="no array of numbers"):
        open_raster(path, "hyperspectral")


def test_a_read_that_is_too_large_asks_for_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "cube.npy", np.ones((8, 8, 2)))
    monkeypatch.setattr(raster_module, "MAX_VALUES", 64)
    with open_raster(tmp_path / "cube.npy", "multispectral") as raster:
        with pytest.raises(PhotoError, match="8 × 8 × 2 values are too many for one read"):
            raster.read()
        assert raster.read(slice(0, 4), slice(0, 8))[0].shape == (4, 8, 2)


def test_folders_and_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="is a folder"):
        open_raster(tmp_path, "hyperspectral")
    with pytest.raises(PhotoError, match="no such file"):
        open_raster(tmp_path / "none.tif", "hyperspectral")
