"""Spectra seen by another sensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agriclip_edge.errors import UsageError
from agriclip_edge.scene.bands import EDGE, resample, response

FINE = np.arange(400.0, 1001.0, 5.0)
REDEDGE = [475.0, 560.0, 668.0, 717.0, 842.0]
PHANTOM = [450.0, 560.0, 650.0, 730.0, 840.0]


def test_the_same_bands_come_back_as_they_are() -> None:
    np.testing.assert_array_equal(response(REDEDGE, REDEDGE), np.eye(5, dtype=np.float32))


def test_a_spectrometer_gives_a_drones_bands_as_its_response_would() -> None:
    red_edge = 1 / (1 + np.exp(-(FINE - 715) / 12))
    found = resample(red_edge.astype(np.float32), FINE, REDEDGE, width_nm=[20, 20, 10, 10, 40])
    grid = np.linspace(400, 1000, 60_001)
    truth = []
    for centre, width in zip(REDEDGE, (20, 20, 10, 10, 40)):
        weights = np.exp(-0.5 * ((grid - centre) / (width / 2.3548)) ** 2)
        truth.append((weights / (1 + np.exp(-(grid - 715) / 12))).sum() / weights.sum())
    np.testing.assert_allclose(found, truth, atol=0.01)


def test_one_drones_bands_serve_for_anothers() -> None:
    found = resample(np.array([0.04, 0.08, 0.05, 0.20, 0.45], np.float32), PHANTOM, REDEDGE)
    assert 0.04 < found[0] < 0.08 and found[1] == pytest.approx(0.08) and 0.05 < found[3] < 0.20
    assert found[4] == pytest.approx(0.45)


@given(st.lists(st.integers(400, 1000), min_size=2, max_size=30, unique=True), st.integers(1, 12))
def test_weights_sum_to_one_and_take_nothing_away(lengths: list[int], wanted: int) -> None:
    to = np.linspace(min(lengths), max(lengths), wanted) if wanted > 1 else [lengths[0]]
    try:
        weights = response(lengths, to)
    except UsageError as error:
        assert "nothing between" in str(error)
        return
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (weights >= 0).all()


def test_the_order_of_bands_is_no_matter() -> None:
    shuffled = np.random.default_rng(0).permutation(len(FINE))
    np.testing.assert_array_equal(response(FINE, REDEDGE)[:, shuffled], response(FINE[shuffled], REDEDGE))


@pytest.mark.parametrize(
    ("there", "wanted", "says"),
    [
        ([550, 660, 735, 790], REDEDGE, "reach from 550 to 790 nm; the model needs 475, 842 nm"),
        (REDEDGE, [475, 2200], "the model needs 2200 nm"),
        ([560, 840], [560, 717, 840], "the model needs 717 nm; the scene has nothing between 560 and 840 nm"),
        ([0.475, 0.56], [500], "reach from 0.475 to 0.56; accepted: nm"),
        ([475, 475], [475], "a wavelength twice"),
        ([], [475], "the scene's bands have no wavelengths"),
    ],
)
def test_what_the_sensor_does_not_see_is_said(there: list[float], wanted: list[float], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        response(there, wanted)
    assert says in str(caught.value)


def test_a_band_a_little_outside_takes_the_one_at_the_end() -> None:
    assert response(REDEDGE, [475 - EDGE, 842 + EDGE])[:, [0, 4]].tolist() == [[1, 0], [0, 1]]


def test_channels_and_wavelengths_go_together() -> None:
    with pytest.raises(UsageError, match="3 channels with 5 wavelengths"):
        resample(np.ones((2, 3), np.float32), REDEDGE, REDEDGE)
