"""A student learns the per-pixel classifier's map without labels; both map the same scene, tile by tile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from agriclip_edge.bundle.manifest import SceneLevel
from agriclip_edge.errors import UsageError
from agriclip_edge.scene.camera import read_camera
from agriclip_edge.scene.read import open_raster
from agriclip_edge.scene.sources import Sources
from training.diffclip.binding import Classifier
from training.diffclip.command import app
from training.diffclip.config import DiffclipConfig
from training.diffclip.labelled import STORED, LabelledScene
from training.diffclip.mapping import ByStudent, map_rasters, map_scene, open_mapper
from training.diffclip.methods import FULL, Diffclip, Features
from training.diffclip.run import pretrain, write_classifier
from training.diffclip.spectrum import prepared
from training.diffclip.splits import few_shot
from training.diffclip.student import (
    StudentConfig,
    StudentRun,
    cut,
    distil,
    load_student,
    of_pixels,
    through_camera,
    time_again,
    write_student,
)
from training.diffclip.synthetic import synthetic_scene
from training.diffclip.windows import Windows
from training.progress import StatusLine


def nothing(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError(f"a class code embeds no text: {texts}")


def quiet(done: float, total: float, text: str) -> None:
    assert 0 < done <= total


@pytest.fixture(scope="module")
def scene() -> LabelledScene:
    return synthetic_scene(tiles=6, side=20, bands=24)


@pytest.fixture(scope="module")
def teacher(scene: LabelledScene, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    torch.set_num_threads(1)
    config = DiffclipConfig.tiny()
    encoder = pretrain(scene.scene, tmp_path_factory.mktemp("run"), config, StatusLine(Console(quiet=True)))
    method = Diffclip(FULL, Features(encoder), nothing, language=False)
    return method.classifier(scene, *few_shot(scene.labels, *scene.splits[STORED], 40, 0)[:2])


@pytest.fixture(scope="module")
def folder(teacher: Classifier, scene: LabelledScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    distil(teacher, scene, folder, StudentConfig.tiny(), step=quiet)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> StudentRun:
    return load_student(folder)


def classes_of(vectors: torch.Tensor, run: StudentRun) -> np.ndarray:
    return (vectors @ torch.from_numpy(run.class_vectors).T).argmax(dim=1).numpy()


def test_a_student_says_what_the_teacher_says(run: StudentRun, teacher: Classifier, scene: LabelledScene) -> None:
    """Held against the teacher anew, by windows on one side and whole tiles on the other."""
    pixels = np.argwhere(scene.carries)
    wanted = classes_of(of_pixels(teacher.embed, teacher, scene, pixels, run.student.modalities), run)
    sensors = {m.name: m for m in scene.scene.modalities}
    found = np.zeros(scene.labels.shape, np.int64)
    for rows in (slice(start, start + 20) for start in range(0, 120, 20)):
        values = {name: sensor.values[rows] for name, sensor in sensors.items()}
        valid = {name: sensor.valid[rows] for name, sensor in sensors.items()}
        vectors = ByStudent(run).embed(values, valid)
        found[rows] = classes_of(torch.from_numpy(vectors.reshape(-1, run.student.dim)), run).reshape(20, 20)
    agreement = (found[pixels[:, 0], pixels[:, 1]] == wanted).mean()
    assert agreement > 0.93
    assert run.figures.agreement == pytest.approx(agreement, abs=1e-3) and run.figures.pixels == len(pixels)
    assert run.figures.agreement_held_out is not None and run.figures.agreement_held_out > 0.85
    assert set(run.figures.agreement_missing) == {"hyperspectral", "lidar"}
    assert run.student.receptive_field == teacher.side == 5


def test_what_components_say_is_not_learnt(run: StudentRun, teacher: Classifier, scene: LabelledScene) -> None:
    """The teacher's own numbers, at borders, beside holes and where a modality is missing from the window."""
    rows = slice(20, 40)
    tile = np.zeros((20, 20), np.int32)
    holes = np.random.default_rng(0).random((20, 20)) < 0.8
    holes[4:14, 9:] = False
    cutters, parts, masks = {}, [], []
    for sensor, mask in zip(scene.scene.modalities, (holes[::-1], holes)):
        values = np.where(mask[..., None], sensor.values[rows], np.float32(0))
        cutters[sensor.name] = Windows(values, mask, tile, teacher.side)
        tensor = torch.from_numpy(values.transpose(2, 0, 1)[None].copy())
        parts.append(run.student.components[sensor.name](tensor))
        masks.append(torch.from_numpy(mask[None, None].astype(np.float32)))
    margin = (teacher.side // 2,) * 4
    joined = torch.nn.functional.pad(run.student.joined(parts, masks), margin, mode="reflect")
    known, gate = (part[0].flatten(1).T for part in run.student.known(joined))
    wanted = teacher.blend(*cut(cutters, np.argwhere(tile == 0)))
    own = (run.student.learnt == 0).all(dim=1)
    assert 0 < own.sum() < len(own)
    torch.testing.assert_close(known[:, own], wanted[:, own], rtol=1e-4, atol=1e-4)
    assert (known[:, ~own] == 0).all()
    silent = (gate == 0) & ~own  # tokens of a modality that is not in the window
    assert silent.any() and (wanted[silent] == 0).all()


def test_a_student_knows_nothing_of_labels(
    run: StudentRun, teacher: Classifier, scene: LabelledScene, tmp_path: Path
) -> None:
    shuffled = replace(scene, labels=np.zeros_like(scene.labels), splits={})
    other = distil(teacher, shuffled, tmp_path, replace(StudentConfig.tiny(), steps=3))
    same = distil(teacher, scene, tmp_path, replace(StudentConfig.tiny(), steps=3))
    for name, tensor in other.student.state_dict().items():
        torch.testing.assert_close(tensor, same.student.state_dict()[name], rtol=0, atol=0)


def test_a_student_is_read_back_as_it_was(run: StudentRun, folder: Path) -> None:
    again = load_student(folder)
    inputs = [torch.rand(1, 24, 9, 11), torch.ones(1, 1, 9, 11), torch.rand(1, 1, 9, 11), torch.zeros(1, 1, 9, 11)]
    with torch.inference_mode():
        vectors = again.student(*inputs)
        torch.testing.assert_close(vectors, run.student(*inputs))
    assert vectors.shape == (1, run.student.dim, 9, 11)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(1, 9, 11))
    assert (again.classes, again.modalities["hyperspectral"]["channels"]) == (run.classes, 24)
    assert not (folder / "targets.safetensors").exists()
    with pytest.raises(UsageError, match="holds no student"):
        load_student(folder.parent)
    with pytest.raises(UsageError, match="is not a checkpoint"):
        broken = folder.parent / "broken"
        broken.mkdir()
        (broken / "student.safetensors").write_bytes(b"no tensors")
        load_student(broken)


def test_a_finished_student_is_timed_again(
    folder: Path, teacher: Classifier, scene: LabelledScene, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    before = load_student(folder)
    write_student(replace(before, figures=replace(before.figures, speed_up=0.0)), copied)
    again = time_again(teacher, scene, copied)
    assert again.figures.speed_up > 0 and load_student(copied).figures == again.figures
    assert again.figures == replace(before.figures, speed_up=again.figures.speed_up)
    for name, tensor in before.student.state_dict().items():
        torch.testing.assert_close(load_student(copied).student.state_dict()[name], tensor, rtol=0, atol=0)
    write_student(replace(before, classes=("oak", *before.classes[1:])), copied)
    with pytest.raises(UsageError, match="tells other classes apart"):
        time_again(teacher, scene, copied)
    arguments = ["student", "--run", str(tmp_path), "--scene", "synthetic", "--output", str(copied), "--time"]
    refused = CliRunner().invoke(app, [*arguments, "--steps", "5"])
    assert isinstance(refused.exception, UsageError) and "accepted: no --camera" in str(refused.exception)


def test_what_the_teacher_said_is_asked_once(teacher: Classifier, scene: LabelledScene, tmp_path: Path) -> None:
    """A run that is cut off in its distillation goes on without the transformer's passes."""
    told: list[str] = []

    def cut(done: float, total: float, text: str) -> None:
        told.append(text)
        if text.startswith("distilling"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil(teacher, scene, tmp_path, StudentConfig.tiny(), step=cut)
    assert told.count("the teacher's map") > 2
    told.clear()
    with pytest.raises(KeyboardInterrupt):
        distil(teacher, scene, tmp_path, StudentConfig.tiny(), step=cut)
    assert "the teacher's map" not in told


def test_a_camera_takes_the_spectrometers_place(
    teacher: Classifier, scene: LabelledScene, tmp_path: Path, root: Path
) -> None:
    camera = read_camera(root / "examples" / "cameras" / "rededge-mx.json")
    run = distil(teacher, scene, tmp_path, StudentConfig.tiny(), camera=camera)
    assert run.student.modalities == ("multispectral", "lidar")
    assert run.modalities["multispectral"] == {
        "channels": 5, "unit": "reflectance", "wavelengths": [475, 560, 668, 842, 717]
    }  # fmt: skip
    assert run.figures.agreement > 0.85
    again = load_student(tmp_path)
    assert again.camera == camera
    seen = again.view(scene).scene.modalities[0]
    np.testing.assert_array_equal(seen.values, through_camera(scene, camera).scene.modalities[0].values)
    silent = replace(scene.scene.modalities[0], wavelengths=None)
    with pytest.raises(UsageError, match="have no wavelengths"):
        through_camera(replace(scene, scene=replace(scene.scene, modalities=(silent,))), camera)


LEVEL = SceneLevel(0.5, unit_length=True)


def test_a_student_of_levelled_tiles_maps_each_by_its_own_mean(
    run: StudentRun, scene: LabelledScene, tmp_path: Path
) -> None:
    """A scene in memory tile by tile, and a file of one tile, as the recipe levels them."""
    write_student(replace(run, levels={"hyperspectral": LEVEL}), tmp_path)
    again = load_student(tmp_path)
    assert again.levels == {"hyperspectral": LEVEL}
    recipe = replace(DiffclipConfig.tiny(), level_share=0.5)
    wanted = prepared(recipe, scene.scene)
    np.testing.assert_array_equal(again.view(scene).scene.modalities[0].values, wanted.modalities[0].values)
    mapper = open_mapper(tmp_path, threshold=0.0)
    whole = map_scene(mapper, scene, tmp_path / "scene.png", quiet)
    classes = np.zeros(0, np.int64)
    for tile in range(6):  # in memory, a tile is 20 rows
        rows = slice(20 * tile, 20 * tile + 20)
        ready = {m.name: m.values[rows] for m in wanted.modalities}
        seen = {m.name: m.valid[rows] for m in wanted.modalities}
        vectors = torch.from_numpy(ByStudent(again).embed(ready, seen)).flatten(0, 1)
        classes = np.append(classes, classes_of(vectors, again))
        if tile == 3:
            np.save(tmp_path / "scene.npy", scene.scene.modalities[0].values[rows])
            np.save(tmp_path / "dsm.npy", scene.scene.modalities[1].values[rows])
            of_tile = np.bincount(classes[-400:], minlength=4)
    found = [entry["pixels"] for entry in whole.to_record()["classes"]]
    np.testing.assert_allclose(found, np.bincount(classes, minlength=4), atol=3)
    files = (open_raster(tmp_path / "scene.npy", "hyperspectral"), open_raster(tmp_path / "dsm.npy", "lidar"))
    with files[0], files[1]:
        single = map_rasters(mapper, Sources(files, mapper.modalities), tmp_path / "map.png", quiet)
    np.testing.assert_allclose([e["pixels"] for e in single.to_record()["classes"]], of_tile, atol=2)


def test_a_teacher_that_levels_makes_a_student_that_does(
    scene: LabelledScene, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    config = replace(DiffclipConfig.tiny(), level_share=0.5)
    encoder = pretrain(scene.scene, tmp_path_factory.mktemp("run"), config, StatusLine(Console(quiet=True)))
    method = Diffclip(FULL, Features(encoder), nothing, language=False)
    teacher = method.classifier(scene, *few_shot(scene.labels, *scene.splits[STORED], 40, 0)[:2])
    run = distil(teacher, scene, tmp_path / "own", StudentConfig.tiny())
    assert run.levels == {"hyperspectral": LEVEL} and run.figures.agreement > 0.85
    weight, bias = load_student(tmp_path / "own").text_map or ()
    torch.testing.assert_close(weight, teacher.map.weight)
    torch.testing.assert_close(bias, teacher.map.bias)
    camera = read_camera(root / "examples" / "cameras" / "rededge-mx.json")
    drone = distil(teacher, scene, tmp_path / "drone", StudentConfig.tiny(), camera=camera)
    assert drone.levels == {"multispectral": LEVEL} and drone.figures.agreement > 0.8
    seen = drone.view(scene).scene.modalities[0].values[:20]
    assert np.abs(seen).max() < 1 and not np.allclose(
        seen, through_camera(scene, camera).scene.modalities[0].values[:20]
    )


def test_both_map_the_same_scene(folder: Path, teacher: Classifier, scene: LabelledScene, tmp_path: Path) -> None:
    write_classifier(teacher, tmp_path / "run")
    maps = {}
    for name, run in (("student", folder), ("transformer", tmp_path / "run")):
        mapper = open_mapper(run, threshold=0.0)
        output = tmp_path / f"{name}.png"
        record = map_scene(mapper, scene, output, quiet).to_record()
        assert record["pixels"] == 2400 and record["none_of_these"]["pixels"] == 0
        assert record["classes"][0]["label"] == "maize" and "hectares" in record["classes"][0]
        assert Image.open(output).size[1] >= 480 and output.with_name(f"{name}-confidence.png").exists()
        maps[name] = {entry["label"]: entry["share"] for entry in record["classes"]}
    for label, share in maps["student"].items():
        assert share == pytest.approx(maps["transformer"][label], abs=0.05)


def test_the_command_maps_a_scene_and_raster_files(folder: Path, scene: LabelledScene, tmp_path: Path) -> None:
    spectra, heights = (modality.values[:20].astype(np.float32) for modality in scene.scene.modalities)
    np.save(tmp_path / "scene.npy", spectra)
    np.save(tmp_path / "dsm.npy", heights)
    arguments = ["map", "--run", str(folder), "--scene", str(tmp_path / "scene.npy"), "--lidar",
                 str(tmp_path / "dsm.npy"), "--output", str(tmp_path / "map.png")]  # fmt: skip
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    record = json.loads(found.stdout)
    assert record["pixels"] == 400 and record["none_of_these"]["share"] < 0.3
    assert (tmp_path / "map.png").exists()


def test_a_scene_without_the_teachers_sensors_is_refused(
    teacher: Classifier, scene: LabelledScene, tmp_path: Path
) -> None:
    bare = replace(scene, scene=replace(scene.scene, modalities=scene.scene.modalities[:1]))
    with pytest.raises(UsageError, match="lacks lidar; it has: hyperspectral"):
        distil(teacher, bare, tmp_path, StudentConfig.tiny())
    with pytest.raises(UsageError, match="width is 0; accepted: at least 1"):
        StudentConfig(width=0)
