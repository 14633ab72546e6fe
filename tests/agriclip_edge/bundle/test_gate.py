"""The gate on a device, on real photos: sound variants pass, broken ones are refused by the figure that fails."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agriclip_edge.bundle.gate import judge_variants
from agriclip_edge.bundle.limits import LIMITS, limits_of
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import BundleError, UsageError
from agriclip_edge.imaging.prepared import prepare
from agriclip_edge.runtimes.cpu import features, why_not

HALF_RANGE = 127.5  # that the tiny encoder's photos are divided by
Make = Callable[..., Path]


@pytest.fixture
def made(tiny_bundle: Path, tmp_path: Path) -> Make:
    """Writes the tiny bundle with more variants: the real graph, its colours divided by something else than 127.5."""

    def write(*variants: dict[str, Any], reference: bool = True) -> Path:
        folder = tmp_path / "bundle"
        shutil.copytree(tiny_bundle, folder)
        manifest = json.loads((folder / "bundle.json").read_bytes())
        real = manifest["image"][0]
        graph = (folder / real["file"]).read_bytes()
        assert graph.count(struct.pack("<f", HALF_RANGE)) == 1
        if not reference:
            manifest["image"] = []
        for variant in variants:
            divided_by = variant.pop("divided_by", HALF_RANGE)
            data = graph.replace(struct.pack("<f", HALF_RANGE), struct.pack("<f", divided_by))
            path = f"image/{variant['name']}.onnx"
            (folder / path).write_bytes(data)
            manifest["image"].append({**real, "file": path, **variant})
            digest = hashlib.sha256(data).hexdigest()
            manifest["files"].append({"path": path, "size": len(data), "sha256": digest})
        (folder / "bundle.json").write_text(json.dumps(manifest))
        return folder

    return write


@pytest.fixture(scope="module")
def squares(photos: dict[str, Path]) -> list[np.ndarray]:
    return [prepare(path, 32).square for path in photos.values()]


def test_a_variant_that_says_the_same_passes(made: Make, squares: list[np.ndarray]) -> None:
    bundle = Bundle.open(made({"name": "near", "precision": "fp16-weights", "divided_by": 127.6}))
    report = judge_variants(bundle, squares, 1, bundle.pack("field-cover"))
    (verdict,) = report.verdicts
    assert (report.reference, report.photos, report.not_run, report.accuracy) == ("fp32", len(squares), {}, None)
    assert (verdict.variant, verdict.refused, verdict.agreement) == ("near", (), 1.0)
    assert 0.99999 < verdict.least_cosine <= verdict.p1_cosine <= verdict.mean_cosine < 1


def test_a_broken_variant_is_refused_by_its_figures(made: Make, squares: list[np.ndarray]) -> None:
    """A wrong standard deviation, the commonest mistake of an export."""
    bundle = Bundle.open(made({"name": "wrong", "precision": "fp16-weights", "divided_by": 58.0}))
    (verdict,) = judge_variants(bundle, squares, 1).verdicts
    assert [reason.split()[0] for reason in verdict.refused] == ["mean_cosine", "p1_cosine"]
    assert f"mean_cosine is {verdict.mean_cosine:.4f}; accepted: at least 0.99999" in verdict.refused
    assert verdict.agreement is None


def test_the_manifest_says_how_far_is_too_far(made: Make, squares: list[np.ndarray]) -> None:
    near = {"precision": "fp16-weights", "divided_by": 120.0}
    limits = {"mean_cosine": 0.9, "p1_cosine": 0.9}
    bundle = Bundle.open(made({"name": "strict", **near}, {"name": "lenient", **near, "limits": limits}))
    strict, lenient = judge_variants(bundle, squares, 1).verdicts
    assert strict.mean_cosine == lenient.mean_cosine
    assert strict.refused
    assert lenient.refused == ()


def test_right_answers_that_are_lost_are_refused(made: Make) -> None:
    lenient = {"mean_cosine": -1.0, "p1_cosine": -1.0, "drop_task": 1.0}
    bundle = Bundle.open(made({"name": "blind", "divided_by": 1e6, "limits": lenient}))
    pack = bundle.pack("field-cover")
    rows = {label.text: row for row, label in enumerate(pack.labels)}
    colours = {"green leaf": (30, 190, 40), "brown soil": (110, 70, 38), "blue water": (20, 60, 230)}
    named = [(name, Image.new("RGB", (40, 40), rgb)) for name, rgb in colours.items() for _ in range(6)]
    report = judge_variants(
        bundle, [prepare(photo, 32).square for _, photo in named], 1, pack, [rows[name] for name, _ in named]
    )
    (verdict,) = report.verdicts
    assert report.accuracy == 1.0
    assert verdict.accuracy <= 1 / 3  # all photos look the same to it
    (reason,) = verdict.refused
    assert reason.startswith("accuracy drops by ")
    assert reason.endswith(" points; accepted: at most 1.0")


def test_one_photo_of_few_may_change_by_chance(made: Make) -> None:
    lenient = {"mean_cosine": -1.0, "p1_cosine": -1.0, "drop_task": 1.0}
    bundle = Bundle.open(made({"name": "blind", "divided_by": 1e6, "limits": lenient}))
    pack = bundle.pack("field-cover")
    row = [label.text for label in pack.labels].index("blue water")
    blue = prepare(Image.new("RGB", (40, 40), (20, 60, 230)), 32).square
    (verdict,) = judge_variants(bundle, [blue], 1, pack, [row]).verdicts
    assert (verdict.accuracy, verdict.refused) == (0.0, ())


def test_a_variant_without_vectors_is_refused_and_the_others_judged(made: Make, squares: list[np.ndarray]) -> None:
    bundle = Bundle.open(made({"name": "nothing", "divided_by": 0.0}, {"name": "same"}))
    nothing, same = judge_variants(bundle, squares, 1).verdicts
    assert (nothing.variant, nothing.mean_cosine) == ("nothing", None)
    assert "image encoder nothing gives vectors of length nan" in nothing.refused[0]
    assert (same.variant, same.refused, same.mean_cosine) == ("same", (), pytest.approx(1))


def test_a_broken_reference_stops_it(made: Make, squares: list[np.ndarray]) -> None:
    bundle = Bundle.open(made({"name": "nothing", "divided_by": 0.0}, reference=False))
    with pytest.raises(BundleError, match="image encoder nothing gives vectors of length nan"):
        judge_variants(bundle, squares, 1)


def test_what_cannot_run_here_is_said(made: Make, squares: list[np.ndarray]) -> None:
    bundle = Bundle.open(made({"name": "odd", "runtime": "abacus"}, {"name": "small", "precision": "int8"}))
    report = judge_variants(bundle, squares, 1)
    assert report.not_run["odd"] == "runtime 'abacus' is unknown to this version"
    reason = why_not("int8", "x86_64", features())
    assert "small" in {verdict.variant for verdict in report.verdicts} or report.not_run["small"] == reason


def test_without_photos_or_reference_there_is_nothing_to_judge(made: Make, squares: list[np.ndarray]) -> None:
    folder = made({"name": "trt", "runtime": "tensorrt", "precision": "fp16"})
    with pytest.raises(UsageError, match="no photo could be used"):
        judge_variants(Bundle.open(folder), [], 1)
    shutil.rmtree(folder)
    bundle = Bundle.open(made({"name": "odd", "runtime": "abacus"}, reference=False))
    with pytest.raises(UsageError, match="has no float32 variant that runs here"):
        judge_variants(bundle, squares, 1)


@pytest.mark.parametrize(
    ("runtime", "precision", "kind"),
    [
        ("onnxruntime", "int8", "int8"),
        ("onnxruntime", "int8-s8s8", "int8"),
        ("openvino", "bf16", "bf16"),
        ("openvino", "fp32", "fp16-weights"),
        ("tensorrt", "fp16", "tensorrt-fp16"),
        ("tensorrt", "int8", "tensorrt-int8"),
        ("onnxruntime", "int3", "fp16-weights"),  # of a precision that nobody knows, everything is asked
    ],
)
def test_limits_by_kind(runtime: str, precision: str, kind: str, made: Make) -> None:
    bundle = Bundle.open(made({"name": "other", "runtime": runtime, "precision": precision}))
    assert limits_of(bundle.manifest.image[1]) == LIMITS[kind]
