"""Raster files cut off and spoilt, whatever their format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from agriclip_edge.errors import PhotoError, UsageError
from agriclip_edge.scene.read import open_raster, read_modality


@pytest.fixture
def refused_in_one_line() -> Callable[..., None]:
    """Reads a sound raster file cut off at some lengths, and with bytes of chance at places of chance."""

    def damage(path: Path, cuts: Sequence[int] = (), *, first: int, places: int, rounds: int = 40) -> None:
        """``places`` bytes from the ``first`` on are spoilt at once; whatever is still read is as good as any."""
        whole = path.read_bytes()
        for cut in cuts:
            path.write_bytes(whole[:cut])
            with pytest.raises(PhotoError, match=path.name) as caught:
                read_modality(open_raster(path, "hyperspectral"))
            assert "\n" not in str(caught.value)
        chance, said = np.random.default_rng(1), []
        for _ in range(rounds):
            data = bytearray(whole)
            for place in chance.integers(first, len(data), places):
                data[place] = chance.integers(256)
            path.write_bytes(data)
            try:
                read_modality(open_raster(path, "hyperspectral"))
            except (PhotoError, UsageError) as error:
                said.append(str(error))
        assert said and not any("\n" in line for line in said)

    return damage
