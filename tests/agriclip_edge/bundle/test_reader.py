"""Every byte that leaves an open bundle has been held against its manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import BundleError, BundleFault, LabelError
from agriclip_edge.imaging.preprocess import preprocessing_id


@pytest.fixture(scope="module")
def zipped(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "tiny.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(tiny_bundle.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(tiny_bundle).as_posix())
    return path


@pytest.fixture(params=["folder", "zip"])
def place(request: pytest.FixtureRequest, tiny_bundle: Path, zipped: Path) -> Path:
    return tiny_bundle if request.param == "folder" else zipped


def test_opens_a_folder_and_a_zip_alike(place: Path, tiny_bundle: Path) -> None:
    bundle = Bundle.open(place)
    assert bundle.manifest == Bundle.open(str(tiny_bundle)).manifest
    assert bundle.sha256 == hashlib.sha256((tiny_bundle / "bundle.json").read_bytes()).hexdigest()
    for entry in bundle.manifest.files:
        assert bundle.read(entry.path) == (tiny_bundle / entry.path).read_bytes()
    assert bundle.unlisted() == []


def test_many_threads_read_one_bundle(place: Path, tiny_bundle: Path) -> None:
    bundle = Bundle.open(place)
    paths = [entry.path for entry in bundle.manifest.files] * 30
    with ThreadPoolExecutor(8) as pool:
        for path, data in zip(paths, pool.map(bundle.read, paths)):
            assert data == (tiny_bundle / path).read_bytes()


def test_text_encoder_id_is_the_documented_hash(tiny_bundle: Path) -> None:
    manifest = json.loads((tiny_bundle / "bundle.json").read_text())
    sha256 = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    text = manifest["text"]
    lines = "\n".join([sha256[text["file"]], sha256[text["vocabulary"]], str(text["max_tokens"])])
    bundle = Bundle.open(tiny_bundle)
    assert bundle.text_encoder_id == hashlib.sha256(lines.encode()).hexdigest()
    assert bundle.preprocessing_id == preprocessing_id(32)


def test_packs_of_the_bundle(place: Path) -> None:
    bundle = Bundle.open(place)
    for entry in bundle.manifest.packs:
        pack = bundle.pack(entry.name)
        assert (pack.name, len(pack.labels)) == (entry.name, entry.labels)
        assert pack.embeddings.shape == (entry.labels, 16)
        assert not pack.embeddings.flags.writeable
    with pytest.raises(LabelError, match="no pack named 'fruit'; the bundle has: fruit-colour, field-cover"):
        bundle.pack("fruit")


def test_a_file_that_is_not_listed_is_never_read(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    (folder / "extra.md").write_text("not listed")
    bundle = Bundle.open(folder)
    assert bundle.unlisted() == ["extra.md"]
    with pytest.raises(BundleError, match=r"extra\.md is not listed in bundle\.json") as caught:
        bundle.read("extra.md")
    assert caught.value.fault is BundleFault.FILE_MISSING


CHANGES: dict[str, tuple[Callable[[bytes], bytes], BundleFault]] = {
    "one bit": (lambda data: bytes([data[0] ^ 1]) + data[1:], BundleFault.HASH_MISMATCH),
    "one byte more": (lambda data: data + b"\0", BundleFault.SIZE_MISMATCH),
    "one byte less": (lambda data: data[:-1], BundleFault.SIZE_MISMATCH),
    "emptied": (lambda data: b"", BundleFault.SIZE_MISMATCH),
}


@pytest.mark.parametrize(("change", "fault"), CHANGES.values(), ids=list(CHANGES))
def test_every_file_is_held_against_its_size_and_hash(
    change: Callable[[bytes], bytes], fault: BundleFault, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    bundle = Bundle.open(folder)
    for entry in bundle.manifest.files:
        (folder / entry.path).write_bytes(change((tiny_bundle / entry.path).read_bytes()))
        with pytest.raises(BundleError, match=entry.path) as caught:
            bundle.read(entry.path)
        assert caught.value.fault is fault


def test_foreign_packs_are_refused(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    pack = bundle.pack("fruit-colour")
    bundle.accept(pack)
    wide = np.zeros((3, 24), np.float32)
    wide[:, 0] = 1
    for foreign, fault in (
        (replace(pack, text_encoder="0" * 64), BundleFault.PACK_FOREIGN_TEXT_ENCODER),
        (replace(pack, text_encoder=""), BundleFault.PACK_FOREIGN_TEXT_ENCODER),
        (replace(pack, preprocessing=preprocessing_id(33)), BundleFault.PACK_FOREIGN_PREPROCESSING),
        (replace(pack, embeddings=wide), BundleFault.PACK_SHAPE),
    ):
        with pytest.raises(BundleError, match="pack fruit-colour") as caught:
            bundle.accept(foreign)
        assert caught.value.fault is fault


def test_a_path_is_asked_for_in_every_form(tiny_bundle: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a bundle, é [1]"
    shutil.copytree(tiny_bundle, odd)
    for path in (odd, str(odd)):
        assert Bundle.open(path).manifest.name == "agriclip-tiny"
    with pytest.raises(BundleError, match="no bundle at .*missing; accepted: a bundle's folder or zip file") as caught:
        Bundle.open(tmp_path / "missing")
    assert caught.value.fault is BundleFault.NOT_FOUND
    with pytest.raises(BundleError, match="holds no bundle.json") as caught:
        Bundle.open(tmp_path)
    assert caught.value.fault is BundleFault.NOT_A_BUNDLE
