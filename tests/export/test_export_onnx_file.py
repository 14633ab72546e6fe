"""One ONNX file of a run, held against PyTorch on real photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.preprocess import preprocessing_id
from export.onnx_file import export_onnx
from export.parity import run_graph
from export.photos import read_squares
from training.encoder import load_tower
from training.results import model_sha256

PHOTOS = Path(__file__).resolve().parents[1] / "data" / "photos"


@pytest.mark.parametrize("half", [False, True])
def test_the_file_says_what_pytorch_says_and_where_it_is_from(run: Path, tmp_path: Path, half: bool) -> None:
    line = export_onnx(run, PHOTOS, tmp_path / "encoder.onnx", half=half)
    assert line.startswith("encoder.onnx") and "6 photos: values differ from PyTorch by at most" in line
    data = (tmp_path / "encoder.onnx").read_bytes()
    tower, facts = load_tower(run)
    size = int(facts["config"]["input_size"])
    squares = read_squares(PHOTOS, size)
    with torch.inference_mode():
        expected = tower(torch.from_numpy(squares)).numpy()
    assert np.abs(run_graph(data, {"images": squares}) - expected).max() < (1e-2 if half else 1e-4)
    properties = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    wanted = {"checkpoint": model_sha256(run), "licence": "Apache-2.0", "preprocessing": preprocessing_id(size)}
    assert properties == wanted
    export_onnx(run, PHOTOS, tmp_path / "again.onnx", half=half)
    assert (tmp_path / "again.onnx").read_bytes() == data


def test_without_a_readable_photo_nothing_is_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="holds no photos; accepted: a folder with .jpeg, .jpg"):
        export_onnx(run, tmp_path / "photos", tmp_path / "encoder.onnx")
    (tmp_path / "photos" / "leaf.jpg").write_bytes(b"no photo")
    with pytest.raises(UsageError, match="leaf.jpg"):
        export_onnx(run, tmp_path / "photos", tmp_path / "encoder.onnx")
    assert not (tmp_path / "encoder.onnx").exists()
