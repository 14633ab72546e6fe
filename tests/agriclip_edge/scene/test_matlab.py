"""MATLAB files of both kinds, as Houston, Trento and MUUFL are published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.scene.read import open_raster, read_modality

CUBE = np.arange(3 * 4 * 5, dtype=np.float64).reshape(3, 4, 5)


def write_old(path: Path, **arrays: Any) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed").io.savemat(path, arrays, do_compression=True)


def write_new(path: Path, **arrays: Any) -> None:
    """As MATLAB 7.3 does: HDF5 after 512 bytes of its own words, columns first."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.asarray(array).T, compression="gzip", chunks=True)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("write", [write_old, write_new])
def test_a_named_array_and_its_windows(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "scene.mat"
    write(path, HSI=CUBE, LiDAR=CUBE[..., 0], wavelength=np.arange(400.0, 900, 100)[:, None])
    with open_raster(path, "hyperspectral") as raster:  # the only cube
        values, _ = raster.read(slice(1, 3), slice(0, 2))
    np.testing.assert_array_equal(values, CUBE[1:3, :2])
    assert raster.wavelengths is not None and raster.wavelengths.tolist() == [400, 500, 600, 700, 800]
    np.testing.assert_array_equal(
        read_modality(open_raster(path, "lidar", variable="LiDAR")).values[..., 0], CUBE[..., 0]
    )
    with pytest.raises(UsageError, match=r"no raster 'DSM'; it has HSI \(3, 4, 5\)"):
        open_raster(path, "lidar", variable="DSM")


@pytest.mark.parametrize("write", [write_old, write_new])
def test_broken_files_are_one_line(tmp_path: Path, write: Any, refused_in_one_line: Callable[..., None]) -> None:
    path = tmp_path / "scene.mat"
    write(path, HSI=np.random.default_rng(0).random((20, 20, 5)))
    length = path.stat().st_size
    refused_in_one_line(path, (200, 700, length // 2, length - 40), first=100, places=12)


def test_an_hdf5_cube_that_nobody_stored_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "scene.mat"
    with h5py.File(path, "w") as file:
        file.create_dataset("HSI", shape=(200, 60000, 60000), dtype="f8", chunks=(10, 100, 100))
    with pytest.raises(PhotoError, match="header speaks of 5,760,000,000,000 bytes"):
        open_raster(path, "hyperspectral")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["HSI"] = CUBE
    with h5py.File(tmp_path / "scene.mat", "w") as file:
        file["HSI"] = h5py.ExternalLink("other.mat", "/HSI")
    with pytest.raises(PhotoError, match="holds no array of numbers"):
        open_raster(tmp_path / "scene.mat", "hyperspectral")
