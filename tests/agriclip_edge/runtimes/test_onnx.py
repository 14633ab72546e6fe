"""A graph runs only when its doors are those of the manifest, and reaches nothing but its own bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agriclip_edge.bundle.manifest import TensorSpec
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import BundleError, BundleFault, RuntimeUnavailable
from agriclip_edge.runtimes import Graph, available_cores, open_graph

INPUT, OUTPUT = TensorSpec("images", "uint8", [None, 32, 32, 3]), TensorSpec("embeddings", "float32", [None, 16])


@pytest.fixture(scope="module")
def encoder(tiny_bundle: Path) -> bytes:
    return Bundle.open(tiny_bundle).read("image/encoder.onnx")


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_runs(encoder: bytes) -> None:
    graph = open_graph("onnxruntime", encoder, [INPUT], OUTPUT, threads=1)
    found = graph.run({"images": pictures(3)})
    assert found.shape == (3, 16)
    assert found.dtype == np.float32
    for row, picture in zip(found, pictures(3)):
        assert np.allclose(graph.run({"images": picture[np.newaxis]})[0], row, atol=1e-6)


def test_eight_threads(encoder: bytes) -> None:
    graph = open_graph("onnxruntime", encoder, [INPUT], OUTPUT)
    batches = [pictures(1 + number % 5) for number in range(40)]
    alone = [graph.run({"images": batch}) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(lambda batch: graph.run({"images": batch}), batches), alone):
            assert (found == right).all()


MISMATCHES: dict[str, tuple[list[TensorSpec], TensorSpec, str]] = {
    "input name": ([TensorSpec("pixels", "uint8", [None, 32, 32, 3])], OUTPUT, "the graph's inputs are .*images"),
    "input dtype": ([TensorSpec("images", "float32", [None, 32, 32, 3])], OUTPUT, "inputs are .*uint8"),
    "input size": ([TensorSpec("images", "uint8", [None, 64, 64, 3])], OUTPUT, "inputs are .*32, 32, 3"),
    "channels first": ([TensorSpec("images", "uint8", [None, 3, 32, 32])], OUTPUT, "inputs are .*32, 32, 3"),
    "fixed batch": ([TensorSpec("images", "uint8", [1, 32, 32, 3])], OUTPUT, "inputs are .*None, 32"),
    "an input more": ([INPUT, TensorSpec("mask", "int64", [None])], OUTPUT, "inputs are"),
    "no input": ([], OUTPUT, "inputs are"),
    "output name": ([INPUT], TensorSpec("features", "float32", [None, 16]), "the graph's outputs are .*embeddings"),
    "output dtype": ([INPUT], TensorSpec("embeddings", "uint8", [None, 16]), "outputs are .*float"),
    "output size": ([INPUT], TensorSpec("embeddings", "float32", [None, 384]), "outputs are .*16"),
    "unknown dtype": ([INPUT], TensorSpec("embeddings", "complex", [None, 16]), "bundle.json says .*complex"),
}


@pytest.mark.parametrize(("inputs", "output", "words"), MISMATCHES.values(), ids=list(MISMATCHES))
def test_other_doors(inputs: list[TensorSpec], output: TensorSpec, words: str, encoder: bytes) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        open_graph("onnxruntime", encoder, inputs, output)
    assert caught.value.fault is BundleFault.GRAPH_MISMATCH
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "keep", [0, 1, 100, -1], ids=lambda keep: f"first {keep} bytes" if keep >= 0 else "last byte gone"
)
def test_truncated(keep: int, encoder: bytes) -> None:
    with pytest.raises(BundleError, match="cannot read the graph|the graph's") as caught:
        open_graph("onnxruntime", encoder[:keep], [INPUT], OUTPUT)
    assert caught.value.fault in (BundleFault.GRAPH_UNREADABLE, BundleFault.GRAPH_MISMATCH)


@pytest.mark.parametrize("data", [b"not a graph", b"ORTM" * 9, b"\x08" * 50], ids=["text", "another format", "noise"])
def test_no_graph(data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot read the graph") as caught:
        open_graph("onnxruntime", data, [INPUT], OUTPUT)
    assert caught.value.fault is BundleFault.GRAPH_UNREADABLE


WRONG_INPUTS: dict[str, dict[str, Any]] = {
    "size": {"images": np.zeros((1, 31, 32, 3), np.uint8)},
    "dtype": {"images": np.zeros((1, 32, 32, 3), np.float32)},
    "name": {"pixels": pictures(1)},
}


@pytest.mark.parametrize("inputs", WRONG_INPUTS.values(), ids=list(WRONG_INPUTS))
def test_a_run_that_fails(inputs: dict[str, Any], encoder: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    graph: Graph = open_graph("onnxruntime", encoder, [INPUT], OUTPUT)
    with pytest.raises(BundleError, match="cannot run the graph") as caught:
        graph.run(inputs)
    assert caught.value.fault is BundleFault.GRAPH_MISMATCH
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""  # the runtime's own log stays quiet


def test_a_kernel_that_fails(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A token that the table of words does not have: ONNX Runtime would print a coloured line of its own."""
    bundle = Bundle.open(tiny_bundle)
    text = bundle.manifest.text
    assert text is not None
    graph = open_graph("onnxruntime", bundle.read(text.file), text.inputs, text.output)
    ids = np.full((1, 3), 10**6, np.int64)
    with pytest.raises(BundleError, match="cannot run the graph.*out of data bounds"):
        graph.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert capfd.readouterr().err == ""


def test_another_runtime(encoder: bytes) -> None:
    with pytest.raises(RuntimeUnavailable, match="unknown runtime 'abacus'; this version has: onnxruntime, openvino"):
        open_graph("abacus", encoder, [INPUT], OUTPUT)


def test_cores(tmp_path: Path) -> None:
    """Only the cores that the process may run on, not all that the machine has."""
    assert available_cores() == len(os.sched_getaffinity(0))
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from agriclip_edge.runtimes import available_cores; print(available_cores())"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"1\n"


def test_specs_are_those_of_the_manifest(tiny_bundle: Path) -> None:
    variant = json.loads((tiny_bundle / "bundle.json").read_text())["image"][0]
    assert msgspec.convert(variant["input"], TensorSpec) == INPUT
    assert msgspec.convert(variant["output"], TensorSpec) == OUTPUT
