"""Shards as a stream, shared out over ranks and workers; and the search for near duplicates against plain counting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.utils.data

from agriclip_edge.errors import UsageError
from training.data import DataError, read_collection, read_photos
from training.shards.build import build_shards
from training.shards.fingerprint import TURNS
from training.shards.near import NearIndex
from training.shards.read import read_shards, shard_shares, stream_shards
from training.shards.recipe import Recipe, Source


@pytest.fixture(scope="module")
def shards(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("shards")
    build_shards(Recipe(source=(Source(str(data / "alive-mini")),), shard_photos=11), output)
    return output


def names(root: Path, **options: int) -> list[str]:
    return [rest["path"] for _, _, _, rest in stream_shards(root, "train", **options)]


def test_memory_and_stream_give_the_same_photos_as_the_tars(data: Path, shards: Path) -> None:
    collection, photos = read_shards(shards, "train")
    plain = read_collection(data / "alive-mini")
    expected = read_photos(plain, "train")

    def told(rgb: tuple[np.ndarray, ...], label: np.ndarray, labels: tuple[str, ...]) -> set[tuple[str, bytes]]:
        return {(labels[int(row)], picture.tobytes()) for row, picture in zip(label, rgb)}

    assert told(photos.rgb, photos.label, collection.labels) == told(expected.rgb, expected.label, plain.labels)
    streamed = list(stream_shards(shards, "train", shuffle=0))
    assert [item[0].tobytes() for item in streamed] == [rgb.tobytes() for rgb in photos.rgb]
    rgb, label, task, rest = streamed[0]
    assert rgb.dtype == np.uint8 and label == rest["path"].split("/")[2].replace("_", " ")
    assert task in ("fruit", "cover") and rest["licence"] == "CC0-1.0" and rest["source"] == "alive-mini"


def test_the_order_is_that_of_seed_and_epoch(shards: Path) -> None:
    first = names(shards, seed=3, epoch=5)
    assert first == names(shards, seed=3, epoch=5)
    assert sorted(first) == sorted(names(shards, seed=3, epoch=6)) and first != names(shards, seed=3, epoch=6)
    assert first != names(shards, seed=4, epoch=5)


def test_ranks_and_workers_share_the_photos(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, shares = sorted(names(shards)), shard_shares(shards, "train", 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        loader = torch.utils.data.DataLoader(stream_shards(shards, "train"), batch_size=None, num_workers=2)
        parts.append([item[3]["path"] for item in loader])
    assert [len(part) for part in parts] == shares
    assert sorted(parts[0] + parts[1]) == whole
    monkeypatch.setenv("WORLD_SIZE", "9")
    with pytest.raises(UsageError, match="6 shards for 9 ranks of 1 workers"):
        names(shards)


def test_several_folders_are_one_stream(shards: Path) -> None:
    assert len(list(stream_shards([shards, shards], "val"))) == 2 * len(list(stream_shards(shards, "val")))
    with pytest.raises(UsageError, match="no shard"):
        stream_shards([], "val")
    with pytest.raises(DataError, match="accepted: train, val"):
        stream_shards(shards, "test")


@pytest.mark.parametrize("damage", ["cut", "missing", "index", "pipe"])
def test_broken_shards_are_refused(data: Path, tmp_path: Path, damage: str) -> None:
    build_shards(Recipe(source=(Source(str(data / "alive-mini")),)), tmp_path)
    shard, index = tmp_path / "train-000000.tar", tmp_path / "index.json"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:9000])
    elif damage == "missing":
        shard.unlink()
    elif damage == "index":
        index.write_text(index.read_text().replace('"photos": 60', '"photos": 61'))
    else:  # webdataset would run what follows "pipe:"
        index.write_text(index.read_text().replace("train-000000.tar", "pipe:touch owned"))
    with pytest.raises(DataError) as caught:
        read_shards(tmp_path, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bits", [0, 3, 6, 12])
def test_the_search_finds_what_counting_every_pair_finds(bits: int) -> None:
    generator = np.random.default_rng(bits)
    count = 400
    hashes = generator.integers(0, 1 << 63, (count, len(TURNS)), np.uint64)
    for number in range(1, count, 2):  # half of them lie 0 to 15 bits from the photo before
        flips = generator.choice(64, generator.integers(0, 16), replace=False)
        hashes[number, 0] = hashes[number - 1, 0] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0)
        )
    grey = generator.integers(0, 256, (count // 2, 256)).repeat(2, axis=0) + generator.integers(-9, 10, (count, 1))
    thumbnails = grey.clip(0, 255).astype(np.uint8)
    index = NearIndex(bits, 6.0, turned=False)
    found = 0
    for number in range(count):
        near = index.find(hashes[number], thumbnails[number])
        apart = np.bitwise_count(hashes[:number, 0] ^ hashes[number, 0])
        levels = np.abs(thumbnails[:number].astype(int) - thumbnails[number]).mean(axis=1)
        both = np.flatnonzero((apart <= bits) & (levels <= 6.0))
        assert (near is not None) == (len(both) > 0)
        if near is not None:
            found += 1
            assert near.number in both and near.bits == apart[both].min()
            assert near.grey == pytest.approx(levels[near.number])
        index.add(number, int(hashes[number, 0]), thumbnails[number])
    assert len(index) == count and found > 3
