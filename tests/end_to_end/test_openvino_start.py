"""OpenVINO's second start takes what the first has compiled: faster, the same vectors, and no file can spoil it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.runtimes.compiled import CompiledGraphs, CompiledKey
from agriclip_edge.runtimes.openvino import OpenVinoGraph

ROUNDS = 5
Start = Callable[["Path | None"], OpenVinoGraph]


@pytest.fixture
def start(default_bundle: Path) -> Start:
    """Opens the shipped encoder in OpenVINO; what it compiles is kept under a home of the caller's choice."""
    bundle = Bundle.open(default_bundle)
    variant = next(variant for variant in bundle.manifest.image if "int8" not in variant.precision)
    data = bundle.read(variant.file)

    def begin(home: Path | None) -> OpenVinoGraph:
        compiled = None if home is None else CompiledGraphs(home)
        return OpenVinoGraph(data, [variant.input], variant.output, 1, "fp32", compiled)

    return begin


def vectors(graph: OpenVinoGraph) -> np.ndarray:
    photos = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    return graph.run({"images": photos})


def test_the_second_start_is_faster_and_says_the_same(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path)
    assert not first.was_compiled
    expected, times = vectors(first), {"compiled": [], "kept": []}
    for _ in range(ROUNDS):  # in turn, so that both meet the same noise
        for name, home in (("compiled", None), ("kept", tmp_path)):
            begun = time.perf_counter()
            graph = start(home)
            times[name].append(time.perf_counter() - begun)
            assert graph.was_compiled == (name == "kept")
            assert (vectors(graph) == expected).all()
    ratio = statistics.median(a / b for a, b in zip(times["compiled"], times["kept"]))
    assert ratio > 1.5, f"compiling takes {ratio:.1f} times as long as taking what was kept"  # 3 to 5 measured


@pytest.mark.parametrize("damage", ["cut", "empty", "changed", "another's"])
def test_a_broken_file_is_compiled_again(damage: str, start: Start, tmp_path: Path) -> None:
    expected = vectors(start(tmp_path))
    [path] = (tmp_path / "compiled").iterdir()
    whole = path.read_bytes()
    if damage == "another's":  # whole and under the right key, but not what this OpenVINO takes
        key = json.loads(whole.splitlines()[0])["key"]
        CompiledGraphs(tmp_path).add(CompiledKey(**key), b"no compiled graph" * 1000)
    else:
        path.write_bytes({"cut": whole[:-1000], "empty": b"", "changed": whole[:-1] + bytes([whole[-1] ^ 1])}[damage])
    again = start(tmp_path)
    assert not again.was_compiled
    assert (vectors(again) == expected).all()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert start(tmp_path).was_compiled  # it was replaced by a whole one
