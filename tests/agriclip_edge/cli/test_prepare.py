"""``agriclip-edge prepare`` where it cannot build: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agriclip_edge.runtimes.cuda import has_nvidia_gpu


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_bytes())
    cpu = manifest["image"][0]
    manifest["image"].append({**cpu, "name": "trt-fp16", "runtime": "tensorrt", "precision": "fp16"})
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def without(tmp_path: Path, *modules: str) -> dict[str, str]:
    """An environment for a process in which these modules are not installed."""
    site = tmp_path / "site"
    site.mkdir()
    lines = "".join(f"sys.modules[{name!r}] = None\n" for name in modules)
    (site / "sitecustomize.py").write_text(f"import sys\n{lines}")
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def test_without_tensorrt_one_line_says_how_to_install_it(
    spawn: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    environment = without(tmp_path, "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    result = spawn("prepare", "--bundle", bundle, env=environment)
    assert result.code == 2
    assert result.out == b""
    [line] = result.lines
    assert line.startswith("agriclip-edge: TensorRT is not installed: ")
    assert "pip install tensorrt cuda-python" in line or "sudo apt install python3-libnvinfer" in line
    assert not (tmp_path / "home").exists()


def test_without_cuda_python_one_line_says_how_to_install_it(
    spawn: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    result = spawn("prepare", "--bundle", bundle, env=without(tmp_path, "cuda.bindings", "cuda.bindings.runtime"))
    assert result.code == 2
    [line] = result.lines
    assert line.startswith('agriclip-edge: cuda-python is not installed: pip install "cuda-python<13"')


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_one_line_says_so(spawn: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    pytest.importorskip("cuda.bindings")
    result = spawn("prepare", "--bundle", bundle)
    assert result.code == 2
    [line] = result.lines
    assert line.startswith("agriclip-edge: no CUDA device: ")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "has no TensorRT variant of precision fp16; it has: none"),
        (["--precision", "int8"], "has no TensorRT variant of precision int8; it has: none"),
        (["--precision", "int4"], "'int4' is not one of 'fp16', 'int8'"),
        (["--max-batch", "0"], "0 is not in the range"),
    ],
)
def test_wrong_use_is_one_line(cli: Callable[..., Any], arguments: list[str], words: str) -> None:
    result = cli("prepare", *arguments)
    assert result.code == 2
    [line] = result.lines
    assert words in line


def test_time_left_is_said_in_the_unit_that_people_wait_in() -> None:
    from agriclip_edge.cli.prepare import time_left

    assert time_left(600, 0.5) == "about 10 min"
    assert time_left(10, 0.5) == "about 10 s"
    assert time_left(10, 1.0) == "about 0 s"
