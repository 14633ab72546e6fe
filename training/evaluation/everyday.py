"""The everyday task: sample photos of scikit-image and scikit-learn among thirty typed labels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec
import tomllib

from agriclip_edge.errors import UsageError

from .tasks import JudgedTask, PhotoSet

NAME = "everyday"
_TABLE = Path(__file__).with_name("everyday.toml")
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
_PACKAGES = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


class Everyday(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table: labels, and by package each photo's right label."""

    labels: tuple[str, ...]
    photos: dict[str, dict[str, str]]


def read_table(path: Path = _TABLE) -> Everyday:
    """Read the table of labels and answers."""
    return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Everyday)


def everyday_task() -> JudgedTask:
    """All photos of the table; those that an installed release no longer carries are left out.

    Raises:
        UsageError: a package is not installed.
    """
    table = read_table()
    found = []
    for package, answers in table.photos.items():
        spec = find_spec(package)  # its files alone are wanted; importing it costs a second
        if spec is None or spec.origin is None:
            raise UsageError(
                f"{_PACKAGES[package]} is not installed; install it with: pip install {_PACKAGES[package]}"
            )
        folder = Path(spec.origin).parent / _FOLDERS[package]
        for name, label in answers.items():
            if (folder / name).is_file():
                found.append((f"{package}/{name}", (folder / name).read_bytes(), table.labels.index(label)))
    return JudgedTask(NAME, "general knowledge", table.labels, PhotoSet.of(found), PhotoSet.of(()))
