"""What a device asks of a bundle that carries no limits is what the export asks."""

from __future__ import annotations

import pytest

from agriclip_edge.bundle.limits import LIMITS
from export.gate import read_budget


@pytest.mark.parametrize("kind", LIMITS)
def test_the_device_asks_what_the_export_asks(kind: str) -> None:
    budget = read_budget(kind)
    cosines = ("mean_cosine", "p1_cosine", "least_cosine")
    asked = {name: getattr(budget, name) for name in (*cosines, "drop_mean", "drop_task")}
    assert LIMITS[kind] == {name: limit for name, limit in asked.items() if limit is not None}
