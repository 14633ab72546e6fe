"""The ALive builder from sources to shards, on photos made of chance."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from training.cli import app
from training.data import COPIES, DataError
from training.shards.build import Built, build_shards
from training.shards.index import Sample, read_index, verify_shards
from training.shards.read import read_shards
from training.shards.recipe import Recipe, Source, parse_source, read_recipe

TERMS = {"licence": "CC0-1.0", "origin": "made by code"}


def picture(seed: int, height: int = 40, width: int = 48) -> RGB:
    """A photo of soft clouds of colour, unlike any of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, rgb: RGB, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    """Class folders of two classes with ten photos each."""
    root = tmp_path / "leaves"
    for number in range(20):
        save(root / ("leaf_rust", "healthy_leaf")[number % 2] / f"{number:02d}.jpg", picture(number), quality=95)
    return root


def build(output: Path, *sources: Source, against: tuple[Source, ...] = (), **options: object) -> Built:
    return build_shards(Recipe(source=sources, against=against, **options), output)  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_class_folders_become_shards_that_are_read_again(leaves: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    built = build(output, Source(str(leaves), **TERMS, task="leaf"), val=0.2, shard_photos=5)
    index = verify_shards(output)
    assert [(shard.split, shard.photos) for shard in index.shards] == [("train", 4)] * 4 + [("val", 4)]
    collection, photos = read_shards(output, "train")
    assert collection.labels == ("healthy leaf", "leaf rust") and collection.rows == ((0, 1),)
    assert np.bincount(photos.label).tolist() == [8, 8] and photos.task.tolist() == [0] * 16
    assert [entry.val for entry in index.tasks[0].classes] == [2, 2]
    original = {np.asarray(Image.open(path)).tobytes() for path in leaves.rglob("*.jpg")}
    assert all(rgb.tobytes() in original for rgb in photos.rgb)  # the bytes of a JPEG are kept
    assert not built.duplicates
    for name in ("report.html", "report.json", "duplicates.csv", "contact-sheet.png", "duplicates.png"):
        assert (output / name).stat().st_size > 0


def test_copies_are_dropped_and_listed(leaves: Path, tmp_path: Path) -> None:
    (leaves / "leaf_rust" / "same.jpg").write_bytes((leaves / "leaf_rust" / "00.jpg").read_bytes())
    decoded = np.asarray(Image.open(leaves / "leaf_rust" / "02.jpg"))
    save(leaves / "leaf_rust" / "same.png", decoded)
    save(leaves / "healthy_leaf" / "weak.jpg", picture(4), quality=40)  # 04 is of the other class
    save(leaves / "leaf_rust" / "zturned.png", np.rot90(picture(6)))
    held = save(tmp_path / "test" / "query" / "blight" / "1.jpg", picture(9), quality=60).parents[2]
    output = tmp_path / "out"
    build(output, Source(str(leaves), **TERMS), against=(Source(str(held)),))
    found = {Path(row["dropped path"]).name: row for row in rows(output / "duplicates.csv")}
    assert found["same.jpg"]["why"] == "same file"
    assert found["same.png"]["why"] == "same pixels"
    weak = found.get("weak.jpg") or found["04.jpg"]
    assert weak["why"] == "near" and float(weak["grey levels"]) < 3
    assert found["zturned.png"]["why"] == "near" and found["zturned.png"]["position"]
    assert found["09.jpg"]["kept split"] == "held out"  # the test set's photo keeps ours out
    assert len(found) == 5
    report = json.loads((output / "report.json").read_text())
    assert report["other_label"] == 2 and report["across"] == {"drawn / held out": 1}
    assert report["seen"] == [{"test_set": "test", "task": "test", "seen": [], "unseen": ["blight"]}]


def test_a_copy_across_splits_leaves_train_not_val(tmp_path: Path) -> None:
    for split, seeds in (("train", (1, 2, 3)), ("val", (3, 4))):
        for seed in seeds:
            save(tmp_path / "set" / split / "wheat" / f"{split}{seed}.png", picture(seed))
    built = build(tmp_path / "out", Source(str(tmp_path / "set"), **TERMS))
    assert [built.pool.candidates[entry.dropped].name for entry in built.duplicates] == ["train/wheat/train3.png"]
    assert {shard.split: shard.photos for shard in built.index.shards} == {"train": 2, "val": 2}


def test_training_photos_that_repeat_any_judged_one_are_listed(tmp_path: Path) -> None:
    for seed in (1, 2):
        save(tmp_path / "set" / "val" / "wheat" / f"v{seed}.png", picture(seed))
    # Dropped itself, as it repeats a photo of a test set; its copy is to be left out all the same.
    save(tmp_path / "test" / "query" / "wheat" / "1.png", picture(1))
    copies = [save(tmp_path / "set" / "train" / "wheat" / f"t{seed}.jpg", picture(seed), quality=60) for seed in (1, 2)]
    # Near the copy and nearer to it than to the judged one: the list of duplicates names another training photo.
    copies.append(save(tmp_path / "set" / "train" / "wheat" / "t3.jpg", np.asarray(Image.open(copies[1]))))
    save(tmp_path / "set" / "train" / "wheat" / "t4.png", picture(4))
    build(tmp_path / "out", Source(str(tmp_path / "set"), **TERMS), against=(Source(str(tmp_path / "test")),))
    listed = (tmp_path / "out" / COPIES.name).read_text("ascii").splitlines()
    assert listed[0].startswith("#") and COPIES.read_text("ascii").splitlines()[0] == listed[0]
    assert listed[1:] == sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in copies)


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    for animal in range(12):
        for frame in range(3):
            save(tmp_path / "cows" / "cow" / f"animal{animal}_{frame}.png", picture(100 * animal + frame))
    source = Source(str(tmp_path / "cows"), **TERMS, group=r"animal\d+")
    sides = []
    for seed in (0, 0, 1):
        built = build(tmp_path / f"out{len(sides)}", source, val=0.34, seed=seed)
        side = {(entry.sample.group, entry.sample.split) for entry in built.entries}
        assert len(side) == 12  # no group is on two sides
        assert sum(split == "val" for _, split in side) == 4
        sides.append(side)
    assert sides[0] == sides[1] != sides[2]


def test_a_source_without_a_licence_is_refused(leaves: Path, tmp_path: Path) -> None:
    for terms in ({}, {"licence": "none stated (web)", "origin": "x"}, {"licence": "MIT"}):
        with pytest.raises(UsageError, match=r"leaves, task leaves: no (licence|origin); .*--allow-unlicensed"):
            build(tmp_path / "out", Source(str(leaves), **terms))
    assert not (tmp_path / "out" / "index.json").exists()
    built = build_shards(Recipe(source=(Source(str(leaves)),)), tmp_path / "out", allow_unlicensed=True)
    assert sum(shard.photos for shard in built.index.shards) == 20


def test_a_broken_photo_is_named_and_left_out(leaves: Path, tmp_path: Path) -> None:
    (leaves / "leaf_rust" / "torn.jpg").write_bytes((leaves / "leaf_rust" / "00.jpg").read_bytes()[:300])
    arguments = ["--source", f"path={leaves}; licence=CC0-1.0; origin=code", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["build-shards", *arguments])
    assert result.exit_code == 1
    assert "leaf_rust/torn.jpg" in result.output and "20 photos in" in result.output
    assert json.loads((tmp_path / "out" / "report.json").read_text())["broken"][0]["path"] == "leaf_rust/torn.jpg"


def test_small_photos_are_left_out_and_large_ones_made_small(tmp_path: Path) -> None:
    save(tmp_path / "set" / "a" / "small.png", picture(1, 10, 40))
    save(tmp_path / "set" / "a" / "large.png", picture(2, 80, 120))
    built = build(tmp_path / "out", Source(str(tmp_path / "set"), **TERMS), short_side=32, val=0)
    assert built.pool.small == 1
    assert [rgb.shape for rgb in read_shards(tmp_path / "out", "train")[1].rgb] == [(32, 48, 3)]


def test_metadata_is_taken_off_and_photos_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    plain = save(tmp_path / "set" / "a" / "plain.jpg", picture(1), exif=exif)
    exif[0x0112] = 6
    save(tmp_path / "set" / "a" / "turned.jpg", picture(2), exif=exif, quality=100)
    build(tmp_path / "out", Source(str(tmp_path / "set"), **TERMS), val=0, quality=100)
    assert b"Secret Camera" not in b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.tar"))
    photos = read_shards(tmp_path / "out", "train")[1].rgb
    untouched = next(rgb for rgb in photos if rgb.shape == (40, 48, 3))
    assert np.array_equal(untouched, np.asarray(Image.open(plain)))
    upright = next(rgb for rgb in photos if rgb.shape == (48, 40, 3))
    assert np.abs(upright.astype(int) - np.rot90(picture(2), -1)).mean() < 3


def test_a_second_run_keeps_the_shards_and_another_collection_is_refused(leaves: Path, tmp_path: Path) -> None:
    output, source = tmp_path / "out", Source(str(leaves), **TERMS)
    build(output, source)
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in output.glob("*.tar")}
    build(output, source)
    assert before == {path.name: (path.stat().st_ino, path.read_bytes()) for path in output.glob("*.tar")}
    with pytest.raises(UsageError, match="holds another collection"):
        build(output, source, seed=1)
    build(tmp_path / "again", source)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.tar")} == {
        name: data for name, (_, data) in before.items()
    }


def _killed_when(command: list[str], reached: Callable[[], bool]) -> bool:
    """Run a command, kill it with SIGKILL once a state is reached; whether it was still running then."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if reached():
                os.kill(process.pid, signal.SIGKILL)
                return process.wait() == -signal.SIGKILL
            time.sleep(0.002)
        process.kill()
    return False


def test_a_killed_build_goes_on_and_ends_alike(tmp_path: Path, root: Path) -> None:
    for number in range(300):
        save(tmp_path / "set" / "ab"[number % 2] / f"{number:03d}.png", picture(number, 64, 64))
    output = tmp_path / "out"
    arguments = ["--source", f"path={tmp_path / 'set'}; licence=CC0-1.0; origin=code", "--shard-photos", "10"]
    begin = "import sys; sys.path.insert(0, sys.argv.pop(1)); from training.cli import main; main()"
    command = [sys.executable, "-c", begin, str(root), "build-shards", *arguments, "--output"]
    prints = output / ".work" / "prints.jsonl"
    assert _killed_when([*command, str(output)], lambda: prints.exists() and prints.stat().st_size > 100_000)
    taken = prints.read_bytes().count(b"\n")
    assert 0 < taken < 300
    assert _killed_when([*command, str(output)], lambda: len(list(output.glob("train-*.tar"))) >= 3)
    assert prints.read_bytes().count(b"\n") == 300  # those of the first run were not taken again
    assert not (output / "index.json").exists()
    kept = output / "train-000000.tar"
    inode = kept.stat().st_ino
    built = build(output, parse_source(arguments[1]), shard_photos=10)
    assert kept.stat().st_ino == inode
    assert not list(output.glob(".*.tmp"))
    whole = build(tmp_path / "whole", parse_source(arguments[1]), shard_photos=10)
    assert built.index == whole.index == verify_shards(output)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source = 3", "Expected `array`"),
        ("surprise = 1", "surprise"),
        ("val = 2", "val is 2"),
        ('[[source]]\npath = "x"\ngroup = "("', "no regular expression"),
        ("[[", "recipe.toml"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_recipe(tmp_path / "recipe.toml")


def test_a_recipe_names_paths_beside_itself(leaves: Path, tmp_path: Path) -> None:
    lines = ['name = "small"', "[[source]]", 'path = "leaves"', 'licence = "MIT"', 'origin = "code"']
    lines += ["[source.labels]", 'leaf_rust = "leaf with rust"', 'healthy_leaf = ""']
    (tmp_path / "recipe.toml").write_text("\n".join(lines))
    source = {"path": "leaves", "labels": {"leaf_rust": "leaf with rust", "healthy_leaf": ""}}
    terms = {"licence": "MIT", "origin": "code"}
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "small", "source": [source | terms]}))
    assert read_recipe(tmp_path / "recipe.toml") == read_recipe(tmp_path / "recipe.json")
    built = build_shards(read_recipe(tmp_path / "recipe.toml"), tmp_path / "out")
    assert [entry.label for task in built.index.tasks for entry in task.classes] == ["leaf with rust"]
    assert built.index.name == "small"


def test_the_command_refuses_what_is_not_there(tmp_path: Path) -> None:
    for arguments, kind in (
        (["--source", str(tmp_path / "none")], DataError),
        ([], UsageError),
        (["--source", "colour=red"], UsageError),
        (["--source", "x", "--bits", "99"], UsageError),
    ):
        result = CliRunner().invoke(app, ["build-shards", "--output", str(tmp_path / "out"), *arguments])
        assert isinstance(result.exception, kind)
    with pytest.raises(DataError, match="that build-shards wrote"):
        read_index(tmp_path)


def test_embeddings_find_the_copies_that_hashes_miss(tmp_path: Path, tiny_bundle: Path) -> None:
    """The tiny bundle tells colours apart and nothing else: plain photos of one colour are one to it."""
    colours = {"red": (220, 20, 20), "green": (20, 160, 40), "blue": (20, 40, 220)}
    generator = np.random.default_rng(0)
    for split, names in (("train", ("red", "green")), ("val", ("blue", "red"))):
        for name in names:
            noise = generator.integers(-20, 21, (4, 4, 3))
            cloud = (np.array(colours[name]) + noise).clip(0, 255).astype(np.uint8)
            rgb = np.asarray(Image.fromarray(cloud).resize((48, 48), Image.Resampling.BICUBIC))
            save(tmp_path / "set" / split / "thing" / f"{name}.png", rgb)
    recipe = Recipe(source=(Source(str(tmp_path / "set"), **TERMS),), bits=0, grey=0, cosine=0.97)
    assert not build_shards(recipe, tmp_path / "plain").duplicates
    built = build_shards(recipe, tmp_path / "out", encoder=tiny_bundle)
    found = [(entry.why, built.pool.candidates[entry.dropped].name) for entry in built.duplicates]
    assert found == [("embedding", "train/thing/red.png")]
    listed = rows(tmp_path / "out" / "duplicates.csv")[0]
    assert listed["kept path"] == "val/thing/red.png" and float(listed["cosine"]) >= 0.97


def test_a_photo_that_changes_under_way_stops_the_build(leaves: Path, tmp_path: Path) -> None:
    from training.shards import write

    entry = build(tmp_path / "out", Source(str(leaves), **TERMS)).entries[0]
    buffer = io.BytesIO()
    Image.fromarray(picture(99)).save(buffer, "JPEG")
    entry.candidate.blob.path.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="run the same command again"):
        write._picture(entry, Recipe())


def test_the_page_shows_a_recipe_and_a_record_that_are_read(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "alive.md").read_text("utf-8")
    toml, record = (page.split(f"```{language}\n")[1].split("```")[0] for language in ("toml", "json"))
    (tmp_path / "recipe.toml").write_text(toml, "utf-8")
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert [Path(source.path).name for source in recipe.source] == ["coffee-leaves", "annotations.json"]
    assert msgspec.json.decode(record, type=Sample).group == "coffee-leaves/tree12"
