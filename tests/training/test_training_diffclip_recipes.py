"""Scenes in the layouts that they are published in, made by code with the published counts of labels."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from agriclip_edge.errors import UsageError
from training.diffclip.labelled import STORED, LabelledScene
from training.diffclip.published import HOUSTON, MUUFL, TRENTO, Published
from training.diffclip.recipes import read_scene


def maps(known: Published, height: int, width: int, order: list[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Maps of labels to train on and to test on, as many of each class as published, row by row."""
    counts = list(known.classes.values())
    train, test = np.zeros(height * width, np.uint8), np.zeros(height * width, np.uint8)
    at = 0
    for label, index in enumerate(order or range(len(counts)), 1):
        for half, number in zip((train, test), counts[index]):
            half[at : at + number] = label
            at += number
    return train.reshape(height, width), test.reshape(height, width)


def cube(height: int, width: int, bands: int, kind: type = np.uint16) -> np.ndarray:
    ramp = np.arange(height * width, dtype=kind).reshape(height, width, 1) % 100
    return np.broadcast_to(ramp, (height, width, bands)).copy() + np.arange(bands, dtype=kind)


def write_maps(folder: Path, known: Published, grid: tuple[int, int], order: list[int] | None = None) -> None:
    train, test = maps(known, *grid, order)
    savemat(folder / "HSI.mat", {"HSI": cube(*grid, known.bands)}, do_compression=True)
    savemat(folder / "LiDAR.mat", {"LiDAR": np.full(grid, 12.5)})
    savemat(folder / "TRLabel.mat", {"TRLabel": train})
    savemat(folder / "TSLabel.mat", {"TSLabel": test})


def check(scene: LabelledScene, known: Published) -> None:
    """Names, counts, modalities and places are those of the publication."""
    train, test = scene.splits[STORED]
    assert sorted(scene.classes) == sorted(known.classes)
    for label, name in enumerate(scene.classes, 1):
        own = scene.labels == label
        assert (int((own & train).sum()), int((own & test).sum())) == known.classes[name]
    spectra, lidar = scene.scene.modalities
    assert spectra.values.shape[-1] == known.bands and spectra.wavelengths is not None
    assert len(spectra.wavelengths) == known.bands and (np.diff(spectra.wavelengths) > 0).all()
    assert (lidar.name, lidar.unit) == ("lidar", "metres") and (lidar.values == 12.5).all()
    assert scene.groups is not None and (scene.groups[scene.labels > 0] >= 0).all()


def test_houston_and_trento_are_told_apart_by_their_counts(tmp_path: Path) -> None:
    for known, grid, totals in ((HOUSTON, (130, 120), (2832, 12197)), (TRENTO, (180, 170), (819, 29395))):
        folder = tmp_path / known.name
        folder.mkdir()
        order = list(range(len(known.classes)))[::-1]  # copies number the classes in different orders
        write_maps(folder, known, grid, order)
        scene = read_scene(folder)
        check(scene, known)
        assert scene.scene.name == known.name and scene.classes[0] == list(known.classes)[-1]
        assert tuple(int(half.sum()) for half in scene.splits[STORED]) == totals


def test_other_counts_are_not_taken_for_the_published_ones(tmp_path: Path) -> None:
    write_maps(tmp_path, HOUSTON, (130, 120))
    train, _ = maps(HOUSTON, 130, 120)
    train[0, 0] = 0
    savemat(tmp_path / "TRLabel.mat", {"TRLabel": train})
    with pytest.raises(UsageError, match="2,831 and 12,197 labelled .* houston2013 with 2,832 and 12,197"):
        read_scene(tmp_path)
    train[0, 0] = 2  # the total is right, the classes are not
    savemat(tmp_path / "TRLabel.mat", {"TRLabel": train})
    with pytest.raises(UsageError, match=r"\(197, 1053\) of label 1"):
        read_scene(tmp_path)
    savemat(tmp_path / "TRLabel.mat", {"TRLabel": maps(HOUSTON, 130, 120)[0]})
    savemat(tmp_path / "HSI.mat", {"HSI": cube(130, 120, 143)})
    with pytest.raises(UsageError, match="143 bands"):
        read_scene(tmp_path)


def roi_text(labels: np.ndarray) -> str:
    """As ENVI writes regions: all their names first, then the pixels of one after the other, counted from 1."""
    numbers = range(1, int(labels.max()) + 1)
    lines = [
        "; ENVI Output of ROIs (4.8) [Fri Feb 01 2013]",
        f"; Number of ROIs: {len(numbers)}",
        "; File Dimension: x",
    ]
    for number in numbers:
        lines += [";", f"; ROI name: class {number}", "; ROI rgb value: {0, 0, 255}"]
        lines += [f"; ROI npts: {(labels == number).sum()}"]
    lines.append(";   ID     X     Y       Lat         Lon   B1")
    for number in numbers:
        lines += [
            f"{i:5} {c + 1:5} {r + 1:5}  29.7  -95.3  7" for i, (r, c) in enumerate(np.argwhere(labels == number), 1)
        ]
        lines.append("")
    return "\n".join(lines)


@pytest.mark.parametrize("zipped", [False, True])
def test_the_contests_own_files_of_houston(tmp_path: Path, zipped: bool) -> None:
    rasterio = pytest.importorskip("rasterio")
    grid, start = (130, 120), "2013_IEEE_GRSS_DF_Contest_"
    for name, values in (("CASI", cube(*grid, 144)), ("LiDAR", np.full((*grid, 1), 12.5, np.float32))):
        place = {"crs": "EPSG:32615", "transform": rasterio.Affine(2.5, 0, 271460, 0, -2.5, 3290891)}
        shape = {"height": grid[0], "width": grid[1], "count": values.shape[-1], "dtype": values.dtype}
        with rasterio.open(tmp_path / f"{start}{name}.tif", "w", driver="GTiff", **shape, **place) as file:
            file.write(np.moveaxis(values, -1, 0))
    train, test = maps(HOUSTON, *grid)
    (tmp_path / f"{start}Samples_TR.txt").write_text(roi_text(train))
    if zipped:
        with zipfile.ZipFile(tmp_path / f"{start}Samples_VA.zip", "w") as archive:
            archive.writestr(f"{start}Samples_VA.txt", roi_text(test))
    else:
        (tmp_path / f"{start}Samples_VA.txt").write_text(roi_text(test))
    scene = read_scene(tmp_path)
    check(scene, HOUSTON)
    assert scene.classes == tuple(HOUSTON.classes) and (scene.labels == np.maximum(train, test)).all()
    text = tmp_path / f"{start}Samples_TR.txt"
    text.write_text(roi_text(train) + "    1   999     1  29.7  -95.3\n")
    with pytest.raises(UsageError, match="2832 pixels in 15 regions and lists 2833"):
        read_scene(tmp_path)


def test_trento_in_one_map_comes_without_a_split(tmp_path: Path) -> None:
    grid = (170, 180)
    train, test = maps(TRENTO, *grid)
    savemat(tmp_path / "Italy_hsi.mat", {"data": cube(*grid, 63)})
    savemat(tmp_path / "Italy_lidar.mat", {"data": np.full((*grid, 2), 12.5, np.float32)})
    savemat(tmp_path / "allgrd.mat", {"mask_test": np.maximum(train, test)})
    scene = read_scene(tmp_path)
    assert not scene.splits and (scene.labels > 0).sum() == 30214 and scene.classes == tuple(TRENTO.classes)


def muufl_file(folder: Path, labels: np.ndarray) -> None:
    grid = labels.shape
    flight = {"x": np.zeros(grid), "y": np.zeros(grid), "z": np.full((*grid, 1), 12.5), "info": "made"}
    hsi = {
        "Data": cube(*grid, 64, np.float32),
        "info": {"wavelength": np.linspace(367.7, 1043.4, 72)},  # with the eight noisy bands
        "Lidar": np.array([flight, flight], dtype=object),
        "sceneLabels": {"labels": labels.astype(np.int16), "Materials_Type": np.array(["trees"], dtype=object)},
        "RGB": np.full((*grid, 3), 0.5),
    }
    savemat(folder / "muufl_gulfport_campus_1_hsi_220_label.mat", {"hsi": hsi}, do_compression=True)


def test_muufl_as_its_one_structure(tmp_path: Path) -> None:
    _, test = maps(MUUFL, 245, 220)
    muufl_file(tmp_path, np.where(test > 0, test.astype(int), -1))
    scene = read_scene(tmp_path)
    assert (scene.labels > 0).sum() == 53687 and scene.classes == tuple(MUUFL.classes) and not scene.splits
    spectra, lidar = scene.scene.modalities
    assert spectra.wavelengths is not None and len(spectra.wavelengths) == 64
    assert spectra.wavelengths[0] == pytest.approx(np.linspace(367.7, 1043.4, 72)[4])
    assert lidar.values.shape == (245, 220, 2) and scene.rgb is not None and (scene.rgb == 128).all()
    muufl_file(tmp_path, np.ones((20, 20)))
    with pytest.raises(UsageError, match=r"0 and 400 labelled pixels, \(0, 400\) of label 1; known is muufl"):
        read_scene(tmp_path)
    (tmp_path / "muufl_gulfport_campus_1_hsi_220_label.mat").write_bytes(b"MATLAB 5.0 nonsense")
    with pytest.raises(UsageError, match="not the published structure"):
        read_scene(tmp_path)


def stored(folder: Path, name: str, meta: dict[str, Any], **arrays: np.ndarray) -> Path:
    (folder / name).mkdir()
    np.savez_compressed(folder / name / f"{name}.npz", **arrays)
    (folder / name / "meta.json").write_text(json.dumps(meta))
    return folder / name


def test_stored_scenes_by_folder_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = np.repeat(np.arange(4, dtype=np.uint8), 9).reshape(12, 3)
    labels = (np.arange(36).reshape(12, 3) % 3).astype(np.uint8)
    hsi = np.full((12, 3, 5), 2500, np.int16)
    hsi[0, 0] = 0
    stored(
        tmp_path / ".",
        "idtrees",
        {"gsd_m": 1.0, "classes": [{"common": "red maple"}, {"common": "white oak"}], "tile_group": [0, 0, 1, 2]},
        hsi=hsi, lidar=np.ones((12, 3, 1), np.float32), rgb=np.zeros((12, 3, 3), np.uint8), gt=labels, tile=tile,
        train=np.where(tile < 2, labels, 0), test=np.where(tile >= 2, labels, 0),
    )  # fmt: skip
    (tmp_path / "scenes").symlink_to(tmp_path)
    monkeypatch.setenv("AGRICLIP_DATA", str(tmp_path))
    for source in (tmp_path / "idtrees", "idtrees"):
        scene = read_scene(source)
        spectra = scene.scene.modalities[0]
        assert scene.classes == ("red maple", "white oak") and spectra.values.max() == pytest.approx(0.25)
        assert not spectra.valid[0, 0] and spectra.valid.sum() == 35
        assert scene.groups is not None and scene.groups[:, 0].tolist() == [0] * 6 + [1] * 3 + [2] * 3


def test_seasons_of_one_place_are_tiles_that_share_their_places(tmp_path: Path) -> None:
    season = np.repeat(np.arange(2, dtype=np.uint8), 10 * 7).reshape(20, 7)
    labels = np.ones((20, 7), np.uint8)
    series = np.random.default_rng(0).random((20, 7, 66)).astype(np.float32)
    folder = stored(
        tmp_path, "matogrosso", {"classes": ["Forest"]}, hsi=series, aux=series[..., :22], gt=labels, season=season
    )
    scene = read_scene(folder)
    assert scene.groups is not None and (scene.groups[:10] == scene.groups[10:]).all()
    assert [m.name for m in scene.scene.modalities] == ["multispectral", "mid-infrared"] and scene.rgb is not None


def test_scenes_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of a scene"):
        read_scene(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="files of no known scene; known are idtrees.*houston2013, trento, muufl"):
        read_scene(tmp_path)
    stored(tmp_path, "samson", {"classes": ["rock"]}, gt=np.ones((3, 3), np.uint8))
    with pytest.raises(UsageError, match="samson cannot be read"):
        read_scene(tmp_path / "samson")
    assert read_scene("synthetic").scene.name == "synthetic"
