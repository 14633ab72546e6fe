from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agriclip_edge.errors import LabelError, UsageError
from training.data import (
    DataError,
    find_copies,
    hold_out,
    judged_copies,
    read_collection,
    read_joined,
    read_photos,
    read_tar,
)
from training.sample import write_sample
from training.synthetic import add_photo, rename_tasks, write_collection


def edit_tasks(root: Path, change: Callable[[Any], None]) -> None:
    document = json.loads((root / "tasks.json").read_text())
    change(document)
    (root / "tasks.json").write_text(json.dumps(document))


def test_reads_tasks_labels_and_upright_photos(data: Path) -> None:
    collection = read_collection(data / "alive-mini")
    assert [task.name for task in collection.tasks] == ["fruit", "cover"]
    assert collection.labels == ("red apple", "green apple", "yellow banana", "brown soil", "blue water")
    assert collection.rows == ((0, 1, 2), (3, 4))
    photos = read_photos(collection, "train")
    assert len(photos) == 60
    assert photos.rgb[0].shape == (48, 64, 3) and photos.rgb[0].dtype == np.uint8
    assert photos.task.tolist() == [0] * 36 + [1] * 24
    named = [collection.labels[label] for label in photos.label]  # in the order of the files' names
    assert named == sorted(named[:36]) + sorted(named[36:])
    brightest = {label: rgb.mean(axis=(0, 1)).argmax() for label, rgb in zip(named, photos.rgb)}
    assert (brightest["red apple"], brightest["green apple"], brightest["blue water"]) == (0, 1, 2)


def test_a_label_of_two_tasks_has_one_number(collection_root: Path) -> None:
    def share(document: Any) -> None:
        document["tasks"][1]["classes"][0]["label"] = "red apple"

    edit_tasks(collection_root, share)
    assert read_collection(collection_root).rows == ((0, 1, 2), (0, 3))


def test_the_hash_names_the_photos(tmp_path: Path) -> None:
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_collection(tmp_path / name, seed)
        hashes.append(read_photos(read_collection(tmp_path / name), "val").sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "tasks.json"),
        ('{"name": "x", "tasks": []}', "at least one"),
        ('{"name": "x", "tasks": [{"task": "y"}]}', "missing required field"),
    ],
)
def test_refuses_a_broken_list_of_tasks(collection_root: Path, content: str | None, message: str) -> None:
    path = collection_root / "tasks.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_collection(collection_root)


def test_refuses_labels_that_nobody_could_choose_from(collection_root: Path) -> None:
    def repeat(document: Any) -> None:
        document["tasks"][0]["classes"][1]["label"] = "Red apple"

    edit_tasks(collection_root, repeat)
    with pytest.raises(LabelError, match="twice"):
        read_collection(collection_root)


def test_refuses_labels_that_are_paths(collection_root: Path) -> None:
    def climb(document: Any) -> None:
        document["tasks"][0]["classes"][1]["label"] = "../apple"

    edit_tasks(collection_root, climb)
    with pytest.raises(DataError, match="accepted: words"):
        read_collection(collection_root)


def test_refuses_other_numbers_of_photos_than_were_said(collection_root: Path) -> None:
    def claim(document: Any) -> None:
        document["tasks"][0]["classes"][1]["train"] = 13

    edit_tasks(collection_root, claim)
    with pytest.raises(DataError, match=r"12 train photos of 'green_apple'; tasks\.json says 13"):
        read_photos(read_collection(collection_root), "train")


def test_refuses_a_class_that_was_not_named(collection_root: Path) -> None:
    with tarfile.open(collection_root / "cover.tar", "a:") as archive:
        add_photo(archive, "train", "grey rock", 1, b"?")
    with pytest.raises(DataError, match="'grey_rock'"):
        read_photos(read_collection(collection_root), "train")


def test_refuses_a_photo_that_cannot_be_decoded(collection_root: Path) -> None:
    def claim(document: Any) -> None:
        document["tasks"][1]["classes"][0]["train"] = 13

    edit_tasks(collection_root, claim)
    with tarfile.open(collection_root / "cover.tar", "a:") as archive:
        add_photo(archive, "train", "brown soil", 13, b"no picture")
    with pytest.raises(DataError, match=r"cover\.tar: a photo is not a picture"):
        read_photos(read_collection(collection_root), "train")


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "link", "deep"])
def test_refuses_a_broken_tar(collection_root: Path, damage: str) -> None:
    path = collection_root / "fruit.tar"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:7000])
    elif damage == "text":
        path.write_bytes(b"no tar" * 1000)
    else:
        with tarfile.open(path, "a:") as archive:
            info = tarfile.TarInfo("train/red_apple/099.jpg" if damage == "link" else "train/red_apple/a/b.jpg")
            if damage == "link":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info, io.BytesIO())
    with pytest.raises(DataError, match=r"fruit\.tar"):
        read_photos(read_collection(collection_root), "train")


def test_refuses_an_unknown_split(data: Path) -> None:
    with pytest.raises(DataError, match="accepted: train, val, query, support"):
        read_photos(read_collection(data / "alive-mini"), "test")


def test_holds_out_the_same_share_of_every_class(data: Path) -> None:
    photos = read_photos(read_collection(data / "alive-mini"), "train")
    kept, held = hold_out(photos, 0.25, seed=3)
    assert np.bincount(held.label).tolist() == [3] * 5 and np.bincount(kept.label).tolist() == [9] * 5
    again, _ = hold_out(photos, 0.25, seed=3)
    other, _ = hold_out(photos, 0.25, seed=4)
    assert again.sha256 == kept.sha256 != other.sha256
    seen = {rgb.tobytes() for rgb in kept.rgb}
    assert not any(rgb.tobytes() in seen for rgb in held.rgb)


def test_joined_collections_share_labels_and_keep_their_order(tmp_path: Path) -> None:
    write_collection(tmp_path / "first", seed=1)
    write_collection(tmp_path / "second", seed=2)
    rename_tasks(tmp_path / "second")
    collection, photos = read_joined(tmp_path, ("second", "first"), "val")
    single = [read_photos(read_collection(tmp_path / name), "val") for name in ("second", "first")]
    assert len(collection.tasks) == 4 and len(collection.labels) == 5  # the labels of both are the same five
    assert collection.rows[:2] == collection.rows[2:]
    assert len(photos) == sum(map(len, single))
    assert np.array_equal(photos.rgb[len(single[0])], single[1].rgb[0])
    assert photos.task.tolist() == [*single[0].task.tolist(), *(single[1].task + 2).tolist()]
    assert photos.sha256 not in {part.sha256 for part in single}


def test_training_photos_that_repeat_judged_ones_are_left_out(
    collection_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {split: [file for _, file in read_tar(collection_root / "cover.tar", split)] for split in ("train", "val")}
    known = [hashlib.sha256(file).hexdigest() for file in (files["train"][3], files["val"][0])]
    (tmp_path / "copies.txt").write_text("\n".join(["# as build-shards writes it", *known]), "ascii")
    whole = read_photos(read_collection(collection_root), "train")
    monkeypatch.setattr("training.data.COPIES", tmp_path / "copies.txt")
    said: list[str] = []
    kept = read_photos(read_collection(collection_root), "train", said.append)
    assert len(kept) == len(whole) - 1 and kept.sha256 != whole.sha256
    assert said == [
        "read train of fruit",
        "read train of cover",
        "alive-mini: training photos left out, as they nearly repeat judged ones: 1",
    ]
    every = read_joined(collection_root.parent, ["alive-mini"], "train", copies=True)[1]
    (copy,) = find_copies(collection_root.parent, ["alive-mini"])
    assert every.sha256 == whole.sha256 and copy == 36 + 3
    rest = [rgb for index, rgb in enumerate(every.rgb) if index != copy]
    assert all(np.array_equal(one, other) for one, other in zip(kept.rgb, rest, strict=True))
    assert len(read_photos(read_collection(collection_root), "val")) == 20  # what judges stays


def test_the_list_of_copies_holds_hashes_alone() -> None:
    assert judged_copies() and all(re.fullmatch("[0-9a-f]{64}", entry) for entry in judged_copies())


def test_a_sample_is_a_collection_of_some_photos_of_each_class(collection_root: Path, tmp_path: Path) -> None:
    assert write_sample(tmp_path, tmp_path / "small", 3) == 5 * 3 * 4  # classes, photos, splits
    whole, small = (read_collection(root) for root in (collection_root, tmp_path / "small" / "alive-mini"))
    assert small.labels == whole.labels and [task.licence for task in small.tasks] == ["CC0-1.0"] * 2
    before = {rgb.tobytes() for rgb in read_photos(whole, "val").rgb}
    photos = read_photos(small, "val")
    assert len(photos) == 15 and {rgb.tobytes() for rgb in photos.rgb} < before
    assert write_sample(tmp_path, tmp_path / "small", 9) == 5 * (9 + 3 * 4)  # over the smaller one
    with pytest.raises(DataError, match="holds no collection"):
        write_sample(collection_root, tmp_path / "other", 3)
    with pytest.raises(UsageError, match="is the data itself"):
        write_sample(tmp_path, tmp_path, 3)


def test_two_tasks_of_one_name_are_not_joined(tmp_path: Path) -> None:
    write_collection(tmp_path / "first")
    write_collection(tmp_path / "second")
    with pytest.raises(DataError, match="two collections have a task fruit"):
        read_joined(tmp_path, ("first", "second"), "val")
