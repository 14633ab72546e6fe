"""A collection of photos made by code, and a text encoder that knows its words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.text.encoder import TextEncoder
from training.synthetic import write_collection


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # photos of 32 pixels: handing work to a second thread costs more than it saves


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the data with one collection, ``alive-mini``; read only."""
    root = tmp_path_factory.mktemp("data")
    write_collection(root / "alive-mini")
    return root


@pytest.fixture
def collection_root(tmp_path: Path) -> Path:
    """A collection of its own, for a test to break."""
    write_collection(tmp_path / "alive-mini")
    return tmp_path / "alive-mini"


@pytest.fixture(scope="session")
def text(tiny_bundle: Path) -> TextEncoder:
    return TextEncoder(Bundle.open(tiny_bundle), threads=1)
