"""A scene encoder on a device: whole and with a sensor missing, and what a broken bundle says."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agriclip_edge import Bundle, BundleError, BundleFault
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import UsageError
from agriclip_edge.scene.classify import NONE, judge_of
from agriclip_edge.scene.model import SceneModel

Field = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def field(scene_data: Path) -> Field:
    names = {"hyperspectral": "scene", "lidar": "dsm"}
    return {name: np.load(scene_data / f"{file}.npy").astype(np.float32) for name, file in names.items()}


@pytest.fixture(scope="module")
def model(scene_data: Path) -> SceneModel:
    return SceneModel(Bundle.open(scene_data / "bundle"), threads=1, runtime="float")


def everywhere(field: Field) -> Field:
    return {name: np.ones(values.shape[:2], bool) for name, values in field.items()}


def right(model: SceneModel, field: Field, truth: np.ndarray) -> float:
    """Share of labelled pixels whose best class is the right one."""
    vectors = model.embed(field, everywhere(field))
    best = (vectors @ model.bundle.pack("classes").embeddings.T).argmax(axis=-1) + 1
    return float((best == truth)[truth > 0].mean())


def test_a_field_that_taught_nothing_is_classified(model: SceneModel, field: Field, scene_data: Path) -> None:
    truth = np.load(scene_data / "classes.npy")
    assert right(model, field, truth) > 0.95
    alone = right(model, {"hyperspectral": field["hyperspectral"]}, truth)
    assert 0.6 < alone < right(model, field, truth)  # maize and alfalfa differ in height alone


def test_int8_answers_like_float(model: SceneModel, field: Field, scene_data: Path) -> None:
    bundle = Bundle.open(scene_data / "bundle")
    int8 = SceneModel(bundle, threads=1, runtime="int8") if len(bundle.for_scenes().variants) > 1 else model
    vectors = [each.embed(field, everywhere(field)) for each in (model, int8)]
    assert (vectors[0] * vectors[1]).sum(axis=-1).mean() > 0.99


def test_a_missing_sensor_is_one_without_data(model: SceneModel, field: Field) -> None:
    spectra = {"hyperspectral": field["hyperspectral"]}
    alone = model.embed(spectra, everywhere(spectra))
    masks = everywhere(field)
    masks["lidar"][:] = False
    np.testing.assert_array_equal(alone, model.embed(field, masks))
    assert not np.allclose(alone, model.embed(field, everywhere(field)))


def test_what_lies_where_there_is_no_data_is_never_looked_at(model: SceneModel, field: Field) -> None:
    masks = everywhere(field)
    masks["hyperspectral"][4:7, 5:9] = False
    spoilt = {name: values.copy() for name, values in field.items()}
    spoilt["hyperspectral"][4:7, 5:9] = np.nan
    np.testing.assert_array_equal(model.embed(field, masks), model.embed(spoilt, masks))


@pytest.mark.parametrize("height, width", [(3, 30), (17, 5)])
def test_any_size_from_the_margin_on(model: SceneModel, field: Field, height: int, width: int) -> None:
    part = {name: values[:height, :width] for name, values in field.items()}
    assert model.embed(part, everywhere(part)).shape == (height, width, model.bundle.manifest.embedding_dim)


def test_the_packs_own_limits_call_few_pixels_of_a_field_none_of_its_classes(model: SceneModel, field: Field) -> None:
    pack = model.bundle.pack("classes")
    judge = judge_of(pack, model.bundle.manifest)
    assert (judge.threshold, judge.unknown) == (pack.threshold, pack.unknown)
    vectors = model.embed(field, everywhere(field)).reshape(-1, model.bundle.manifest.embedding_dim)
    assert (judge(vectors)[0] == NONE).mean() < 0.2
    assert (judge_of(pack, model.bundle.manifest, 1.0)(vectors)[0] == NONE).all()


def test_wrong_inputs_are_one_line(model: SceneModel, field: Field, tiny_bundle: Path) -> None:
    masks = everywhere(field)
    with pytest.raises(UsageError, match="modality 'sar'; this bundle knows: hyperspectral, lidar"):
        model.embed({"sar": field["lidar"]}, {"sar": masks["lidar"]})
    with pytest.raises(UsageError, match="wants 16 channels"):
        model.embed({"hyperspectral": field["lidar"]}, {"hyperspectral": masks["lidar"]})
    with pytest.raises(UsageError, match="is for photos"):
        SceneModel(Bundle.open(tiny_bundle))
    with pytest.raises(UsageError, match="runtime 'abacus'; the bundle agriclip-tiny-scene has: onnxruntime"):
        SceneModel(model.bundle, runtime="abacus")


@pytest.fixture
def broken(scene_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the bundle whose scene record, preprocessing or graphs are others; hashes are right."""

    def make(graph: bytes | None = None, size: int | None = None, image: bool = False, **changes: Any) -> Path:
        folder = tmp_path / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scene_data / "bundle", folder)
        document = json.loads((folder / "bundle.json").read_bytes())
        document["scene"].update(changes)
        if size is not None:
            document["preprocessing"]["size"] = size
        for entry in document["files"]:
            if graph is not None and entry["path"].startswith("scene/"):
                (folder / entry["path"]).write_bytes(graph)
                entry |= {"size": len(graph), "sha256": hashlib.sha256(graph).hexdigest()}
        (folder / "bundle.json").write_text(json.dumps(document))
        return folder

    return make


def modalities(scene_data: Path, number: int, **changes: Any) -> list[dict[str, Any]]:
    document = json.loads((scene_data / "bundle" / "bundle.json").read_bytes())
    found: list[dict[str, Any]] = document["scene"]["modalities"]
    found[number] |= changes
    return found


def test_a_manifest_that_lies_is_refused_when_it_is_opened(broken: Callable[..., Path], scene_data: Path) -> None:
    def refused(message: str, **changes: Any) -> None:
        with pytest.raises(BundleError, match=message) as caught:
            Bundle.open(broken(**changes))
        assert caught.value.fault is BundleFault.MANIFEST_INVALID

    refused("receptive_field 4", receptive_field=4)
    refused("receptive_field 257", receptive_field=257)
    refused("tiles of 8 pixels and receptive_field 9", receptive_field=9, size=8)
    refused("no scene encoder", variants=[])
    refused("0 modalities", modalities=[])
    refused("ground_sampling -1", ground_sampling=-1)
    refused("0 channels", modalities=modalities(scene_data, 1, channels=0))
    refused("15 channels|16 wavelengths", modalities=modalities(scene_data, 0, channels=15))
    refused("wavelength -5;", modalities=modalities(scene_data, 1, wavelengths=[-5]))
    refused("alike", modalities=modalities(scene_data, 1, name="hyperspectral_valid"))
    refused("unit", modalities=modalities(scene_data, 1, unit="furlongs"))
    refused("tiles of [0-9,]+ values", size=2048)


def test_a_graph_that_is_not_the_manifests_is_refused(
    broken: Callable[..., Path], scene_data: Path, tiny_bundle: Path
) -> None:
    def refused(fault: BundleFault, bundle: Path) -> None:
        with pytest.raises(BundleError) as caught:
            list(verify_bundle(bundle))
        assert caught.value.fault is fault

    refused(BundleFault.GRAPH_MISMATCH, broken((tiny_bundle / "image" / "encoder.onnx").read_bytes()))
    refused(BundleFault.GRAPH_UNREADABLE, broken(b"no graph"))
    heights = modalities(scene_data, 1, channels=2)
    refused(BundleFault.GRAPH_MISMATCH, broken(modalities=heights))


def test_a_pack_of_other_channels_is_refused(broken: Callable[..., Path], scene_data: Path) -> None:
    shifted = modalities(scene_data, 0)
    shifted[0]["wavelengths"][0] += 5
    with pytest.raises(BundleError) as caught:
        Bundle.open(broken(modalities=shifted)).pack("classes")
    assert caught.value.fault is BundleFault.PACK_FOREIGN_PREPROCESSING


def test_verify_runs_every_scene_encoder(scene_data: Path) -> None:
    lines = list(verify_bundle(scene_data / "bundle"))
    assert any(line.startswith("scene     float runs and gives unit vectors") for line in lines)
