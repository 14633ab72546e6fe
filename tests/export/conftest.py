"""A trained and judged run at its smallest, and the text model that it was trained against."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from training.config import EncoderConfig
from training.encoder import train_encoder
from training.image_tower import ImageTower
from training.progress import StatusLine
from training.results import judge_run
from training.synthetic import write_collection, write_text_model
from training.text_tower import TextTower


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text_folder(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text model of random weights that knows the tiny bundle's words."""
    folder = tmp_path_factory.mktemp("text")
    write_text_model(folder, (tiny_bundle / "text" / "vocab.txt").read_bytes(), dim=32)
    return folder


@pytest.fixture(scope="session")
def text_tower(text_folder: Path) -> TextTower:
    return TextTower(text_folder)


@pytest.fixture(scope="session")
def run(text_tower: TextTower, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training run on photos made by code."""
    root = tmp_path_factory.mktemp("made")
    write_collection(root / "alive-mini")
    config = EncoderConfig.tiny()
    torch.manual_seed(0)
    tower = ImageTower(text_tower.dim, config.architecture)
    train_encoder(root, root / "run", config, tower, text_tower, StatusLine(Console(quiet=True)))
    judge_run(root / "run", root, "alive-mini", "val", text_tower)
    return root / "run"
