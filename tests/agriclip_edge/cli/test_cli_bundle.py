"""`info`, `verify` and `doctor` say what a bundle and a machine have."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agriclip_edge

Cli = Callable[..., Any]


def test_info(cli: Cli, tiny_bundle: Path) -> None:
    facts = cli("info", "--json").json
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    assert (facts["name"], facts["version"], facts["description"]) == ("agriclip-tiny", "1", manifest["description"])
    assert facts["sha256"] == hashlib.sha256((tiny_bundle / "bundle.json").read_bytes()).hexdigest()
    assert facts["bytes"] == sum(entry["size"] for entry in manifest["files"])
    assert (facts["embedding_dim"], facts["input_size"]) == (16, 32)
    assert facts["image"]["fp32"]["bytes"] == (tiny_bundle / "image" / "encoder.onnx").stat().st_size
    assert facts["packs"]["field-cover"] == {"title": "what covers a field", "labels": 5}
    assert facts["licences"] == {"everything in this bundle": "Apache-2.0"}
    text = cli("info").text
    assert text.startswith("agriclip-tiny 1: tells colours apart")
    for fact in (facts["sha256"], facts["path"], "32×32 pixels to 16 values", "2 with 8 labels", "Apache-2.0"):
        assert fact in text


def test_info_of_the_shipped_bundle(cli: Cli, default_bundle: Path) -> None:
    facts = cli("info", "--bundle", default_bundle, "--json").json
    assert facts["embedding_dim"] == 768
    assert len(facts["packs"]) == 39


def test_verify(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("verify")
    assert (done.code, done.lines) == (0, [])
    assert [line.split()[0] for line in done.text.splitlines()] == ["manifest", "files", "image", "text", "packs"]
    assert cli("verify", tiny_bundle).out == done.out
    assert cli("verify", "--bundle", tiny_bundle).out == done.out
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_bundle)
    assert cli("verify", archive).out == done.out


def test_verify_of_a_broken_bundle(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "card.md").write_text("another card")
    done = cli("verify", tmp_path / "bundle")
    assert (done.code, done.lines) == (2, ["agriclip-edge: card.md has 12 bytes; bundle.json says 390 [size-mismatch]"])
    assert [line.split()[0] for line in done.text.splitlines()] == ["manifest"]


def test_two_bundles_at_once(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("verify", tiny_bundle, "--bundle", tmp_path)
    assert (done.code, done.lines) == (
        2,
        ["agriclip-edge: a bundle as argument and another as --bundle; accepted: one"],
    )


def test_doctor(cli: Cli, default_bundle: Path, tmp_path: Path) -> None:
    facts = cli("doctor", "--json").json
    assert facts["healthy"]
    assert facts["versions"]["python"].startswith("3.")
    assert facts["versions"]["agriclip-edge"] in (agriclip_edge.__version__, "not installed")
    assert facts["runtimes"]["onnxruntime"][0] == facts["versions"]["onnxruntime"]
    assert "CPU" in facts["runtimes"]["onnxruntime"]
    assert set(facts["bundle"]) == {"manifest", "files", "image", "text", "facts", "reference", "packs"}
    assert facts["disk"]["own packs"] == str(tmp_path / "home" / "packs")
    assert facts["machine"]["cores"] >= 1
    heif = importlib.util.find_spec("pillow_heif") is not None
    line = 'photos in HEIC (iPhone) cannot be read: pip install "agriclip-edge[heif]"'
    assert (line in facts["missing"]) != heif
    done = cli("doctor")
    assert (done.code, done.lines) == (0, [])
    for section in ("versions", "machine", "runtimes", "accelerators", "formats", "disk", "bundle"):
        assert f"\n{section}\n" in f"\n{done.text}"
    assert (line in done.text) != heif
    assert not (tmp_path / "home").exists()  # it looks, and makes nothing
