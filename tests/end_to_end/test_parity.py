"""One photo, one embedding, whichever runtime computes it: from JPEG bytes through every runtime that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import agriclip_edge
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import RuntimeUnavailable
from agriclip_edge.imaging.decode import decode
from agriclip_edge.imaging.preprocess import preprocess
from agriclip_edge.runtimes import open_graph
from agriclip_edge.runtimes.cpu import cpu_flags

LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.99}  # of OpenVINO to ONNX Runtime, the worst photo


@pytest.fixture(scope="module")
def jpegs(photos: dict[str, Path]) -> list[bytes]:
    return [path.read_bytes() for name, path in photos.items() if name != "dandelion_meadow"]


@pytest.mark.parametrize("precision", LEAST_COSINE)
def test_openvino_gives_what_onnx_runtime_gives(precision: str, jpegs: list[bytes], default_bundle: Path) -> None:
    bundle = Bundle.open(default_bundle)
    variant = next(variant for variant in bundle.manifest.image if variant.precision != "int8")
    graph = bundle.read(variant.file)
    arguments = (graph, [variant.input], variant.output)
    if precision == "bf16" and not cpu_flags() & {"avx512_bf16", "amx_bf16"}:
        with pytest.raises(RuntimeUnavailable, match="this CPU does not compute in bf16"):
            open_graph("openvino", *arguments, precision=precision)
        return
    squares = np.stack([preprocess(decode(data, input_size=224), 224) for data in jpegs])
    expected = open_graph("onnxruntime", *arguments).run({variant.input.name: squares})
    found = open_graph("openvino", *arguments, precision=precision).run({variant.input.name: squares})
    assert (expected * found).sum(axis=1).min() >= LEAST_COSINE[precision]


def test_openvino_refuses_a_graph_that_is_not_as_described(default_bundle: Path) -> None:
    bundle = Bundle.open(default_bundle)
    variant = bundle.manifest.image[0]
    with pytest.raises(agriclip_edge.BundleError, match=r"the graph's inputs are .*\[graph-mismatch\]"):
        open_graph("openvino", bundle.read(variant.file), [], variant.output)
    with pytest.raises(agriclip_edge.BundleError, match=r"cannot read the graph: .*\[graph-unreadable\]"):
        open_graph("openvino", b"no graph", [variant.input], variant.output)
