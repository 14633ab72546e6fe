"""Compiled graphs on disk: whole files of the right key only, few of them, and no failure that keeps an answer away."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from agriclip_edge.runtimes import compiled
from agriclip_edge.runtimes.compiled import CompiledGraphs, CompiledKey

KEY = CompiledKey("ab" * 32, "openvino 2026.4.1-22982", "bf16", "a CPU avx512_bf16")
DATA = bytes(range(256)) * 40


@pytest.fixture
def graphs(tmp_path: Path) -> CompiledGraphs:
    return CompiledGraphs(tmp_path / "home")


def test_what_was_added_comes_back(graphs: CompiledGraphs) -> None:
    assert graphs.read(KEY) is None
    graphs.add(KEY, DATA)
    assert graphs.read(KEY) == DATA
    assert [path.parent for path in graphs.folder.iterdir()] == [graphs.folder]


@pytest.mark.parametrize(
    "change", [{"graph": "cd" * 32}, {"runtime": "openvino 2026.5"}, {"precision": "f32"}, {"cpu": "another CPU"}]
)
def test_each_ingredient_changes_the_key(change: dict[str, str], graphs: CompiledGraphs) -> None:
    graphs.add(KEY, DATA)
    other = msgspec.structs.replace(KEY, **change)
    assert graphs.read(other) is None
    graphs.path(KEY).rename(graphs.path(other))  # and under its name it is not taken either
    assert graphs.read(other) is None


@pytest.mark.parametrize("length", [0, 1, 100, 400, -1])
def test_half_of_a_file_is_not_read(length: int, graphs: CompiledGraphs) -> None:
    graphs.add(KEY, DATA)
    path = graphs.path(KEY)
    path.write_bytes(path.read_bytes()[:length])
    assert graphs.read(KEY) is None
    graphs.add(KEY, DATA)
    assert graphs.read(KEY) == DATA


@pytest.mark.parametrize("at", [3, -1, -5000])
def test_a_changed_file_is_not_read(at: int, graphs: CompiledGraphs) -> None:
    graphs.add(KEY, DATA)
    path = graphs.path(KEY)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert graphs.read(KEY) is None


def test_the_one_not_used_for_longest_makes_room(graphs: CompiledGraphs) -> None:
    keys = [msgspec.structs.replace(KEY, precision=str(number)) for number in range(compiled._MOST_GRAPHS)]
    for age, key in enumerate(keys):
        graphs.add(key, DATA)
        os.utime(graphs.path(key), (age, age))
    graphs.read(keys[0])
    graphs.add(KEY, DATA)
    assert [graphs.read(key) is not None for key in keys] == [True, False] + [True] * (len(keys) - 2)
    assert len(list(graphs.folder.iterdir())) == compiled._MOST_GRAPHS


def test_all_together_stay_small(graphs: CompiledGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_MOST_BYTES", 25_000)
    for age in range(4):
        key = msgspec.structs.replace(KEY, precision=str(age))
        graphs.add(key, DATA)
        os.utime(graphs.path(key), (age, age))
    graphs.add(KEY, DATA)
    assert sum(path.stat().st_size for path in graphs.folder.iterdir()) <= 25_000
    assert graphs.read(KEY) == DATA
    graphs.add(msgspec.structs.replace(KEY, precision="large"), bytes(30_000))
    assert graphs.read(KEY) == DATA


def test_what_a_killed_process_left_is_removed(graphs: CompiledGraphs) -> None:
    graphs.folder.mkdir(parents=True)
    old, new = (graphs.folder / f".{graphs.path(KEY).name}.{name}.tmp" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 86_400,) * 2)
    graphs.add(KEY, DATA)
    assert not old.exists()
    assert new.exists()  # another process may be writing it now


def test_where_nothing_can_be_written_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    graphs = CompiledGraphs(tmp_path / "home")
    graphs.add(KEY, DATA)
    assert graphs.read(KEY) is None
    graphs.discard(KEY)


def test_a_discarded_graph_is_gone(graphs: CompiledGraphs) -> None:
    graphs.add(KEY, DATA)
    graphs.discard(KEY)
    assert list(graphs.folder.iterdir()) == []
