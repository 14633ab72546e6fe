"""The user's own packs lie in one folder, are found before the bundle's, and are read without trust."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import BundleError, BundleFault, LabelError
from agriclip_edge.labels.pack import LabelPack
from agriclip_edge.labels.store import PackStore, find_pack, home, read_pack_file


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture
def own(bundle: Bundle) -> LabelPack:
    return replace(bundle.pack("fruit-colour"), name="my-fruit")


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() == tmp_path / "home"
    monkeypatch.delenv("AGRICLIP_EDGE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert home() == Path("/data/agriclip-edge")
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", "/ada")
    assert home() == Path("/ada/.local/share/agriclip-edge")


def test_add_list_read_remove(own: LabelPack, tmp_path: Path) -> None:
    store = PackStore()
    assert store.names() == []
    assert not (tmp_path / "home").exists()  # nothing is made before it is needed
    path = store.add(own)
    assert path == tmp_path / "home" / "packs" / "my-fruit.safetensors"
    assert path.read_bytes() == own.to_bytes()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert store.names() == ["my-fruit"]
    assert read_pack_file(path).labels == own.labels
    assert store.remove("my-fruit") == path
    assert store.names() == []
    with pytest.raises(LabelError, match="no pack of your own is named 'my-fruit'; yours are: none"):
        store.remove("my-fruit")


def test_nothing_is_overwritten_unasked(own: LabelPack) -> None:
    store = PackStore()
    path = store.add(own)
    other = replace(own, title="other")
    with pytest.raises(LabelError, match="there is a pack named 'my-fruit' already"):
        store.add(other)
    assert read_pack_file(path).title == own.title
    store.add(other, replace=True)
    assert read_pack_file(path).title == "other"


NAMES = (
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/x",
    "a\\b",
    "A",
    "é",
    "a b",
    "-a",
    ".a",
    "a\n",
    "a\0",
    "x" * 65,
    "con?",
    "~",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_could_leave_the_folder(name: str, own: LabelPack, tmp_path: Path) -> None:
    store = PackStore()
    for action in (lambda: store.path(name), lambda: store.remove(name), lambda: store.add(replace(own, name=name))):
        with pytest.raises(LabelError, match="accepted: up to 64 of a-z"):
            action()
    assert not (tmp_path / "home").exists()


def test_found_by_name_and_by_file(bundle: Bundle, own: LabelPack, tmp_path: Path) -> None:
    path = PackStore().add(own)
    assert find_pack(bundle, "my-fruit").labels == own.labels
    assert find_pack(bundle, str(path)).name == "my-fruit"
    assert find_pack(bundle, "field-cover").name == "field-cover"
    with pytest.raises(
        LabelError, match=r"no pack named 'none'; the bundle has: fruit-colour, field-cover; yours: my-fruit"
    ):
        find_pack(bundle, "none")
    with pytest.raises(LabelError, match="cannot read pack .*missing.safetensors: No such file"):
        find_pack(bundle, str(tmp_path / "missing.safetensors"))


def test_the_users_own_goes_first(bundle: Bundle, own: LabelPack) -> None:
    PackStore().add(replace(own, name="field-cover"))
    assert find_pack(bundle, "field-cover").labels == own.labels


def test_a_foreign_or_broken_pack_is_refused_wherever_it_lies(bundle: Bundle, own: LabelPack, tmp_path: Path) -> None:
    path = PackStore().add(replace(own, text_encoder="0" * 64))
    for name in ("my-fruit", str(path)):
        with pytest.raises(BundleError, match="was made with text encoder 000000000000…") as caught:
            find_pack(bundle, name)
        assert caught.value.fault is BundleFault.PACK_FOREIGN_TEXT_ENCODER
    path.write_bytes(own.to_bytes()[:-1])
    for name in ("my-fruit", str(path)):
        with pytest.raises(BundleError, match="not a safetensors file") as caught:
            find_pack(bundle, name)
        assert caught.value.fault is BundleFault.PACK_UNREADABLE
    (path.parent / "folder.safetensors").mkdir()
    with pytest.raises(LabelError, match="cannot read pack .*: Is a directory"):
        find_pack(bundle, str(path.parent / "folder.safetensors"))
