"""TensorRT's builder on real graphs, by TensorRT-RTX: it has the same API and needs no GPU to parse and build."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agriclip_edge.errors import BundleError, RuntimeUnavailable

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed; pip install agriclip-edge[dev]")

from agriclip_edge.runtimes.cuda import Device, device, has_nvidia_gpu
from agriclip_edge.runtimes.tensorrt import TensorrtGraph
from agriclip_edge.runtimes.tensorrt_api import api, log, version
from agriclip_edge.runtimes.tensorrt_build import _config, build, engine_key


@pytest.fixture(scope="module")
def image(tiny_bundle: Path) -> bytes:
    return (tiny_bundle / "image" / "encoder.onnx").read_bytes()


def test_the_image_encoder_builds(image: bytes) -> None:
    built = build(image)
    assert built.precision == "fp32"
    assert built.layers > 5
    assert len(built.engine) > 10_000


def test_the_text_encoder_builds(tiny_bundle: Path) -> None:
    built = build((tiny_bundle / "text" / "encoder.onnx").read_bytes(), max_length=16)
    assert len(built.engine) > 10_000


def test_float32_is_computed_in_float32() -> None:
    """Not in TF32, which TensorRT takes by itself: no gate has judged it."""
    trt = api()
    builder = trt.Builder(log())
    assert builder.create_builder_config().get_flag(trt.BuilderFlag.TF32)
    assert not _config(builder, 1 << 20).get_flag(trt.BuilderFlag.TF32)


def test_progress_grows_to_the_end(image: bytes) -> None:
    shares: list[float] = []
    build(image, progress=shares.append)
    assert len(shares) > 10
    assert all(0 <= share <= 1 for share in shares)
    assert shares[0] < 0.2
    assert max(shares) > 0.6


def test_ctrl_c_ends_a_build(image: bytes) -> None:
    calls = 0

    def interrupt(share: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(image, progress=interrupt)
    assert calls == 3


def test_ctrl_c_ends_a_build_at_any_moment(tiny_bundle: Path) -> None:
    program = f"""
from pathlib import Path
from agriclip_edge.runtimes.tensorrt_build import build
graph = Path({str(tiny_bundle / "image" / "encoder.onnx")!r}).read_bytes()
build(graph)
print("building", flush=True)
try:
    while True:
        build(graph)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    for moment in (0.05, 0.2, 0.3):
        with subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.default_int_handler
            ),  # whoever runs us may ignore it
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "building\n"
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            try:
                rest, _ = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert rest == "stopped\n"
        assert process.returncode == 0


def test_a_graph_whose_weights_lie_in_another_file_is_refused(image: bytes) -> None:
    with pytest.raises(BundleError, match="keeps weights in another file"):
        build(image + b"\x0a\x08location")


@pytest.mark.parametrize("data", [b"", b"not a graph", bytes(1000)])
def test_what_is_no_graph_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(BundleError) as refusal:
        build(data)
    assert "cannot read the graph" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_key_names_what_is_installed(image: bytes) -> None:
    key = engine_key(image, "fp16", Device("GPU", "8.7", 1 << 30), 4)
    assert key.tensorrt == version()
    assert key.tensorrt.startswith("tensorrt")
    assert key.batch == (1, 1, 4)
    assert key != engine_key(image + b"\0", "fp16", Device("GPU", "8.7", 1 << 30), 4)


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_an_engine_is_not_run(image: bytes, tiny_bundle: Path) -> None:
    from agriclip_edge.bundle.reader import Bundle

    variant = Bundle.open(tiny_bundle).manifest.image[0]
    with pytest.raises(RuntimeUnavailable) as refusal:
        TensorrtGraph(build(image).engine, [variant.input], variant.output, 1, max_batch=16)
    assert "refuses the engine" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_the_line_says_so() -> None:
    with pytest.raises(RuntimeUnavailable, match=r"no CUDA device|cuda-python is not installed"):
        device()
