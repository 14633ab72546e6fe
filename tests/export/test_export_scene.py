"""A student becomes a bundle: graph against PyTorch, INT8 behind its gate, classes that a device reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from agriclip_edge import Bundle
from agriclip_edge.bundle.manifest import SceneLevel
from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.labels.lists import parse_labels
from agriclip_edge.scene.classify import Judge, classify_strips
from agriclip_edge.scene.model import SceneModel
from agriclip_edge.scene.words import Meaning, typed_pack
from agriclip_edge.text.encoder import TextEncoder
from export.parity import open_session
from export.scene import SceneConfig, export_scene, export_student
from export.tiny_scene import write_tiny_scene
from training.diffclip.labelled import LabelledScene
from training.diffclip.spectrum import fit_components
from training.diffclip.student import Figures, Student, StudentConfig, StudentRun, load_student, write_student
from training.diffclip.synthetic import synthetic_scene
from training.diffclip.texts import class_vectors, read_class_texts


@pytest.fixture(scope="module")
def scene() -> LabelledScene:
    return synthetic_scene(tiles=4, side=20, bands=12)


@pytest.fixture(scope="module")
def student(scene: LabelledScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a student of random weights, whose classes are what it says of one pixel of each."""
    torch.manual_seed(0)
    parts = {
        m.name: fit_components(m, scene.carries, scene.scene.tile, 6, normalise=m.name == "hyperspectral")
        for m in scene.scene.modalities
    }
    network = Student(parts, 5, 16, 8, StudentConfig.tiny()).eval()
    inputs = [
        torch.from_numpy(np.ascontiguousarray(array))
        for m in scene.scene.modalities
        for array in (m.values.transpose(2, 0, 1)[None], m.valid[None, None].astype(np.float32))
    ]
    with torch.no_grad():
        vectors = network(*inputs)[0]
    places = [np.argwhere(scene.labels == number)[3] for number in range(1, 5)]
    classes = np.stack([vectors[:, row, column].numpy() for row, column in places])
    modalities = {
        m.name: {
            "channels": m.values.shape[-1],
            "unit": m.unit,
            "wavelengths": None if m.wavelengths is None else list(m.wavelengths),
        }
        for m in scene.scene.modalities
    }
    figures = Figures(1.0, 1.0, {}, 100.0, 1600, 0.3, 0.1)
    folder = tmp_path_factory.mktemp("student")
    write_student(StudentRun(network, scene.classes, classes, 0.1, modalities, 1.0, figures), folder)
    return folder


def budget(folder: Path, **changed: float) -> Path:
    """The shipped budget with other limits for scenes; speed is not asked, as the network is too small to gain any."""
    limits = {"mean_cosine": 0.9, "p1_cosine": 0.5, "drop_mean": 10.0, "drop_task": 10.0, **changed}
    lines = [f"{name} = {value}" for name, value in limits.items()]
    path = folder / "budget.toml"
    path.write_text("[scene-int8]\n" + "\n".join(lines) + "\n")
    return path


def test_the_graph_is_the_student_at_any_size(student: Path, scene: LabelledScene) -> None:
    run = load_student(student)
    graph = export_student(run, {"licence": "Apache-2.0"})
    assert export_student(run, {"licence": "Apache-2.0"}) == graph
    model = onnx.load_from_string(graph)
    assert [entry.name for entry in model.graph.input] == [
        "hyperspectral", "hyperspectral_valid", "lidar", "lidar_valid"
    ]  # fmt: skip
    part = slice(0, 20)
    feed = {}
    for m in scene.scene.modalities:
        feed[m.name] = np.ascontiguousarray(m.values[part].transpose(2, 0, 1)[None])
        feed[f"{m.name}_valid"] = m.valid[part][None, None].astype(np.float32)
    found = open_session(graph, 1).run(None, feed)[0]
    with torch.inference_mode():
        wanted = run.student(*[torch.from_numpy(value) for value in feed.values()]).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_bundle_with_int8_that_passed_its_gate(student: Path, scene: LabelledScene, tmp_path: Path) -> None:
    said: list[str] = []
    config = SceneConfig(name="fields", budget=budget(tmp_path), tile=32)
    export_scene(student, tmp_path / "bundle", config, scene, say=said.append)
    bundle = Bundle.open(tmp_path / "bundle")
    entry = bundle.for_scenes()
    assert [variant.name for variant in entry.variants] == ["int8", "float"]
    assert (entry.modality, entry.receptive_field, entry.ground_sampling) == ("hyperspectral+lidar", 5, 1.0)
    figures = entry.variants[0].figures
    assert figures["mean_cosine"] > 0.97 and {"drop.agreement", "drop.labelled"} <= figures.keys()
    assert "times as fast as float32" in said[0] and "left out" not in said[0]
    graph = onnx.load_from_string(bundle.read(entry.variants[0].file))
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("QuantizeLinear") > 5
    raw = {node.input[0] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    assert not raw & {"hyperspectral", "lidar"}  # sensors' own units are not rounded
    pack = bundle.pack("classes")
    assert [label.text for label in pack.labels] == list(scene.classes)
    assert (pack.threshold, pack.unknown) == (0.3, 0.1)
    tile = {m.name: m.values[:20] for m in scene.scene.modalities}
    seen = {m.name: m.valid[:20] for m in scene.scene.modalities}
    vectors = [SceneModel(bundle, threads=1, runtime=name).embed(tile, seen) for name in ("int8", "float")]
    assert (vectors[0] * vectors[1]).sum(axis=-1).mean() > 0.97


def test_int8_that_loses_too_much_is_left_out(student: Path, scene: LabelledScene, tmp_path: Path) -> None:
    said: list[str] = []
    strict = SceneConfig(budget=budget(tmp_path, mean_cosine=1.0), tile=32)
    export_scene(student, tmp_path / "bundle", strict, scene, say=said.append)
    assert [variant.name for variant in Bundle.open(tmp_path / "bundle").for_scenes().variants] == ["float"]
    assert "left out: mean_cosine is" in said[0]


def test_without_a_scene_there_is_no_int8(student: Path, tmp_path: Path) -> None:
    said: list[str] = []
    export_scene(student, tmp_path / "scenes.zip", SceneConfig(), zipped=True, say=said.append)
    assert said[0] == "int8     left out: no scene to calibrate on"
    assert "words    left out: the student does not say" in said[1]
    bundle = Bundle.open(tmp_path / "scenes.zip")
    assert "per-pixel transformer" in bundle.read(bundle.manifest.card).decode()


def test_a_scene_of_other_sensors_is_refused(student: Path, scene: LabelledScene, tmp_path: Path) -> None:
    bare = replace(scene, scene=replace(scene.scene, modalities=scene.scene.modalities[1:]))
    with pytest.raises(UsageError, match="lacks hyperspectral; it has: lidar"):
        export_scene(student, tmp_path / "bundle", SceneConfig(), bare)
    assert not (tmp_path / "bundle").exists()


def test_a_student_of_levelled_tiles_answers_from_its_bundle_as_in_training(
    student: Path, scene: LabelledScene, tmp_path: Path
) -> None:
    """One tile as a raster on the device, levelled by itself, against the student on the scene that training levels."""
    level = SceneLevel(0.5, unit_length=True)
    run = replace(load_student(student), levels={"hyperspectral": level})
    write_student(run, tmp_path / "student")
    said: list[str] = []
    config = SceneConfig(budget=budget(tmp_path), tile=32)
    export_scene(tmp_path / "student", tmp_path / "bundle", config, scene, say=said.append)
    bundle = Bundle.open(tmp_path / "bundle")
    assert [m.level for m in bundle.for_scenes().modalities] == [level, None]
    assert bundle.preprocessing_id == bundle.pack("classes").preprocessing
    model = SceneModel(bundle, threads=1, runtime="float")
    tile = slice(40, 60)

    def read(rows: slice, columns: slice) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        sensors = scene.scene.modalities
        values = {m.name: m.values[tile][rows, columns] for m in sensors}
        return values, {m.name: m.valid[tile][rows, columns] for m in sensors}

    judge = Judge(run.class_vectors, run.temperature, 0.0)
    strips = list(classify_strips(read, 20, 20, model, judge))
    inputs = []
    for m in run.view(scene).scene.modalities:
        inputs += [
            torch.from_numpy(m.values[tile].transpose(2, 0, 1)[None].copy()),
            torch.from_numpy(m.valid[tile][None, None].astype(np.float32)),
        ]
    with torch.inference_mode():
        wanted = run.student(*inputs)[0].permute(1, 2, 0).numpy().reshape(400, -1)
    classes, confidence = judge(wanted)
    np.testing.assert_allclose(strips[0].confidence.ravel(), confidence, atol=1e-4)
    assert (strips[0].classes.ravel() == classes).mean() > 0.99
    raw = model.embed(*read(slice(0, 20), slice(0, 20))).reshape(400, -1)
    assert (raw * wanted).sum(axis=1).min() < 0.999  # levelling matters here


def test_words_come_with_a_bundle_whose_classes_were_bound_by_texts(
    student: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    texts = Bundle.open()
    run = load_student(student)
    vectors = torch.from_numpy(class_vectors(run.classes, Meaning(TextEncoder(texts), 384).embed, read_class_texts()))
    mapped = torch.nn.Linear(384, 16)
    with torch.no_grad():
        own = torch.nn.functional.normalize(mapped(vectors), dim=1).numpy()
    bound = replace(run, class_vectors=own, text_map=(mapped.weight.detach(), mapped.bias.detach()))
    write_student(bound, tmp_path / "student")
    said: list[str] = []
    export_scene(tmp_path / "student", tmp_path / "bundle", SceneConfig(), say=said.append)
    assert said == ["int8     left out: no scene to calibrate on"]
    bundle = Bundle.open(tmp_path / "bundle")
    entry = bundle.for_scenes().text
    assert entry is not None and entry.encoder == texts.text_encoder_id
    typed = typed_pack(bundle, bundle.pack("classes"), parse_labels("maize, red meadow"), texts)
    assert typed.embeddings.shape == (2, 16)
    assert not np.allclose(typed.embeddings[0], typed.embeddings[1])
    write_student(replace(bound, class_vectors=own[::-1].copy()), tmp_path / "student")  # of other classes
    export_scene(tmp_path / "student", tmp_path / "other", SceneConfig(), say=said.append)
    assert "words    left out: its classes were bound by codes, or by another text encoder" in said[-1]
    assert Bundle.open(tmp_path / "other").for_scenes().text is None
    with pytest.raises(LabelError, match="need text encoder"):  # the tiny bundle's would read them otherwise
        typed_pack(bundle, bundle.pack("classes"), parse_labels("red meadow"), Bundle.open(tiny_bundle))


def test_the_tests_own_bundle_is_made_by_one_command(scene_data: Path, tmp_path: Path) -> None:
    write_tiny_scene(tmp_path, config=StudentConfig(width=16, crop=12, batch=8, steps=80, timed=32, most_pixels=1200))
    for name in ("scene", "dsm", "classes"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), np.load(scene_data / f"{name}.npy"))
    bundle = Bundle.open(tmp_path / "bundle")
    truth = np.load(tmp_path / "classes.npy")
    field = {"hyperspectral": np.load(tmp_path / "scene.npy"), "lidar": np.load(tmp_path / "dsm.npy")}
    tile = {name: values.astype(np.float32) for name, values in field.items()}
    vectors = SceneModel(bundle, threads=1).embed(tile, {name: np.ones(truth.shape, bool) for name in tile})
    best = (vectors @ bundle.pack("classes").embeddings.T).argmax(axis=-1) + 1
    assert (best == truth)[truth > 0].mean() > 0.8
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 200_000
