"""The study's ways to quantise change what they say they change, and leave the float graph's answers alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.quantise_tricks import equalise, layer_ranges
from export.graphs import IMAGES, graph_bytes
from export.image_encoder import made_photos
from export.parity import compare, run_graph
from export.quantise import QuantiseConfig, quantise
from export.tracing import trace

PHOTOS = made_photos(48, 32)


class Quiet(nn.Module):
    """Three convolutions; between the first two, channels of very different size share one scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(),
            nn.Conv2d(16, 32, 1),
        )  # fmt: skip
        with torch.no_grad():
            self.layers[0].weight *= torch.logspace(-2, 0.5, 16)[:, None, None, None]
            self.layers[2].weight *= torch.logspace(2, -0.5, 16)[:, None, None, None]
        self.head = nn.Linear(32, 16)
        with torch.no_grad():  # embeddings that lie all around zero, so that a cosine tells a change
            self.head.bias.copy_(-self.head.weight @ self.features(torch.from_numpy(PHOTOS)).mean(dim=0))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images.permute(0, 3, 1, 2).float() / 127.5 - 1).mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.head(self.features(images)), dim=-1)


@pytest.fixture(scope="module")
def exact() -> bytes:
    example = torch.from_numpy(PHOTOS[:2])
    return graph_bytes(trace(Quiet().eval(), {IMAGES: example}, {IMAGES: {0: "N"}}), {}, {})


def least(reference: bytes, graph: bytes) -> float:
    return compare(run_graph(reference, {IMAGES: PHOTOS}), run_graph(graph, {IMAGES: PHOTOS})).least


EVERYTHING = QuantiseConfig(float_convolutions=0)


@pytest.mark.parametrize("depthwise_only", [True, False])
def test_equalisation_keeps_the_answers_and_gains_in_int8(exact: bytes, depthwise_only: bool) -> None:
    level = equalise(exact, PHOTOS, depthwise_only=depthwise_only)
    assert level != exact and least(exact, level) > 0.999
    assert least(exact, quantise(level, PHOTOS, EVERYTHING)) > least(exact, quantise(exact, PHOTOS, EVERYTHING))


def test_a_lower_percentile_narrows_ranges_and_zero_stays_inside(exact: bytes) -> None:
    base = quantise(exact, PHOTOS, EVERYTHING)
    whole, cut = (layer_ranges(exact, base, PHOTOS, [percentile]) for percentile in (100, 99.0))
    assert whole.keys() == cut.keys() and len(whole) >= 3
    assert all(low <= 0 <= high for low, high in cut.values())
    assert all(cut[name][1] <= whole[name][1] for name in whole)
    assert any(cut[name][1] < whole[name][1] for name in whole)
    best = layer_ranges(exact, base, PHOTOS, [100, 99.0])
    assert all(best[name] in (whole[name], cut[name]) for name in whole)
    assert np.isfinite(least(exact, quantise(exact, PHOTOS, EVERYTHING, best)))
