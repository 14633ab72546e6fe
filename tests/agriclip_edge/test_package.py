"""The package's front: its public names come when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agriclip_edge


def test_public_names() -> None:
    assert dir(agriclip_edge) == sorted(agriclip_edge.__all__)
    for name in agriclip_edge.__all__:
        assert getattr(agriclip_edge, name) is not None
    with pytest.raises(AttributeError, match="module 'agriclip_edge' has no attribute 'clasify'"):
        agriclip_edge.clasify  # type: ignore[attr-defined]  # noqa: B018


def test_star_import() -> None:
    program = "from agriclip_edge import *; print(load.__name__, Classifier.__name__, __version__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["load", "Classifier", agriclip_edge.__version__]


def test_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agriclip_edge", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"agriclip-edge {agriclip_edge.__version__}\n"
