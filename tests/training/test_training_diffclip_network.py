"""Masking, components and network of the scene encoder: tokens come back to their places, modalities may lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality, Scene
from training.diffclip.config import DiffclipConfig
from training.diffclip.masking import draw_mask, put, take
from training.diffclip.network import Decoders, Encoder
from training.diffclip.pretrain import TURNS, Pretraining, new_encoder, scene_components, turn_all, turned
from training.diffclip.spectrum import Components, fit_components, prepared
from training.diffclip.synthetic import synthetic_scene

CONFIG = DiffclipConfig.tiny()
SIDE = CONFIG.window


@pytest.fixture(scope="module")
def scene() -> Scene:
    return synthetic_scene(tiles=4, side=12, bands=20).scene


@pytest.fixture(scope="module")
def encoder(scene: Scene) -> Encoder:
    return new_encoder(CONFIG, scene).eval()


def windows(scene: Scene, count: int = 5) -> dict[str, Tensor]:
    """Raw windows (N, C, S, S) of each modality from the scene's first tile."""
    cut = {}
    for modality in scene.modalities:
        own = [modality.values[i : i + SIDE, i : i + SIDE].transpose(2, 0, 1) for i in range(count)]
        cut[modality.name] = torch.from_numpy(np.stack(own))
    return cut


@pytest.mark.parametrize("ratio", (0.3, 0.7, 0.9))
def test_shown_tokens_come_back_to_their_places(ratio: float) -> None:
    generator = torch.Generator().manual_seed(3)
    valid = torch.ones(7, 25, dtype=torch.bool)
    masks = [draw_mask(valid, ratio, generator) for _ in range(3)]  # as many as modalities, each its own
    for number, mask in enumerate(masks):
        places = torch.arange(25.0)[None, :, None].expand(7, -1, 1) + 100 * number  # each token says where it is from
        shown = take(places, mask.places)
        assert shown.shape == (7, round(25 * (1 - ratio)), 1)
        back = put(shown, mask.places, torch.full((7, 25, 1), -1.0))
        assert torch.equal(back[mask.shown], places[mask.shown])
        assert (back[mask.hidden] == -1).all()
        assert torch.equal(mask.shown, ~mask.hidden)
    assert not torch.equal(masks[0].shown, masks[1].shown)
    assert not torch.equal(masks[1].shown, masks[2].shown)


def test_tokens_without_data_are_neither_shown_nor_asked_for() -> None:
    valid = torch.zeros(2, 10, dtype=torch.bool)
    valid[0, :4] = True
    mask = draw_mask(valid, 0.5, torch.Generator().manual_seed(0))
    assert mask.shown[0].sum() == 4 and not mask.hidden[0].any()  # 5 may be shown, 4 are there
    assert not mask.shown[1].any() and not mask.hidden[1].any()


@pytest.mark.parametrize("name", ("hyperspectral", "lidar"))
def test_each_modality_is_rebuilt_in_its_own_places(encoder: Encoder, scene: Scene, name: str) -> None:
    """A change at a hidden place alters nothing, one at a shown place alters what is rebuilt there most."""
    torch.manual_seed(0)
    decoders = Decoders(CONFIG, {n: encoder.components[n] for n in encoder.modalities}).eval()
    tokens = {
        n: encoder.components[n](values).flatten(2).transpose(1, 2) for n, values in windows(scene, count=2).items()
    }
    generator = torch.Generator().manual_seed(1)
    masks = {n: draw_mask(torch.ones(part.shape[:2], dtype=torch.bool), 0.7, generator) for n, part in tokens.items()}
    steps = torch.zeros(2, dtype=torch.int64)

    def rebuilt(parts: dict[str, Tensor]) -> dict[str, Tensor]:
        return decoders(encoder.encode(parts, steps, None, masks), masks)

    with torch.no_grad():
        before = rebuilt(tokens)
        blind = dict(tokens, **{name: torch.where(masks[name].hidden[..., None], 99.0, tokens[name])})
        assert all(torch.equal(before[n], part) for n, part in rebuilt(blind).items())
        place = int(masks[name].shown[0].nonzero()[0])
        other = tokens[name].clone()
        other[0, place] += 1
        moved = (rebuilt(dict(tokens, **{name: other}))[name] - before[name]).abs().sum(-1)
    assert moved[0].argmax() == place  # the decoder's shortcut carries a token to its own place
    assert moved[1].max() == 0


def test_a_decoder_learns_places_of_every_modality(scene: Scene) -> None:
    """Without noise a model learns the shown tokens of one batch by heart: it can only if places are right."""
    config = replace(CONFIG, noise=(1e-9, 1e-9), drop_modality=0.0, masked_weight=0.0, batch=4)
    fit = Pretraining(config, scene)
    clean, valid = fit.batch(0)
    optimizer = torch.optim.Adam([*fit.encoder.parameters(), *fit.decoders.parameters()], lr=1e-2)
    first: dict[str, float] = {}
    for _ in range(120):
        losses = fit.losses(clean, valid, torch.Generator().manual_seed(0))
        values = {name: float(visible.detach()) for name, (visible, _) in losses.items()}
        first = first or values
        optimizer.zero_grad()
        sum(visible for visible, _ in losses.values()).backward()
        optimizer.step()
    assert all(values[name] < 0.25 * first[name] for name in values), (first, values)


def test_turning_is_the_same_for_all_modalities(scene: Scene) -> None:
    # A scene whose second modality is the first's first channel: after any augmentation it still must be.
    first = scene.modalities[0]
    same = Modality("same", first.values[..., :1].copy(), first.valid, first.unit)
    one = Modality("one", first.values[..., :1].copy(), first.valid, first.unit)
    fit = Pretraining(replace(CONFIG, drop_modality=0.0, normalised=()), replace(scene, modalities=(one, same)))
    for step in range(3):
        tokens, _ = fit.batch(step)
        assert torch.allclose(tokens["one"], tokens["same"], atol=1e-6)


def test_the_eight_ways_to_turn_a_window_are_different() -> None:
    window = torch.arange(9.0).reshape(1, 3, 3)
    assert len({tuple(turn_all(window, turn).flatten().tolist()) for turn in range(TURNS)}) == TURNS
    many = window.expand(TURNS, 3, 3)
    assert torch.equal(turned(many, torch.arange(TURNS))[5], turn_all(window, 5)[0])


def test_features_do_not_depend_on_chance_or_on_what_is_missing_elsewhere(encoder: Encoder, scene: Scene) -> None:
    cut = windows(scene)
    with torch.no_grad():
        whole = encoder(cut)
        assert whole.shape == (5, encoder.features)
        assert torch.equal(whole, encoder(cut))
        alone = encoder({"hyperspectral": cut["hyperspectral"]})
        gone = {"hyperspectral": torch.ones(5, SIDE, SIDE, dtype=torch.bool)}
        gone["lidar"] = torch.zeros(5, SIDE, SIDE, dtype=torch.bool)
        masked = encoder(cut, gone)
    width = encoder.parts["hyperspectral"]
    assert (alone[:, width:] == 0).all() and (masked[:, width:] == 0).all()
    assert torch.allclose(alone, masked, atol=1e-5)  # left out or without data: the same
    assert not torch.allclose(alone[:, :width], whole[:, :width])  # the other modality is looked at when it is there


def test_pixels_without_data_change_nothing(encoder: Encoder, scene: Scene) -> None:
    cut = windows(scene)
    valid = {name: torch.ones(5, SIDE, SIDE, dtype=torch.bool) for name in cut}
    valid["hyperspectral"][:, 0, :] = False
    spoilt = {name: values.clone() for name, values in cut.items()}
    spoilt["hyperspectral"][:, :, 0, :] = 7.0
    with torch.no_grad():
        assert torch.allclose(encoder(cut, valid), encoder(spoilt, valid), atol=1e-5)


def test_an_unknown_modality_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UsageError, match="hyperspectral, lidar"):
        encoder({"sar": torch.zeros(1, 2, SIDE, SIDE)})


def test_components_forget_light_and_order_by_signal(scene: Scene) -> None:
    camera = scene.modalities[0]
    parts = fit_components(camera, camera.valid, scene.tile, 6, normalise=True)
    raster = torch.from_numpy(camera.values).permute(2, 0, 1)[None]
    assert torch.allclose(parts(raster), parts(3 * raster), atol=1e-4)
    cube = parts(raster)[0].flatten(1).double()
    assert cube.mean(dim=1).abs().max() < 1e-3
    assert abs(float(cube.var(dim=1).mean()) - 1) < 0.05
    correlations = torch.corrcoef(cube) - torch.eye(6)
    assert correlations.abs().max() < 0.05
    rough = (parts(raster)[0, :, :, 1:] - parts(raster)[0, :, :, :-1]).square().mean(dim=(1, 2))
    ratio = cube.var(dim=1) / rough
    assert (ratio[:-1] >= ratio[1:] * 0.9).all()  # smoothest first; borders of tiles blur the order a little


def test_levelling_takes_a_share_of_each_tiles_mean(scene: Scene) -> None:
    config = replace(CONFIG, level_share=1.0)
    levelled = prepared(config, scene).modalities[0]
    for tile in range(4):
        assert np.abs(levelled.values[scene.tile == tile].mean(axis=0)).max() < 1e-5
    assert prepared(CONFIG, scene) is scene
    assert prepared(config, scene).modalities[1] is scene.modalities[1]


def test_components_of_a_scene_are_those_of_its_windows(encoder: Encoder, scene: Scene) -> None:
    camera = scene.modalities[0]
    cube = scene_components(encoder, camera)
    part: Components = encoder.components["hyperspectral"]
    own = part(torch.from_numpy(camera.values[:3]).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    assert np.allclose(cube[:3], own.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    (({"window": 4}, "window"), ({"mask_ratio": 1.0}, "mask_ratio"), ({"width": 18}, "width"), ({"steps": 0}, "steps")),
)
def test_recipes_that_cannot_run_are_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(CONFIG, **change)  # type: ignore[arg-type]
