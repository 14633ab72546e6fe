"""The fastest variant that can run here is measured once and remembered; what was passed over has its reason."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from agriclip_edge import load
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import RuntimeUnavailable, UsageError
from agriclip_edge.runtimes import cuda, tensorrt_api
from agriclip_edge.runtimes.choice import open_image_encoder, prepare_line
from agriclip_edge.runtimes.cpu import features, why_not
from agriclip_edge.runtimes.cuda import has_nvidia_gpu
from agriclip_edge.runtimes.engines import EngineKey, EngineStore

Change = dict[str, Any]


@pytest.fixture
def made(tiny_bundle: Path, tmp_path: Path) -> Any:
    """Writes the tiny bundle with other variants: each the real one with some fields changed."""

    def write(*changes: Change) -> Bundle:
        folder = tmp_path / "bundle"
        shutil.copytree(tiny_bundle, folder)
        manifest = json.loads((folder / "bundle.json").read_bytes())
        real = manifest["image"][0]
        manifest["image"] = [{**real, **change} for change in changes]
        (folder / "bundle.json").write_text(json.dumps(manifest))
        return Bundle.open(folder)

    return write


def memory() -> Path:
    from agriclip_edge.files import home

    return home() / "choices.json"


def test_variants_are_measured_once_and_the_choice_is_remembered(made: Any) -> None:
    bundle = made({"name": "one"}, {"name": "two"})
    first = open_image_encoder(bundle, None, 1)
    known = json.loads(memory().read_bytes())
    (choice,) = known.values()
    assert choice["variant"] == first.variant.name
    assert set(choice["milliseconds"]) == {"one", "two"}
    other = {"one": "two", "two": "one"}[first.variant.name]
    memory().write_text(json.dumps({key: {"variant": other} for key in known}))
    assert open_image_encoder(bundle, None, 1).variant.name == other
    open_image_encoder(bundle, None, 2)  # other threads are another question
    assert len(json.loads(memory().read_bytes())) == 2


def test_one_variant_needs_no_measurement(made: Any) -> None:
    assert open_image_encoder(made({"name": "only"}), None, 1).variant.name == "only"
    assert not memory().exists()


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"a": 1}', b"\xff"])
def test_a_broken_memory_is_measured_again(made: Any, broken: bytes) -> None:
    memory().parent.mkdir(parents=True)
    memory().write_bytes(broken)
    bundle = made({"name": "one"}, {"name": "two"})
    chosen = open_image_encoder(bundle, None, 1).variant.name
    assert [choice["variant"] for choice in json.loads(memory().read_bytes()).values()] == [chosen]


def test_where_nothing_can_be_kept_the_first_variant_runs(made: Any, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    assert open_image_encoder(made({"name": "one"}, {"name": "two"}), None, 1).variant.name == "one"


def test_a_variant_can_be_asked_for_by_name_or_runtime(made: Any) -> None:
    bundle = made({"name": "one"}, {"name": "two"})
    assert load(bundle, runtime="two").variant == "two"
    assert open_image_encoder(bundle, "onnxruntime", 1).variant.name in ("one", "two")
    with pytest.raises(UsageError, match="runtime 'three'; the bundle agriclip-tiny has: onnxruntime, one, two"):
        load(bundle, runtime="three")


def test_what_cannot_run_is_passed_over_with_its_reason(made: Any) -> None:
    classifier = load(made({"name": "odd", "runtime": "abacus"}, {"name": "one"}))
    assert classifier.variant == "one"
    assert classifier.passed_over == {"odd": "runtime 'abacus' is unknown to this version"}
    with pytest.raises(RuntimeUnavailable, match=r"odd \(abacus\): runtime 'abacus' is unknown to this version"):
        load(classifier.bundle, runtime="odd")


@pytest.mark.parametrize("precision", ["int8", "int8-s8s8", "bf16"])
def test_a_precision_runs_only_where_the_cpu_has_it(made: Any, precision: str) -> None:
    reason = why_not(precision, platform.machine(), features())
    bundle = made({"name": "small", "precision": precision}, {"name": "one"})
    encoder = open_image_encoder(bundle, None, 1)
    assert encoder.passed_over == ({} if reason is None else {"small": reason})
    if reason is None:
        assert load(bundle, runtime="small").variant == "small"
        return
    assert encoder.variant.name == "one"
    with pytest.raises(RuntimeUnavailable) as refusal:
        load(bundle, runtime="small")
    assert str(refusal.value) == f"small (onnxruntime): {reason}"


PROGRAM = """
import json, sys
from agriclip_edge import load
from agriclip_edge.errors import RuntimeUnavailable
classifier = load(sys.argv[1])
print(json.dumps([classifier.variant, classifier.passed_over]))
try:
    load(sys.argv[1], runtime="openvino")
except RuntimeUnavailable as refusal:
    print(refusal)
"""
UNINSTALLED = "import sys; sys.modules['openvino'] = None"
BROKEN = "raise ImportError('libopenvino.so.2640: cannot open shared object file')"


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("sitecustomize.py", UNINSTALLED, 'not installed: pip install "agriclip-edge[openvino]"'),
        ("openvino.py", BROKEN, "OpenVINO does not load: libopenvino.so.2640: cannot open shared object file"),
    ],
    ids=["missing", "broken"],
)
def test_a_runtime_that_is_not_there_is_passed_over(
    made: Any, tmp_path: Path, file: str, text: str, reason: str
) -> None:
    bundle = made({"name": "ov", "runtime": "openvino"}, {"name": "one"})
    site = tmp_path / "site"
    site.mkdir()
    (site / file).write_text(text)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bundle.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    chosen, refusal = run.stdout.splitlines()
    assert json.loads(chosen) == ["one", {"ov": reason}]
    assert refusal == f"ov (openvino): {reason}"


def test_a_user_without_a_home_is_answered(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = made({"name": "one"}, {"name": "two"})
    for name in ("AGRICLIP_EDGE_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # Path.home() asks for this user's entry, and there is none
    assert open_image_encoder(bundle, None, 1).variant.name == "one"


@pytest.fixture
def gpu_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with TensorRT variants before the one for ONNX Runtime."""
    folder = tmp_path / "with gpu"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_bytes())
    cpu = manifest["image"][0]
    gpu = [{**cpu, "name": f"trt-{p}", "runtime": "tensorrt", "precision": p} for p in ("fp16", "int8")]
    manifest["image"] = [*gpu, cpu]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def test_onnx_runtime_answers_until_an_engine_exists(gpu_bundle: Path, photos: dict[str, Path]) -> None:
    classifier = load(gpu_bundle)
    answer = classifier.classify(photos["cow"])
    assert classifier.runtime == answer.runtime == "onnxruntime"
    assert answer.note == answer.to_record().get("note") == classifier.note
    if has_nvidia_gpu():  # TensorRT could have answered: the answer says why it did not
        assert answer.note is not None
        assert answer.note.startswith("ran on onnxruntime, since trt-fp16 (tensorrt): ")
    else:  # nothing was passed over
        assert answer.note is None


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine that says it is an Orin with TensorRT 10.3: stand-ins for NVIDIA's two modules, which need a GPU."""
    trace = tmp_path / "nvhost-gpu"
    trace.touch()
    monkeypatch.setattr(cuda, "_TRACES", (str(trace),))
    driver, trt = ModuleType("cuda.bindings.runtime"), ModuleType("tensorrt")
    driver.cudaGetDeviceCount = lambda: (0, 1)
    driver.cudaGetDeviceProperties = lambda number: (0, SimpleNamespace(name=b"Orin", major=8, minor=7))
    driver.cudaMemGetInfo = lambda: (0, 4 << 30, 8 << 30)
    trt.__version__ = "10.3.0"
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", driver)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    caches = (cuda._runtime, tensorrt_api.api)
    for kept in caches:
        kept.cache_clear()
    yield
    for kept in caches:
        kept.cache_clear()


def add_engine(bundle: Path, tensorrt: str = "tensorrt 10.3.0", capability: str = "8.7", graph: str = "") -> Path:
    data = (bundle / "image" / "encoder.onnx").read_bytes()
    key = EngineKey(graph or hashlib.sha256(data).hexdigest(), tensorrt, capability, "fp16", (1, 1, 16))
    return EngineStore().add(key, bytes(5000), device="another GPU", seconds=1.0)


ENGINES: dict[str, tuple[dict[str, str] | None, str]] = {
    "none": (None, "no engine is built for this bundle yet"),
    "another version": (
        {"tensorrt": "tensorrt 10.13.0"},
        "the engine was built by tensorrt 10.13.0 on compute capability 8.7 (another GPU); "
        "here is tensorrt 10.3.0 on 8.7",
    ),
    "another GPU": (
        {"capability": "8.9"},
        "the engine was built by tensorrt 10.3.0 on compute capability 8.9 (another GPU); "
        "here is tensorrt 10.3.0 on 8.7",
    ),
    "another bundle": ({"graph": "cd" * 32}, "belong to other bundles"),
}


@pytest.mark.parametrize(("engine", "words"), ENGINES.values(), ids=list(ENGINES))
def test_every_answer_says_why_its_gpu_does_not_give_it(
    engine: dict[str, str] | None, words: str, orin: None, gpu_bundle: Path, photos: dict[str, Path]
) -> None:
    if engine is not None:
        add_engine(gpu_bundle, **engine)
    classifier = load(gpu_bundle)
    answer = classifier.classify(photos["cow"])
    assert (classifier.runtime, answer.runtime) == ("onnxruntime", "onnxruntime")
    assert answer.note == answer.to_record()["note"] == classifier.note
    assert answer.note.startswith("ran on onnxruntime, since trt-fp16 (tensorrt): ")
    assert words in answer.note
    assert f"agriclip-edge prepare --bundle '{gpu_bundle}'" in answer.note
    assert set(classifier.passed_over) == {"trt-fp16", "trt-int8"}
    with pytest.raises(RuntimeUnavailable) as refusal:
        load(gpu_bundle, runtime="tensorrt")
    assert words in str(refusal.value)
    assert load(gpu_bundle, runtime="onnxruntime").note is None  # it was asked for


def test_a_damaged_engine_is_said_to_be_missing(orin: None, gpu_bundle: Path) -> None:
    path = add_engine(gpu_bundle)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    note = load(gpu_bundle).note
    assert note is not None
    assert f"the engine {path} is damaged: agriclip-edge prepare" in note


def test_every_way_to_ask_names_the_runtime(gpu_bundle: Path, photos: dict[str, Path], tmp_path: Path) -> None:
    classifier = load(gpu_bundle, runtime="onnxruntime")
    several = [photos["cow"], tmp_path / "missing.jpg"]
    for answers in (classifier.classify_batch(several), list(classifier.classify_many(several))):
        assert [answer.runtime for answer in answers] == ["onnxruntime", "onnxruntime"]
        assert [answer.error is None for answer in answers] == [True, False]
        assert [answer.note for answer in answers] == [None, None]


def test_a_runtime_that_was_named_runs_or_says_why_not(gpu_bundle: Path) -> None:
    with pytest.raises(RuntimeUnavailable) as refusal:
        load(gpu_bundle, runtime="tensorrt")
    message = str(refusal.value)
    assert message.startswith("trt-fp16 (tensorrt): ")
    assert "install" in message or "no CUDA device" in message or "agriclip-edge prepare --bundle" in message
    assert "\n" not in message


def test_a_bundle_for_tensorrt_alone_does_not_answer_from_elsewhere(gpu_bundle: Path) -> None:
    manifest = json.loads((gpu_bundle / "bundle.json").read_bytes())
    manifest["image"] = manifest["image"][:2]
    (gpu_bundle / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(RuntimeUnavailable, match=r"trt-fp16 \(tensorrt\): .*; trt-int8 \(tensorrt\): "):
        load(gpu_bundle)


def test_the_line_that_builds_an_engine_names_bundle_and_precision(gpu_bundle: Path) -> None:
    opened = Bundle.open(gpu_bundle)
    fp16, int8, _ = opened.manifest.image
    assert prepare_line(opened, fp16) == f"agriclip-edge prepare --bundle '{gpu_bundle}'"
    assert prepare_line(opened, int8) == f"agriclip-edge prepare --bundle '{gpu_bundle}' --precision int8"


def test_verify_checks_the_graphs_that_engines_are_built_from(gpu_bundle: Path) -> None:
    from agriclip_edge.bundle.verify import verify_bundle

    lines = list(verify_bundle(gpu_bundle))
    assert [line.split()[1] for line in lines if line.startswith("image")] == ["trt-fp16", "trt-int8", "fp32"]
