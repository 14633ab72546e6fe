"""A bundle loses the image encoders that a device does not need, and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agriclip_edge import load
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import UsageError
from export.slim import slim, write_family
from export.writer import write_bundle


@pytest.fixture
def full(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """The tiny bundle with a variant for each kind of device; two share a file."""
    source = Bundle.open(tiny_bundle)
    files = {entry.path: source.read(entry.path) for entry in source.manifest.files}
    first = source.manifest.image[0]
    kinds = [
        ("cpu-int8", "onnxruntime", "int8", "image/int8.onnx"),
        ("cpu-float", "onnxruntime", "fp32", first.file),
        ("openvino-int8", "openvino", "int8", "image/int8.onnx"),
        ("tensorrt-fp16", "tensorrt", "fp16", "image/trt.onnx"),
    ]
    image = [msgspec.structs.replace(first, name=n, runtime=r, precision=p, file=f) for n, r, p, f in kinds]
    more = dict.fromkeys(("image/int8.onnx", "image/trt.onnx"), files[first.file])
    write_bundle(tmp_path / "full", msgspec.structs.replace(source.manifest, image=image), {**files, **more})
    return Bundle.open(tmp_path / "full")


def test_only_one_runtime_stays_and_the_rest_is_as_it_was(full: Bundle, tmp_path: Path) -> None:
    slim(full, ["tensorrt"], tmp_path / "slim")
    found = Bundle.open(tmp_path / "slim")
    assert [entry.name for entry in found.manifest.image] == ["tensorrt-fp16"]
    before = {entry.path: entry.sha256 for entry in full.manifest.files}
    after = {entry.path: entry.sha256 for entry in found.manifest.files}
    assert set(before) - set(after) == {"image/int8.onnx", "image/encoder.onnx"}
    assert after.items() <= before.items()
    assert found.manifest.sources["slimmed from"] == full.sha256


def test_a_shared_file_stays_while_one_needs_it(full: Bundle, tmp_path: Path) -> None:
    slim(full, ["openvino", "cpu-float"], tmp_path / "slim.zip", zipped=True)
    paths = {entry.path for entry in Bundle.open(tmp_path / "slim.zip").manifest.files}
    assert {"image/int8.onnx", "image/encoder.onnx"} <= paths and "image/trt.onnx" not in paths
    photo = Path(__file__).resolve().parents[1] / "data" / "photos" / "duck.jpg"
    assert load(tmp_path / "slim.zip", runtime="onnxruntime").classify(photo).best is not None


def test_the_same_bundle_gives_the_same_bytes(full: Bundle, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        slim(full, ["onnxruntime"], tmp_path / name, zipped=True)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize(("only", "said"), [(["coral"], "no 'coral'"), ([], "nothing to keep is named")])
def test_what_is_not_there_is_named_with_what_is(full: Bundle, tmp_path: Path, only: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=f"{said}; the bundle agriclip-tiny has: onnxruntime, cpu-int8, cpu-float"):
        slim(full, only, tmp_path / "slim")
    assert not (tmp_path / "slim").exists()


def test_a_family_has_a_bundle_for_each_device_that_there_are_encoders_for(full: Bundle, tmp_path: Path) -> None:
    lines = list(write_family(full, tmp_path / "dist"))
    assert [line.split()[0] for line in lines] == ["cpu", "arm", "openvino", "jetson"]
    assert lines[1] == "arm  left out: agriclip-tiny has no arm-int8"
    names = {path.name for path in (tmp_path / "dist").iterdir()}
    assert names == {f"agriclip-tiny-1-{device}.zip" for device in ("cpu", "openvino", "jetson")}
    jetson = Bundle.open(tmp_path / "dist" / "agriclip-tiny-1-jetson.zip")
    assert [entry.name for entry in jetson.manifest.image] == ["cpu-float", "tensorrt-fp16"]
