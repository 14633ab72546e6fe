"""`verify` goes through a whole bundle and says what is right, until something is not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import BundleError, BundleFault


def test_a_whole_bundle(tiny_bundle: Path) -> None:
    sha256 = hashlib.sha256((tiny_bundle / "bundle.json").read_bytes()).hexdigest()
    assert list(verify_bundle(tiny_bundle)) == [
        f"manifest  agriclip-tiny 1, sha256 {sha256}",
        "files     7 of 7 have the size and sha256 of the manifest",
        "image     fp32 runs and gives unit vectors of 16 values",
        "text      runs and gives unit vectors of 16 values",
        "packs     2 belong to this bundle's text encoder and preprocessing",
    ]


def test_the_shipped_bundle(default_bundle: Path) -> None:
    parts = [line.split()[0] for line in verify_bundle()]
    assert parts == ["manifest", "files", "image", "image", "image", "image", "text", "facts", "reference", "packs"]


@pytest.fixture
def copied(tiny_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    return folder


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "bundle.json").read_bytes())
    edit(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))


def fault_of(folder: Path, words: str) -> BundleFault:
    with pytest.raises(BundleError, match=words) as caught:
        list(verify_bundle(folder))
    return caught.value.fault


@pytest.mark.parametrize(
    "name", ["LICENSES/Apache-2.0.txt", "card.md", "image/encoder.onnx", "packs/fruit-colour.safetensors"]
)
def test_every_file_is_looked_at(name: str, copied: Path) -> None:
    (copied / name).write_bytes((copied / name).read_bytes()[:-1])
    assert fault_of(copied, name) is BundleFault.SIZE_MISMATCH


def test_a_file_that_nobody_lists(copied: Path) -> None:
    (copied / "image" / "other.onnx").touch()
    assert (
        fault_of(copied, "1 files are not in bundle.json, the first is 'image/other.onnx'")
        is BundleFault.MANIFEST_INVALID
    )


def test_a_wrong_number_of_labels(copied: Path) -> None:
    rewrite(copied, lambda manifest: manifest["packs"][0].update(labels=4))
    assert fault_of(copied, "pack fruit-colour holds 3 labels; bundle.json says 4") is BundleFault.PACK_INVALID


def test_a_bundle_without_text_encoder(copied: Path) -> None:
    """Its packs were made by another text encoder, so none is accepted: labels cannot be compared."""

    def without_text(manifest: dict[str, Any]) -> None:
        manifest["text"] = None

    rewrite(copied, without_text)
    assert fault_of(copied, "text encoder") is BundleFault.PACK_FOREIGN_TEXT_ENCODER
