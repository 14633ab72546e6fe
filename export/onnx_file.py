"""The image encoder of a training run as one ONNX file, held against PyTorch on real photos."""

from __future__ import annotations

from pathlib import Path

from agriclip_edge.files import atomic_write
from agriclip_edge.imaging.preprocess import preprocessing_id
from training.encoder import load_tower
from training.results import model_sha256

from .image_encoder import export_image_encoder
from .photos import read_squares


def export_onnx(run: Path, photos: Path, output: Path, *, half: bool = False) -> str:
    """Write ``output``: uint8 (N, S, S, 3) in, unit float32 (N, D) out; mean, deviation and L2 normalisation inside.

    The file's metadata hold the checkpoint's sha256, the licence and the preprocessing.

    Args:
        run: folder of a finished training run.
        photos: a folder of photos to compare on, searched through.
        output: the file; a former one is replaced only by one that passed.
        half: store weights as float16; they are computed with in float32 all the same.

    Returns:
        what was compared, in one line.

    Raises:
        GateError: the graph differs from PyTorch by more than 1e-4; nothing is written.
        UsageError: the run is not finished, there is no photo, or a photo cannot be read.
    """
    tower, facts = load_tower(run)
    size = int(facts["config"]["input_size"])
    squares = read_squares(photos, size)
    checkpoint = model_sha256(run)
    metadata = {"checkpoint": checkpoint, "licence": "Apache-2.0", "preprocessing": preprocessing_id(size)}
    graph = export_image_encoder(tower, size, metadata, squares)
    with atomic_write(output) as file:
        file.write(graph.data if half else graph.exact)
    parity = graph.parity if half else graph.traced
    compared = f"{len(squares)} photos: values differ from PyTorch by at most {parity.difference:.1e}"
    return f"{output.name}  {output.stat().st_size / 1e6:.1f} MB  {compared}, least cosine {parity.least:.7f}"
