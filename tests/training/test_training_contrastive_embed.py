from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from contrastive_shards import write_shards

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import decode
from training.contrastive.config import ContrastiveConfig
from training.contrastive.embed import embed_shards
from training.contrastive.model import build
from training.contrastive.stream import read_entries
from training.contrastive.vectors import read_vectors
from training.data import DataError
from training.shards.index import read_index

MODEL = ContrastiveConfig.tiny().model


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("embed") / "shards")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "start.pt"
    torch.manual_seed(3)
    torch.save(build(MODEL).net.state_dict(), path)
    return str(path)


def check(shards: Path, output: Path, checkpoint: str) -> None:
    """Every photo has the vector that the model gives it."""
    clip = build(MODEL, checkpoint).eval()
    look_up = read_vectors(output)
    for shard in read_index(shards).shards:
        entries = list(read_entries(0, shards / shard.name))
        expected = clip.embed_photos([decode(entry.data) for entry in entries])
        np.testing.assert_allclose(look_up([entry.sha256 for entry in entries]), expected, atol=2e-3)
    with pytest.raises(DataError, match="no vector of the photo"):
        look_up(["0" * 64])


def test_only_shards_without_vectors_are_embedded(shards: Path, tmp_path: Path, checkpoint: str) -> None:
    output, told = tmp_path / "vectors", []
    count = len(read_index(shards).shards)
    assert embed_shards([shards], output, MODEL, checkpoint, said=lambda *both: told.append(both)) == count
    assert told == [(number, count) for number in range(count + 1)]
    check(shards, output, checkpoint)
    times = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    first, second, *_ = sorted(times)
    (output / first).unlink()
    (output / second).write_bytes((output / second).read_bytes()[:100])  # cut off while it was copied
    assert embed_shards([shards], output, MODEL, checkpoint) == 2
    changed = {path.name for path in output.iterdir() if path.stat().st_mtime_ns != times[path.name]}
    assert changed == {first, second}
    check(shards, output, checkpoint)
    torch.manual_seed(4)
    torch.save(build(MODEL).net.state_dict(), tmp_path / "other.pt")
    assert embed_shards([shards], output, MODEL, str(tmp_path / "other.pt")) == count  # vectors of another model


def test_many_workers_embed_under_ray(shards: Path, tmp_path: Path, checkpoint: str) -> None:
    output = tmp_path / "vectors"
    count = len(read_index(shards).shards)
    assert embed_shards([shards], output, MODEL, checkpoint, workers=2) == count
    check(shards, output, checkpoint)
    (output / "train-000001.safetensors").unlink()
    assert embed_shards([shards], output, MODEL, checkpoint) == 1  # a run under Ray goes on without it
    check(shards, output, checkpoint)


def test_bad_input_is_named(shards: Path, tmp_path: Path, checkpoint: str) -> None:
    with pytest.raises(UsageError, match="workers is 0"):
        embed_shards([shards], tmp_path, MODEL, checkpoint, workers=0)
    with pytest.raises(DataError, match="vectors of 0 models"):
        read_vectors(tmp_path)
    broken = write_shards(tmp_path / "broken")
    path = broken / "train-000001.tar"
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    with pytest.raises(DataError, match=r"train-000001\.tar is not the shard"):
        embed_shards([broken], tmp_path / "out", MODEL, checkpoint)
