"""What each kind of source is read as."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from agriclip_edge.errors import PhotoError, UsageError
from training.data import DataError
from training.shards.build import build_shards
from training.shards.candidates import Candidate, kind_of, list_source
from training.shards.recipe import Recipe, Source

TERMS = {"licence": "CC0-1.0", "origin": "made by code"}


def jpeg(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def listed(path: Path, **fields: object) -> tuple[Candidate, ...]:
    return list_source(Source(str(path), **TERMS, **fields)).candidates  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_with_metadata(tmp_path: Path, suffix: str) -> None:
    table = [
        {"file": "a/1.jpg", "species": "Nile_tilapia", "split": "test", "licence": "MIT", "pond": "3", "animal": "7"},
        {"file": "a/2.jpg", "species": "catfish", "split": "", "licence": "", "pond": "", "animal": "8"},
    ]
    path = tmp_path / f"fish.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
    one, two = listed(path, columns={"path": "file", "label": "species", "group": "animal"}, task="fish")
    assert (one.label, one.split, one.licence, one.group, one.meta) == (
        "Nile tilapia",
        "query",
        "MIT",
        "7",
        {"pond": "3"},
    )
    assert (two.split, two.licence, two.origin, two.meta) == ("", "CC0-1.0", "made by code", {})
    assert one.blob.path == tmp_path / "a" / "1.jpg"
    with pytest.raises(DataError, match="row 1 has no label"):
        listed(path, columns={"path": "file"})


def test_coco_boxes_are_cut_with_a_margin(tmp_path: Path) -> None:
    write(tmp_path / "images" / "1.jpg", jpeg(1, (100, 80)))
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 80}],
        "categories": [{"id": 3, "name": "fall_armyworm"}],
        "annotations": [
            {"image_id": 1, "category_id": 3, "bbox": [40, 20, 20, 40]},
            {"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]},
            {"image_id": 1, "category_id": 3, "bbox": [0, 0, 90, 70], "iscrowd": 1},
        ],
    }
    path = write(tmp_path / "coco.json", json.dumps(content).encode())
    found = listed(path, images=str(tmp_path / "images"), margin=0.1)
    assert [photo.label for photo in found] == ["fall armyworm"] * 2
    data = found[0].blob.read()
    assert found[0].rgb(data).shape == (48, 24, 3)  # a tenth of each side more, on both sides
    assert found[1].rgb(data).shape == (55, 55, 3)  # but not beyond the photo
    assert found[0].group == found[1].group == "1.jpg"
    write(tmp_path / "images" / "1.jpg", jpeg(1, (80, 100)))
    with pytest.raises(PhotoError, match="80×100 pixels; its annotation says 100×80"):
        found[0].rgb((tmp_path / "images" / "1.jpg").read_bytes())
    write(path, json.dumps({**content, "categories": []}).encode())
    with pytest.raises(DataError, match="annotation 0"):
        listed(path)


def test_yolo_boxes_and_polygons(tmp_path: Path) -> None:
    write(tmp_path / "data.yaml", b"train: ../train/images\nval: valid/images\nnames: [weed, crop]\n")
    for folder, lines in (("train", "0 0.5 0.5 0.5 0.25\n"), ("valid", "1 0.1 0.2 0.5 0.2 0.5 0.6\n")):
        write(tmp_path / folder / "images" / "1.jpg", jpeg(len(folder), (100, 80)))
        write(tmp_path / folder / "images" / "empty.jpg", jpeg(9))
        write(tmp_path / folder / "labels" / "1.txt", lines.encode())
    weed, crop = listed(tmp_path, margin=0.0)
    assert (weed.label, weed.split, crop.label, crop.split) == ("weed", "train", "crop", "val")
    assert weed.rgb(weed.blob.read()).shape == (20, 50, 3)
    assert crop.rgb(crop.blob.read()).shape == (32, 40, 3)
    write(tmp_path / "train" / "labels" / "1.txt", b"0 0.5 half 1 1\n")
    with pytest.raises(DataError, match="line 1 is '0 0.5 half 1 1'"):
        listed(tmp_path)
    write(tmp_path / "train" / "labels" / "1.txt", b"7 0.5 0.5 1 1\n")
    with pytest.raises(DataError, match=r"class 7; data\.yaml names 2 classes"):
        listed(tmp_path)


def test_webdataset_labels_in_json_text_and_class_numbers(tmp_path: Path) -> None:
    write(tmp_path / "classnames.txt", b"soya bean\nmung bean\n")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "x/0.json", json.dumps({"label": "red_lentil", "group": "plot 4", "camera": 2}).encode())
        add(archive, "x/0.jpg", jpeg(0))
        add(archive, "x/1.jpg", jpeg(1))
        add(archive, "x/1.cls", b"1\n")
        add(archive, "x/2.seg.png", jpeg(2))
        add(archive, "x/2.txt", b"chickpea")
    one, two, three = listed(tmp_path)
    assert (one.label, one.group, one.meta) == ("red lentil", "plot 4", {"camera": "2"})
    assert (two.label, three.label) == ("mung bean", "chickpea")
    assert two.blob.read() == jpeg(1)
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        add(archive, "x/3.jpg", jpeg(3))
    with pytest.raises(DataError, match=r"x/3 has no label"):
        listed(tmp_path)


def test_our_own_tars_and_our_own_shards(data: Path, tmp_path: Path) -> None:
    listing = list_source(Source(str(data / "alive-mini")))
    assert len(listing.candidates) == (12 + 3 * 4) * 5 and set(listing.tasks) == {"fruit", "cover"}
    first = build_shards(Recipe(source=(Source(str(data / "alive-mini")),)), tmp_path / "first")
    assert {photo.licence for photo in listing.candidates} == {"CC0-1.0"}
    again = build_shards(Recipe(source=(Source(str(tmp_path / "first")),)), tmp_path / "second")
    assert not again.duplicates and not again.pool.broken
    assert [task.classes for task in again.index.tasks] == [task.classes for task in first.index.tasks]
    assert again.entries[0].sample.origin == "made by code"


def test_kinds_are_told_by_their_paths(data: Path, tmp_path: Path) -> None:
    assert kind_of(data / "alive-mini") == "tasks"
    assert kind_of(write(tmp_path / "a.csv", b"")) == "table"
    assert kind_of(write(tmp_path / "y" / "data.yaml", b"")) == kind_of(tmp_path / "y") == "yolo"
    assert kind_of(tmp_path) == "folders"
    with pytest.raises(UsageError, match="accepted suffixes"):
        kind_of(write(tmp_path / "a.xyz", b""))
    with pytest.raises(DataError, match="no file or folder"):
        kind_of(tmp_path / "none")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.json", "a.yaml", "a.tar"])
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b"\xff\x00 no such thing \n" * 40)
    with pytest.raises(DataError) as caught:
        listed(path)
    assert "\n" not in str(caught.value) and name in str(caught.value)
