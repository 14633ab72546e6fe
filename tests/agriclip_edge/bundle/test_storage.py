"""A bundle's bytes come from a folder or a zip, and never from outside of it."""

from __future__ import annotations

import os
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.bundle.storage import FolderStorage, Storage, ZipStorage, open_storage
from agriclip_edge.errors import BundleError, BundleFault

FILES = {"bundle.json": b"{}", "card.md": b"# card\n", "image/cpu.onnx": bytes(range(256)) * 8}


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda place: write_folder(place / "bundle", FILES),
    "zip, deflated": lambda place: write_zip(place / "bundle.zip", FILES),
    "zip, stored": lambda place: write_zip(place / "bundle.zip", FILES, zipfile.ZIP_STORED),
    "zip, with folders": lambda place: write_zip(place / "bundle.zip", {"image/": b"", **FILES}),
}


def fault_of(action: Callable[[], object]) -> BundleFault:
    with pytest.raises(BundleError) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.fault


@pytest.fixture(params=MAKERS.values(), ids=list(MAKERS))
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    found: Storage = open_storage(request.param(tmp_path))
    return found


def test_reads_what_is_there(storage: Storage) -> None:
    for name, data in FILES.items():
        assert storage.read(name, len(data)) == data
    assert storage.paths() == sorted(FILES)


def test_reads_no_more_than_asked(storage: Storage) -> None:
    assert fault_of(lambda: storage.read("image/cpu.onnx", 2047)) is BundleFault.SIZE_MISMATCH
    assert fault_of(lambda: storage.read("bundle.json", 1)) is BundleFault.TOO_LARGE


@pytest.mark.parametrize("name", ["other", "image", "image/cpu.onnx/x", "card.md2"])
def test_what_is_not_there(storage: Storage, name: str) -> None:
    assert fault_of(lambda: storage.read(name, 9)) is BundleFault.FILE_MISSING


def test_nothing_to_open(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "missing", tmp_path / "circle", tmp_path / "pipe", Path("/dev/null"), Path("x" * 5000)):
        assert fault_of(lambda path=path: open_storage(path)) is BundleFault.NOT_FOUND
    (tmp_path / "text").write_text("no zip")
    (tmp_path / "empty").touch()
    for name in ("text", "empty"):
        assert fault_of(lambda name=name: open_storage(tmp_path / name)) is BundleFault.NOT_A_BUNDLE


def test_links_in_a_folder(tmp_path: Path) -> None:
    """A link inside is a file as any other; one that leads out, in circles or nowhere is none."""
    (tmp_path / "secret").write_text("secret")
    folder = write_folder(tmp_path / "bundle", FILES)
    (folder / "inside").symlink_to("card.md")
    (folder / "outside").symlink_to("../secret")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("..")
    (folder / "circle").symlink_to("circle")
    (folder / "nowhere").symlink_to("missing")
    storage = FolderStorage(folder)
    assert storage.read("inside", 99) == FILES["card.md"]
    for name in ("outside", "absolute", "up/secret"):
        assert fault_of(lambda name=name: storage.read(name, 9999)) is BundleFault.PATH_UNSAFE
    for name in ("circle", "nowhere"):
        assert fault_of(lambda name=name: storage.read(name, 9999)) is BundleFault.FILE_MISSING


def test_a_folder_reached_by_a_link(tmp_path: Path) -> None:
    write_folder(tmp_path / "real", FILES)
    (tmp_path / "link").symlink_to("real")
    assert open_storage(tmp_path / "link").read("card.md", 99) == FILES["card.md"]


def test_other_than_files_in_a_folder(tmp_path: Path, spawn: Callable[..., object], tiny_bundle: Path) -> None:
    """As a process of its own: opening a pipe without a writer would block for ever."""
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    (folder / "card.md").unlink()
    os.mkfifo(folder / "card.md")
    done = spawn("verify", folder)
    assert (done.code, done.lines) == (2, ["agriclip-edge: card.md is not a regular file [file-missing]"])


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "image/../../secret", "image\\cpu.onnx", "card.md\0"])
def test_paths_are_checked_before_the_disk_is_asked(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    storage = FolderStorage(write_folder(tmp_path / "bundle", FILES))
    assert fault_of(lambda: storage.read(path, 99)) is BundleFault.PATH_UNSAFE


def test_a_zip_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "bundle.zip", FILES)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    ZipStorage(path).read("card.md", 99)
    assert list((tmp_path / "work").iterdir()) == []


@given(data=st.data())
def test_mutated_zips(
    data: st.DataObject, mutated: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A broken zip gives the listed bytes or a BundleError, and never more than was asked for."""
    folder = tmp_path_factory.getbasetemp() / "zips"
    folder.mkdir(exist_ok=True)
    path = write_zip(folder / "bundle.zip", FILES)
    path.write_bytes(mutated(data, path.read_bytes()))
    start = time.monotonic()
    try:
        storage = ZipStorage(path)
        for name in storage.paths():
            assert len(storage.read(name, 4096)) <= 4097
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
    assert time.monotonic() - start < 5


FIELDS = st.sampled_from([b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"])


@given(header=FIELDS, offset=st.integers(4, 45), value=st.integers(0, 2**32 - 1), width=st.sampled_from("BHI"))
def test_lying_zip_headers(
    header: bytes, offset: int, value: int, width: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any number in any field of a zip's headers: sizes, offsets, flags, methods, counts."""
    folder = tmp_path_factory.getbasetemp() / "lies"
    folder.mkdir(exist_ok=True)
    path = write_zip(folder / "bundle.zip", FILES)
    data = bytearray(path.read_bytes())
    place = data.index(header) + offset
    lie = struct.pack(f"<{width}", value % 2 ** (8 * struct.calcsize(width)))
    data[place : place + len(lie)] = lie
    path.write_bytes(data)
    try:
        storage = ZipStorage(path)
        for name in storage.paths():
            assert len(storage.read(name, 4096)) <= 4097
    except BundleError as error:
        assert len(str(error).splitlines()) == 1
