from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from agriclip_edge.bundle.manifest import Manifest, parse_manifest
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.bundle.verify import verify_bundle
from agriclip_edge.errors import BundleError, UsageError
from export.tiny import write_tiny
from export.writer import write_bundle


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return parse_manifest((tiny_bundle / "bundle.json").read_bytes())


@pytest.fixture
def files(tiny_bundle: Path, manifest: Manifest) -> dict[str, bytes]:
    return {entry.path: (tiny_bundle / entry.path).read_bytes() for entry in manifest.files}


def test_a_zip_holds_the_same_bundle_and_has_the_same_bytes_each_time(tmp_path: Path, tiny_bundle: Path) -> None:
    write_tiny(tmp_path / "a.zip", zipped=True)
    write_tiny(tmp_path / "b.zip", zipped=True)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert list(verify_bundle(tmp_path / "a.zip"))
    assert Bundle.open(tmp_path / "a.zip").sha256 == Bundle.open(tiny_bundle).sha256


def test_a_bundle_takes_the_place_of_the_former_one(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes]
) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, manifest, {**files, "more.txt": b"of the first"})
    write_bundle(target, msgspec.structs.replace(manifest, version="2"), files)
    assert Bundle.open(target).manifest.version == "2" and not (target / "more.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("zipped", [False, True])
def test_what_does_not_open_again_is_not_written(
    tmp_path: Path, manifest: Manifest, files: dict[str, bytes], zipped: bool
) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, manifest, files, zipped=zipped)
    before = Bundle.open(target).sha256
    with pytest.raises(BundleError):
        write_bundle(target, manifest, {**files, "text/encoder.onnx": b"no graph"}, zipped=zipped)
    with pytest.raises(BundleError, match="does not list"):
        missing = {path: data for path, data in files.items() if path != "card.md"}
        write_bundle(target, manifest, missing, zipped=zipped)
    assert Bundle.open(target).sha256 == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("three years")
    for target in (tmp_path / "work", tmp_path / "work" / "thesis.txt"):
        with pytest.raises(UsageError, match="is no bundle"):
            write_tiny(target)
    with pytest.raises(UsageError, match="is a folder"):
        write_tiny(tmp_path / "work", zipped=True)
    with pytest.raises(UsageError, match="is no zip"):
        write_tiny(tmp_path / "work" / "thesis.txt", zipped=True)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "three years"


def test_the_manifest_lists_size_and_hash_of_every_file(tiny_bundle: Path) -> None:
    listed = {entry["path"]: entry["size"] for entry in json.loads((tiny_bundle / "bundle.json").read_text())["files"]}
    found = {
        str(path.relative_to(tiny_bundle)): path.stat().st_size for path in tiny_bundle.rglob("*") if path.is_file()
    }
    del found["bundle.json"]
    assert listed == found
