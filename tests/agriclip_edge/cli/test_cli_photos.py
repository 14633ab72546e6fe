"""Photos, folders, patterns and lists become paths in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agriclip_edge.cli.photos import Listed, list_photos

IN_FIELD = ["field/a.PNG", "field/b.png", "field/row 2/c.png"]


def paths(*arguments: str) -> list[str]:
    found = list_photos(arguments)
    assert all(item.error is None for item in found)
    return [item.path for item in found]


CASES: dict[str, tuple[list[str], list[str]]] = {
    "photos as they are": (["field/b.png", "field/a.PNG"], ["field/b.png", "field/a.PNG"]),
    "the same twice": (["field/b.png"] * 2, ["field/b.png"] * 2),
    "a folder, by name": (["field"], IN_FIELD),
    "a folder with a slash": (["field/"], IN_FIELD),
    "a folder and a photo of it": (["field", "field/b.png"], [*IN_FIELD, "field/b.png"]),
    "a pattern": (["field/*.png"], ["field/b.png"]),
    "a pattern through folders": (["field/**/*.png"], ["field/b.png", "field/row 2/c.png"]),
    "a pattern that names folders": (["field/row*2"], ["field/row 2/c.png"]),
    "a pattern of characters": (["field/[ab].*"], ["field/a.PNG", "field/b.png"]),
    "a file that is no photo, by its name": (["field/notes.txt"], ["field/notes.txt"]),
    "a file that is not there": (["missing.jpg"], ["missing.jpg"]),
    "a dash in a name": (["./-"], ["./-"]),
}


@pytest.mark.parametrize(("arguments", "expected"), CASES.values(), ids=list(CASES))
def test_arguments(arguments: list[str], expected: list[str], field: Path) -> None:
    assert paths(*arguments) == expected


def test_nothing_found_is_said_in_its_place(field: Path) -> None:
    found = list_photos(["field/row 3", "field/b.png", "*.tiff", "field/row*/x*.png"])
    assert found[0].path == "field/row 3"
    assert (found[0].error or "").startswith("holds no photo; accepted: .jpg .jpeg")
    assert found[1:] == [
        Listed("field/b.png"),
        Listed("*.tiff", "no file matches this pattern"),
        Listed("field/row*/x*.png", "no file matches this pattern"),
    ]


def test_a_name_that_looks_like_a_pattern(field: Path, photo: Callable[..., Path]) -> None:
    photo(Path("leaf [1].png"))
    photo(Path("leaf 1.png"))
    assert paths("leaf [1].png") == ["leaf [1].png"]


def test_links(field: Path) -> None:
    """A link to a photo is a photo; a link to a folder inside a folder is not followed (it may lead in circles)."""
    Path("field/row 2/link.png").symlink_to("c.png")
    Path("field/row 2/up").symlink_to("..")
    assert paths("field/row 2") == ["field/row 2/c.png", "field/row 2/link.png"]
    Path("link").symlink_to("field/row 2")
    assert paths("link") == ["link/c.png", "link/link.png"]


def test_every_accepted_suffix(tmp_path: Path) -> None:
    names = sorted(
        f"p.{kind}" for kind in ("jpg", "JPEG", "png", "webp", "tif", "TIFF", "bmp", "gif", "avif", "heic", "mpo")
    )
    for name in [*names, "p.txt", "p.raw", "p", "p.json"]:
        (tmp_path / name).touch()
    assert [os.path.basename(path) for path in paths(str(tmp_path))] == names


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/row \xff.png"
    with open(name, "wb"):
        pass
    assert [os.fsencode(path) for path in paths(str(tmp_path))] == [name]
