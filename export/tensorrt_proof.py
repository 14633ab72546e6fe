"""How near and how fast a bundle's TensorRT engines are, measured on a GPU and written as a record."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from agriclip_edge.bundle.manifest import Variant
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.files import atomic_write
from agriclip_edge.labels.pack import merge
from agriclip_edge.runtimes.cuda import Device, device
from agriclip_edge.runtimes.tensorrt import TensorrtGraph
from agriclip_edge.runtimes.tensorrt_api import version
from agriclip_edge.runtimes.tensorrt_build import MAX_BATCH, Built

from .parity import GateError, Vectors, run_graph
from .photos import read_squares
from .tensorrt import build_variant, float_variant, tensorrt_graphs

_WARM_UP, _RUNS = 50, 200


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds of one run: the GPU's own by CUDA events, and by the wall clock with both copies."""

    batch: int
    gpu_p50: float
    gpu_p95: float
    wall_p50: float
    wall_p95: float


class Proof(msgspec.Struct, frozen=True):
    """One engine measured on one machine; cosines are to ONNX Runtime at float32 on the same photos."""

    bundle: str
    bundle_sha256: str
    variant: str
    precision: str
    tensorrt: str
    device: str
    compute_capability: str
    photos: int
    cosine_mean: float
    cosine_p1: float
    cosine_least: float
    changed_labels: float
    build_seconds: float
    engine_bytes: int
    latency: list[Latency]
    refused: list[str]
    command: list[str]
    measured: str
    format: Literal["agriclip-tensorrt-proof"] = "agriclip-tensorrt-proof"
    version: Literal[1] = 1


@dataclass(frozen=True)
class Gate:
    """What an engine must reach."""

    mean: float
    p1: float
    speed_up: float  # over FP16, at batch 1


GATES = {"fp16": Gate(mean=0.9995, p1=0.999, speed_up=0.0), "int8": Gate(mean=0.99, p1=0.97, speed_up=1.2)}


def prove(bundle: Bundle, photos: Path, record: Path) -> Iterator[str]:
    """Build and run every TensorRT variant on this machine's GPU, and write what was measured.

    Args:
        bundle: an open bundle with a float variant for ONNX Runtime, the reference.
        photos: a folder of photos that were not used for calibration; searched through.
        record: the JSON file to write: a list of `Proof`.

    Yields:
        one line an engine.

    Raises:
        RuntimeUnavailable: no TensorRT, no ``cuda-python`` or no GPU.
        GateError: an engine is further from the reference, or slower, than its gate allows; the record says so too.
        UsageError: no photos, or no reference.
    """
    gpu, size = device(), bundle.manifest.preprocessing.size
    images = read_squares(photos, size)
    reference = _reference(bundle, images)
    proofs: list[Proof] = []
    for variant, graph in tensorrt_graphs(bundle):
        fp16 = next((proof.latency[0].gpu_p50 for proof in proofs if proof.precision == "fp16"), None)
        proofs.append(_prove(bundle, variant, build_variant(variant, graph), gpu, images, reference, fp16))
        yield _line(proofs[-1])
    with atomic_write(record) as file:
        file.write(msgspec.json.format(msgspec.json.encode(proofs), indent=2) + b"\n")
    refused = [f"{proof.variant}: {reason}" for proof in proofs for reason in proof.refused]
    if refused:
        raise GateError("; ".join(refused))


def _reference(bundle: Bundle, images: npt.NDArray[np.uint8]) -> Vectors:
    variant = float_variant(bundle)
    graph = bundle.read(variant.file)
    parts = [images[start : start + MAX_BATCH] for start in range(0, len(images), MAX_BATCH)]
    return np.concatenate([run_graph(graph, {variant.input.name: part}) for part in parts])


def _prove(
    bundle: Bundle,
    variant: Variant,
    built: Built,
    gpu: Device,
    images: npt.NDArray[np.uint8],
    reference: Vectors,
    fp16_milliseconds: float | None,
) -> Proof:
    graph = TensorrtGraph(built.engine, [variant.input], variant.output, 1, max_batch=MAX_BATCH)
    vectors = graph.run({variant.input.name: images})
    cosines = (reference.astype(np.float64) * vectors).sum(axis=1)
    latency = [_latency(graph, variant.input.name, images, batch) for batch in (1, MAX_BATCH)]
    mean, p1 = float(cosines.mean()), float(np.percentile(cosines, 1))
    gate, refused = GATES[variant.precision], []
    if not mean >= gate.mean:  # NaN fails too
        refused.append(f"mean cosine {mean:.6f}; accepted: at least {gate.mean}")
    if not p1 >= gate.p1:
        refused.append(f"1st percentile of cosines {p1:.6f}; accepted: at least {gate.p1}")
    if fp16_milliseconds is not None and fp16_milliseconds / latency[0].gpu_p50 < gate.speed_up:
        refused.append(f"{fp16_milliseconds / latency[0].gpu_p50:.2f}× FP16; accepted: at least {gate.speed_up}×")
    labels = merge([bundle.pack(entry.name) for entry in bundle.manifest.packs]).embeddings.T
    changed = float(((reference @ labels).argmax(axis=1) != (vectors @ labels).argmax(axis=1)).mean())
    return Proof(
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        bundle_sha256=bundle.sha256,
        variant=variant.name,
        precision=built.precision,
        tensorrt=version(),
        device=gpu.name,
        compute_capability=gpu.compute_capability,
        photos=len(images),
        cosine_mean=mean,
        cosine_p1=p1,
        cosine_least=float(cosines.min()),
        changed_labels=changed,
        build_seconds=round(built.seconds, 1),
        engine_bytes=len(built.engine),
        latency=latency,
        refused=refused,
        command=sys.argv,
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _latency(graph: TensorrtGraph, name: str, images: npt.NDArray[np.uint8], batch: int) -> Latency:
    some = np.resize(images, (batch, *images.shape[1:]))  # repeats them when there are fewer
    graph.gpu_milliseconds(some, _WARM_UP)
    gpu = graph.gpu_milliseconds(some, _RUNS)
    wall = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        graph.run({name: some})
        wall.append((time.perf_counter() - start) * 1e3)
    return Latency(batch, *(float(np.percentile(values, share)) for values in (gpu, wall) for share in (50, 95)))


def _line(proof: Proof) -> str:
    first = proof.latency[0]
    cosines = f"cosine {proof.cosine_mean:.6f} mean, {proof.cosine_p1:.6f} p1, {proof.cosine_least:.6f} least"
    times = f"{first.gpu_p50:.2f} ms on the GPU, {first.wall_p50:.2f} ms with copies"
    return f"{proof.variant}  {proof.precision}  {cosines}; {times}; {'; '.join(proof.refused) or 'passes'}"
