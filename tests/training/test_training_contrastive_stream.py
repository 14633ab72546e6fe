from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from contrastive_shards import COUNTS, TASKS, VAL, captions, write_shards

from agriclip_edge.errors import UsageError
from training.contrastive.config import ContrastiveConfig
from training.contrastive.stream import Batch, PairStream, Position, class_weights, sample_photos
from training.data import DataError
from training.shards.index import read_index

CONFIG = replace(ContrastiveConfig.tiny(), batch=6)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("stream") / "shards")


def take(stream: PairStream, count: int, own: slice, step: int = 0, begin: Position = Position()) -> list[Batch]:  # noqa: B008
    return list(itertools.islice(stream.batches(16, own, step, begin), count))


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and one.captions == other.captions and one.after == other.after


def test_a_stream_goes_on_from_any_batch(shards: Path) -> None:
    stream = PairStream([shards], CONFIG, captions)
    straight = take(stream, 15, slice(0, 6))
    assert straight[-1].after.epoch >= 2  # it ran over the end of an epoch, and of groups within it
    for cut in range(1, 14, 2):
        resumed = take(PairStream([shards], CONFIG, captions), 2, slice(0, 6), cut, straight[cut - 1].after)
        assert all(same(a, b) for a, b in zip(resumed, straight[cut:])), cut


def test_processes_share_out_one_batch(shards: Path) -> None:
    stream = PairStream([shards], CONFIG, captions)
    whole = take(stream, 4, slice(0, 6))
    parts = [take(stream, 4, slice(3 * rank, 3 * rank + 3)) for rank in range(2)]
    for number, batch in enumerate(whole):
        own = [part[number] for part in parts]
        assert torch.equal(torch.cat([part.images for part in own]), batch.images)
        assert own[0].sha256 + own[1].sha256 == batch.sha256
        assert own[0].captions == own[1].captions == batch.captions
        assert own[0].after == own[1].after == batch.after


def test_rare_classes_are_seen_more_often(shards: Path) -> None:
    weights = class_weights([read_index(shards)], 0.5, 0.5)
    assert sum(weights[(0, task), label] * COUNTS[label] for task, label in _classes()) == pytest.approx(32)
    ratio = weights[(0, "cover"), "blue water"] / weights[(0, "fruit"), "red apple"]
    assert ratio == pytest.approx((12 / 2) ** 0.5 * (3 / 2) ** 0.5)
    seen: Counter[str] = Counter()
    for batch in take(PairStream([shards], CONFIG, captions), 64, slice(0, 1)):
        seen.update(batch.labels)
    for task, label in _classes():
        expected = 6 * 64 * weights[(0, task), label] * COUNTS[label] / 32
        assert seen[label] == pytest.approx(expected, rel=0.15, abs=3)


def test_photos_of_a_class_take_different_captions(shards: Path) -> None:
    for batch in take(PairStream([shards], CONFIG, captions), 8, slice(0, 1)):
        by_class = Counter(zip(batch.labels, batch.captions))
        for label, count in Counter(batch.labels).items():
            most = max(number for (name, _), number in by_class.items() if name == label)
            assert most == -(-count // len(captions(label)))


def test_seeds_differ(shards: Path) -> None:
    one = take(PairStream([shards], CONFIG, captions), 1, slice(0, 6))[0]
    other = take(PairStream([shards], replace(CONFIG, seed=1), captions), 1, slice(0, 6))[0]
    assert one.sha256 != other.sha256


def test_held_out_photos_are_a_sample_of_their_split(shards: Path) -> None:
    collection, photos = sample_photos([shards], "val", 1000, 0)
    assert len(photos) == VAL * 5 and set(np.bincount(photos.label)) == {VAL}
    for task, label in zip(photos.task, photos.label):
        assert label in collection.rows[task]
    few = sample_photos([shards], "val", 7, 0)[1]
    assert len(few) == 7 and few.sha256 == sample_photos([shards], "val", 7, 0)[1].sha256


def test_two_folders_make_one_stream(shards: Path, tmp_path: Path) -> None:
    other = write_shards(tmp_path / "other", seed=1)
    stream = PairStream([shards, other], CONFIG, captions)
    assert stream.pairs == 64
    hashes = {name for batch in take(stream, 12, slice(0, 6)) for name in batch.sha256}
    assert len(hashes) > 32  # more than either holds


def test_bad_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.json cannot be read"):
        PairStream([tmp_path], CONFIG, captions)
    root = write_shards(tmp_path / "cut")
    for path in root.glob("train-*.tar"):
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"train-\d+\.tar is not a whole shard"):
        take(PairStream([root], CONFIG, captions), 1, slice(0, 6))
    index = root / "index.json"
    index.write_text(index.read_text().replace('"split":"train"', '"split":"query"'))
    with pytest.raises(UsageError, match="no photos to train on"):
        PairStream([root], CONFIG, captions)


def _classes() -> list[tuple[str, str]]:
    return [(task, label) for task, classes in TASKS.items() for label in classes]
