"""``agriclip-edge classify --explain``: a picture a photo, and a folder that cannot be one is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

Cli = Callable[..., Any]


def test_each_good_photo_has_a_picture(cli: Cli, tmp_path: Path, photo: Callable[..., Path]) -> None:
    photo(tmp_path / "a" / "leaf.png", 1)
    photo(tmp_path / "b" / "leaf.png", 2)
    (tmp_path / "b" / "broken.jpg").write_bytes(b"\xff\xd8")
    result = cli("classify", tmp_path / "a", tmp_path / "b", "--explain", tmp_path / "why" / "deep")
    assert result.code == 1 and len(result.lines) == 1
    pictures = sorted((tmp_path / "why" / "deep").iterdir())
    assert [path.name for path in pictures] == ["leaf-2.jpg", "leaf.jpg"]
    with Image.open(pictures[0]) as picture:
        assert picture.format == "JPEG" and min(picture.size) > 400


def test_a_folder_that_cannot_be_made_is_one_line_before_any_answer(
    cli: Cli, tmp_path: Path, photo: Callable[..., Path]
) -> None:
    leaf = photo(tmp_path / "leaf.png")
    result = cli("classify", leaf, "--explain", leaf)
    assert result.code == 2 and len(result.lines) == 1 and "leaf.png" in result.lines[0] and result.out == b""
