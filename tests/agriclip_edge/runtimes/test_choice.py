"""The fastest variant that can run here is measured once and remembered; what was passed over has its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agriclip_edge import load
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import RuntimeUnavailable, UsageError
from agriclip_edge.runtimes.choice import open_image_encoder, prepare_line
from agriclip_edge.runtimes.cpu import FLAGS, cpu_flags, cpu_name, int8_is_exact
from agriclip_edge.runtimes.cuda import has_nvidia_gpu

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


def test_int8_runs_only_where_its_sums_are_exact(made: Any) -> None:
    encoder = open_image_encoder(made({"name": "small", "precision": "int8"}, {"name": "one"}), None, 1)
    if int8_is_exact():
        assert encoder.passed_over == {}
    else:
        assert encoder.variant.name == "one"
        assert encoder.passed_over == {"small": "this CPU has no VNNI, without which INT8 sums overflow"}


def test_the_cpu_says_what_it_is() -> None:
    assert cpu_name()
    assert cpu_flags() <= set(FLAGS)


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
