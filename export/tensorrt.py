"""What TensorRT makes of a bundle without a GPU: whether every graph that it is to run builds."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import onnx

from agriclip_edge.bundle.manifest import Variant
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import UsageError
from agriclip_edge.runtimes.tensorrt_api import version
from agriclip_edge.runtimes.tensorrt_build import Built, build

from .graphs import graph_bytes
from .parity import GateError
from .tensorrt_graph import check_quantisation, fp16_graph


def lint(bundle: Bundle) -> Iterator[str]:
    """Build every TensorRT variant of a bundle; of a bundle without any, what would be its FP16 variant.

    Yields:
        one line a graph that was built.

    Raises:
        RuntimeUnavailable: neither TensorRT nor TensorRT-RTX is installed.
        BundleError: a graph cannot be read.
        GateError: a graph computes in another precision than its entry says.
        UsageError: a graph was quantised for CPUs.
    """
    for variant, graph in tensorrt_graphs(bundle):
        built = build_variant(variant, graph)
        facts = f"{built.layers} layers, engine {len(built.engine) / 1e6:.1f} MB, {built.seconds:.1f} s"
        yield f"{variant.name}  {built.precision}  builds with {version()}: {facts}"


def tensorrt_graphs(bundle: Bundle) -> Iterator[tuple[Variant, bytes]]:
    """The TensorRT variants, FP16 first, each with its ONNX file; without any, what would be the FP16 one."""
    variants = [variant for variant in bundle.manifest.image if variant.runtime == "tensorrt"]
    for variant in sorted(variants, key=lambda variant: variant.precision != "fp16"):  # INT8 is compared with it
        yield variant, bundle.read(variant.file)
    if not variants:
        source = float_variant(bundle)
        half = graph_bytes(fp16_graph(onnx.load_from_string(bundle.read(source.file))), {}, {})
        yield msgspec.structs.replace(source, runtime="tensorrt", precision="fp16"), half


def build_variant(variant: Variant, graph: bytes) -> Built:
    """Build one variant.

    Raises:
        GateError: the graph computes in another precision than its entry says.
        UsageError: it was quantised for CPUs.
        BundleError: TensorRT cannot read it.
    """
    check_quantisation(onnx.load_from_string(graph))
    built = build(graph)
    if built.precision != variant.precision:
        raise GateError(f"{variant.name} is listed as {variant.precision}; its graph computes in {built.precision}")
    return built


def float_variant(bundle: Bundle) -> Variant:
    """The variant for ONNX Runtime that computes in float32.

    Raises:
        UsageError: there is none.
    """
    for variant in bundle.manifest.image:
        if variant.runtime == "onnxruntime" and "int8" not in variant.precision:
            return variant
    raise UsageError(f"the bundle {bundle.manifest.name} has no float variant for ONNX Runtime; accepted: one that has")
