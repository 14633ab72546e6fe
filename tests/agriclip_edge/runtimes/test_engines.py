"""Engine files: one key for everything that decides an engine, whole files only, foreign ones refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agriclip_edge.errors import RuntimeUnavailable
from agriclip_edge.runtimes.engines import EngineKey, EngineStore, read_header

GRAPH = "ab" * 32
KEY = EngineKey(GRAPH, "tensorrt 10.3.0", "8.7", "fp16", (1, 1, 16))
ENGINE = bytes(range(256)) * 40


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


def add(store: EngineStore, key: EngineKey = KEY, engine: bytes = ENGINE) -> Path:
    return store.add(key, engine, device="Orin", seconds=83.21)


@pytest.mark.parametrize(
    "change",
    [
        {"graph": "cd" * 32},
        {"tensorrt": "tensorrt 10.13.0"},
        {"tensorrt": "tensorrt_rtx 10.3.0"},
        {"compute_capability": "8.9"},
        {"precision": "int8"},
        {"batch": (1, 1, 8)},
        {"batch": (1, 4, 16)},
    ],
)
def test_each_ingredient_changes_the_key(change: dict[str, object], store: EngineStore) -> None:
    other = msgspec.structs.replace(KEY, **change)
    assert other.sha256 != KEY.sha256
    add(store)
    assert store.read(KEY) == ENGINE
    assert store.read(other) is None


def test_the_key_is_the_same_in_every_process() -> None:
    assert KEY.sha256 == "03cbc22ad58ffed6525dd88ec93a1584b998362bd08a30f685555bb2631428df"


def test_an_engine_comes_back_with_its_header(store: EngineStore) -> None:
    header = read_header(add(store))
    assert header is not None
    assert (header.key, header.size, header.device, header.seconds) == (KEY, len(ENGINE), "Orin", 83.2)
    assert store.find(GRAPH, KEY.tensorrt, KEY.compute_capability) == header


def test_of_several_engines_the_one_for_the_largest_batches_is_found(store: EngineStore) -> None:
    for largest in (4, 32, 16):
        add(store, msgspec.structs.replace(KEY, batch=(1, 1, largest)))
    assert store.find(GRAPH, KEY.tensorrt, KEY.compute_capability).key.batch == (1, 1, 32)


@pytest.mark.parametrize(
    ("tensorrt", "capability", "graph", "words"),
    [
        (
            "tensorrt 10.13.0",
            "8.7",
            GRAPH,
            "built by tensorrt 10.3.0 on compute capability 8.7 (Orin); here is tensorrt",
        ),
        ("tensorrt 10.3.0", "8.9", GRAPH, "here is tensorrt 10.3.0 on 8.9"),
        ("tensorrt 10.3.0", "8.7", "cd" * 32, "belong to other bundles"),
    ],
)
def test_a_foreign_engine_is_refused_with_the_line_that_rebuilds_it(
    tensorrt: str, capability: str, graph: str, words: str, store: EngineStore
) -> None:
    add(store)
    with pytest.raises(RuntimeUnavailable) as refusal:
        store.find(graph, tensorrt, capability)
    assert words in str(refusal.value)
    assert str(refusal.value).endswith(": agriclip-edge prepare")


def test_without_any_engine_the_line_that_builds_one_is_named(store: EngineStore) -> None:
    with pytest.raises(RuntimeUnavailable, match="no engine is built for this bundle yet: agriclip-edge prepare"):
        store.find(GRAPH, KEY.tensorrt, KEY.compute_capability)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_half_of_an_engine_is_never_seen(length: int, store: EngineStore) -> None:
    path = add(store)
    path.write_bytes(path.read_bytes()[:length])
    assert store.read(KEY) is None
    assert list(store.headers()) == []


def test_a_changed_engine_is_not_read(store: EngineStore) -> None:
    path = add(store)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert store.read(KEY) is None


def test_an_engine_under_another_name_is_passed_over(store: EngineStore) -> None:
    path = add(store)
    path.rename(store.path(msgspec.structs.replace(KEY, compute_capability="8.9")))
    assert list(store.headers()) == []
    assert store.read(msgspec.structs.replace(KEY, compute_capability="8.9")) is None


def test_an_engine_that_does_not_fit_leaves_the_former_one_and_nothing_else(store: EngineStore) -> None:
    path = add(store)
    before = {file.name: file.read_bytes() for file in store.folder.iterdir()}
    program = f"""
import resource, signal
from pathlib import Path
from agriclip_edge.runtimes.engines import EngineKey, EngineStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
key = EngineKey({GRAPH!r}, "tensorrt 10.3.0", "8.7", "fp16", (1, 1, 16))
EngineStore(Path({str(store.folder)!r})).add(key, bytes(1 << 20), device="Orin", seconds=1.0)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "OSError" in run.stderr
    assert {file.name: file.read_bytes() for file in store.folder.iterdir()} == before
    assert store.read(KEY) == ENGINE
    assert path.name in before


def test_files_that_are_no_engines_are_passed_over(store: EngineStore) -> None:
    store.folder.mkdir()
    (store.folder / "notes.engine").write_bytes(b"not JSON\n")
    (store.folder / "empty.engine").write_bytes(b"")
    (store.folder / "other.engine").write_bytes(b'{"format": "something-else"}\n')
    (store.folder / "long.engine").write_bytes(b"[" * 200_000)
    assert list(store.headers()) == []
