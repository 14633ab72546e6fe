"""Windows, the scaling of bands, and the synthetic scene."""

import numpy as np
import pytest

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.scene import Modality, Scene
from training.diffclip.colours import picture
from training.diffclip.labelled import STORED, LabelledScene
from training.diffclip.statistics import CLIP, apply, scaling
from training.diffclip.synthetic import COVERS, synthetic_scene
from training.diffclip.windows import windows

SIDE = 4  # of a tile


def two_tiles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two tiles one upon the other; every value says where it is from."""
    values = np.arange(2 * SIDE * SIDE, dtype=np.float32).reshape(2 * SIDE, SIDE, 1)
    tile = np.repeat(np.arange(2, dtype=np.int32), SIDE * SIDE).reshape(2 * SIDE, SIDE)
    return values, np.ones(tile.shape, bool), tile


def test_a_window_inside_is_the_pixels_round_it() -> None:
    values, valid, tile = two_tiles()
    cut, seen = windows(values, valid, tile, np.array([[1, 1], [6, 2]]), 3)
    np.testing.assert_array_equal(cut[0], values[0:3, 0:3])
    np.testing.assert_array_equal(cut[1], values[5:8, 1:4])
    assert cut.dtype == np.float32 and seen.all()


@pytest.mark.parametrize("side", [3, 5, 7, 11])
def test_no_window_crosses_a_tile_and_beyond_it_is_mirrored(side: int) -> None:
    values, valid, tile = two_tiles()
    half = side // 2
    for number in (0, 1):
        part = values[number * SIDE : (number + 1) * SIDE]
        mirrored = np.pad(part, ((half, half), (half, half), (0, 0)), mode="reflect")
        pixels = np.argwhere(tile == number)
        cut, seen = windows(values, valid, tile, pixels, side)
        for (row, column), window in zip(pixels - [number * SIDE, 0], cut):
            np.testing.assert_array_equal(window, mirrored[row : row + side, column : column + side])
        assert seen.all()


def test_what_carries_no_data_is_zero_and_said() -> None:
    values, valid, tile = two_tiles()
    valid[0, 0] = False
    cut, seen = windows(values, valid, tile, np.array([[1, 1]]), 3)
    assert cut[0, 0, 0] == 0 and not seen[0, 0, 0] and seen[0].sum() == 8
    tile[1, 1] = -1
    cut, seen = windows(values, valid, tile, np.array([[1, 1]]), 3)
    assert not seen.any() and not cut.any()  # a pixel of no tile has no window


def test_a_tile_that_is_no_rectangle_shows_nothing_of_its_neighbour() -> None:
    values, valid, tile = two_tiles()
    tile[3, 2:] = 1  # a bite out of the first tile
    cut, seen = windows(values, valid, tile, np.array([[2, 2]]), 3)
    assert seen[0].sum() == 9 - 2 and not cut[0][~seen[0]].any()


def test_one_pixel_is_a_tile_of_its_own_all_over() -> None:
    cut, seen = windows(
        np.full((1, 1, 2), 3.0, np.float32), np.ones((1, 1), bool), np.zeros((1, 1), np.int32), np.zeros((1, 2), int), 5
    )
    assert (cut == 3).all() and seen.all()


@pytest.mark.parametrize("side", [0, 2, -3])
def test_a_window_has_a_centre(side: int) -> None:
    values, valid, tile = two_tiles()
    with pytest.raises(UsageError, match="no centre"):
        windows(values, valid, tile, np.array([[1, 1]]), side)


def bands(values: np.ndarray, valid: np.ndarray | None = None) -> Modality:
    return Modality("multispectral", values, np.ones(values.shape[:2], bool) if valid is None else valid, "dn")


def test_scaling_is_robust_and_blind_to_pixels_it_is_not_shown() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal([5.0, -2.0], [3.0, 0.1], (60, 60, 2)).astype(np.float32)
    values[0, :30] = 1e6  # one pixel in 120 is a glint
    shown = np.ones((60, 60), bool)
    found = scaling(bands(values), shown)
    np.testing.assert_allclose(found.centre, [5, -2], atol=0.15)
    np.testing.assert_allclose(found.spread, [3, 0.1], rtol=0.06)
    shown[30:] = False
    changed = values.copy()
    changed[30:] = -7
    first, second = scaling(bands(values), shown), scaling(bands(changed), shown)
    np.testing.assert_array_equal(first.centre, second.centre)
    np.testing.assert_array_equal(first.spread, second.spread)
    scaled = apply(bands(values), found)
    assert scaled.max() == CLIP and abs(float(np.median(scaled))) < 0.05


def test_scaling_of_constant_and_missing_values_is_finite() -> None:
    values = np.zeros((4, 4, 3), np.float32)
    values[..., 1] = 7
    values[0, 0, 2] = 1  # quartiles fall together, the deviation does not
    valid = np.ones((4, 4), bool)
    valid[3] = False
    values[3] = np.nan
    found = scaling(bands(values, valid), np.ones((4, 4), bool))
    assert found.spread[0] == found.spread[1] == 1 and 0 < found.spread[2] < 1
    scaled = apply(bands(values, valid), found)
    assert np.isfinite(scaled).all() and not scaled[3].any()
    with pytest.raises(UsageError, match="no pixel"):
        scaling(bands(values, valid), ~valid)


def test_the_synthetic_scene_is_one_scene_for_a_seed_and_keeps_to_physics() -> None:
    scene, again, other = synthetic_scene(1), synthetic_scene(1), synthetic_scene(2)
    camera, lidar = scene.scene.modalities
    np.testing.assert_array_equal(camera.values, again.scene.modalities[0].values)
    assert (camera.values != other.scene.modalities[0].values).any()
    assert camera.values.shape == (8 * 24, 24, 40) and camera.values.min() >= 0 and camera.values.max() < 1
    assert scene.classes == ("maize", "alfalfa", "ripe wheat", "bare soil")
    train, test = scene.splits[STORED]
    assert scene.groups is not None and not set(scene.groups[train]) & set(scene.groups[test])
    for label in range(1, 5):
        assert all((scene.labels[scene.scene.tile == tile] == label).any() for tile in range(8))
    nm = camera.wavelengths
    assert nm is not None
    red, infrared = (camera.values[..., int(np.abs(nm - at).argmin())] for at in (672, 800))
    greenness = (infrared - red) / (infrared + red)
    assert greenness[scene.labels == 1].mean() > 0.7 > 0.4 > greenness[scene.labels == 4].mean()
    heights = lidar.values[..., 0]
    assert heights[scene.labels == 1].mean() - heights[scene.labels == 2].mean() > 1


def test_all_classes_can_be_asked_for_and_too_many_are_refused() -> None:
    assert synthetic_scene(tiles=2, side=16, bands=8, classes=8).classes == tuple(cover.name for cover in COVERS)
    with pytest.raises(UsageError, match="2 to 8 classes"):
        synthetic_scene(classes=9)


def test_parts_of_a_scene_that_do_not_belong_together_are_refused() -> None:
    tile = np.zeros((4, 4), np.int32)
    scene = Scene("field", (bands(np.ones((4, 4, 3), np.float32)),), tile)
    labels = np.zeros((4, 4), np.int16)
    labels[0] = 1
    none = np.zeros((4, 4), bool)
    LabelledScene(scene, labels, ("a",), {STORED: (labels > 0, none)})
    for wrong in (
        lambda: LabelledScene(scene, labels[:2], ("a",)),
        lambda: LabelledScene(scene, labels * 2, ("a",)),
        lambda: LabelledScene(scene, labels, ("a",), {STORED: (labels > 0, labels > 0)}),
        lambda: LabelledScene(scene, labels, ("a",), {STORED: (~none, none)}),
        lambda: LabelledScene(scene, labels, ("a",), rgb=np.zeros((3, 4, 3), np.uint8)),
    ):
        with pytest.raises(UsageError, match="^field: "):
            wrong()


def test_a_picture_is_the_cameras_or_three_bands() -> None:
    made = synthetic_scene(tiles=2, side=12)
    assert picture(made) is made.rgb
    blind = LabelledScene(made.scene, made.labels, made.classes)
    seen = picture(blind)
    assert seen.shape == (24, 12, 3) and seen.dtype == np.uint8 and seen.max() == 255
    lidar = Scene("heights", made.scene.modalities[1:], made.scene.tile)
    with pytest.raises(UsageError, match="no camera and no bands"):
        picture(LabelledScene(lidar, made.labels, made.classes))
