"""Photos that the command line is tried on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"red": (220, 10, 10), "green": (30, 190, 40), "blue": (20, 60, 230), "white": (250, 250, 250)}


@pytest.fixture
def photo() -> Callable[..., Path]:
    """Writes a small picture: of a colour by its name, or noise by its number."""

    def write(path: Path, look: str | int = "red", side: int = 40) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(look, str):
            rgb = np.full((side, side, 3), COLOURS[look], np.uint8)
        else:
            rgb = np.random.default_rng(look).integers(0, 256, (side, side, 3), dtype=np.uint8)
        with open(path, "wb") as file:
            Image.fromarray(rgb).save(file, "PNG")
        return path

    return write


@pytest.fixture
def field(tmp_path: Path, photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``field`` in the working folder, with photos in it and below it, and what is no photo."""
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "field" / "b.png", "red")
    photo(tmp_path / "field" / "a.PNG", "green")
    photo(tmp_path / "field" / "row 2" / "c.png", "blue")
    photo(tmp_path / "field" / ".hidden.png")
    photo(tmp_path / "field" / ".trash" / "d.png")
    (tmp_path / "field" / "notes.txt").write_text("rust on the third row")
    (tmp_path / "field" / "row 3").mkdir()
    return Path("field")


@pytest.fixture
def without_privileges() -> tuple[str, ...]:
    """What goes before a command so that file modes hold for it, even when root runs the tests."""
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
