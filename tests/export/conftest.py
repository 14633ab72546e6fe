"""A trained and judged run at its smallest, and the text model that it was trained against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from export.graphs import IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.tracing import trace
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


class Small(nn.Module):
    """Four convolutions, one of them depthwise with channels of very different ranges."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(),
            nn.Conv2d(16, 32, 1), nn.ReLU6(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU6(),
        )  # fmt: skip
        with torch.no_grad():
            self.layers[2].weight *= torch.logspace(-2, 1, 16)[:, None, None, None]
        self.head = nn.Linear(32, 16)
        with torch.no_grad():  # photos lie apart from each other, so that a cosine tells a change
            self.head.bias.copy_(
                -0.8 * self.head.weight @ self.features(torch.from_numpy(made_photos(64, 32))).mean(dim=0)
            )

    def features(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.layers(pixels).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.head(self.features(images)), dim=-1)


@pytest.fixture(scope="session")
def exact() -> bytes:
    """The graph of `Small`, for photos of 32 pixels and embeddings of 16 values."""
    example = torch.from_numpy(made_photos(2, 32))
    return graph_bytes(trace(Small().eval(), {IMAGES: example}, {IMAGES: {0: "N"}}), {}, {})


@pytest.fixture(scope="session")
def squares() -> np.ndarray:
    return made_photos(64, 32)
