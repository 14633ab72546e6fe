"""Bands of one sensor as another would see them: by the response of wide bands, or between two neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import UsageError

MAX_WIDTH = 20.0  # nm, full width at half maximum taken for a wanted band: drones' bands have 10 to 40
EDGE = 15.0  # nm that a wanted band may lie outside the sensor's: a band of usual width still sees it
MAX_GAP = 120.0  # nm between two bands that may be interpolated across: as wide as red edge to near infrared
_SIGMA = 2.3548200450309493  # full width at half maximum of a normal distribution, in standard deviations
_REACH = 3.0  # standard deviations that a response is followed to
_SHORTEST, _LONGEST = 200.0, 20_000.0  # nm: a wavelength outside was most likely given in another unit


def response(
    from_nm: npt.ArrayLike, to_nm: npt.ArrayLike, width_nm: npt.ArrayLike | None = None
) -> npt.NDArray[np.float32]:
    """How the wanted bands are made of those that are there: weights float32 (C', C), each row's sum 1.

    A wanted band that spans several of the sensor's takes their mean under a normal response; else it lies on the
    line between its two neighbours. One at most `EDGE` nm outside the sensor's range takes the band at its end.

    Args:
        from_nm: centres of the sensor's C bands, nm, in any order.
        to_nm: centres of the C' wanted bands, nm.
        width_nm: full width at half maximum of the wanted bands, (C',); None takes the distance to the nearest
            other wanted band, at most `MAX_WIDTH`.

    Raises:
        UsageError: a wanted band lies outside what the sensor sees, or in a wide gap between its bands.

    Example:
        >>> response([475, 560, 668, 717, 842], [560, 842])
        array([[0., 1., 0., 0., 0.],
               [0., 0., 0., 0., 1.]], dtype=float32)
    """
    there, wanted = _centres(from_nm, "the scene's"), _centres(to_nm, "the model's")
    order = np.argsort(there, kind="stable")
    risen = there[order]
    widths = _widths(wanted) if width_nm is None else np.broadcast_to(np.asarray(width_nm, np.float64), wanted.shape)
    spacing = np.gradient(risen) if len(risen) > 1 else np.ones(1)  # what each band stands for in a mean
    outside = (wanted < risen[0] - EDGE) | (wanted > risen[-1] + EDGE)
    if outside.any():
        raise UsageError(
            f"the scene's bands reach from {risen[0]:.0f} to {risen[-1]:.0f} nm; the model needs "
            f"{', '.join(f'{length:.0f}' for length in wanted[outside][:5])} nm"
        )
    weights = np.zeros((len(wanted), len(there)))
    for row, (centre, width) in enumerate(zip(wanted, widths)):
        seen = np.abs(risen - centre) <= width / 2
        if seen.sum() >= 2 and risen[seen][0] < centre < risen[seen][-1]:
            sigma = width / _SIGMA
            near = np.abs(risen - centre) <= _REACH * sigma
            weights[row, order] = np.where(near, spacing * np.exp(-0.5 * ((risen - centre) / sigma) ** 2), 0)
            weights[row] /= weights[row].sum()
        else:
            weights[row, order] = _between(risen, float(centre))
    return weights.astype(np.float32)


def resample(
    values: npt.NDArray[np.float32],
    from_nm: npt.ArrayLike,
    to_nm: npt.ArrayLike,
    width_nm: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float32]:
    """Values (..., C) at a sensor's bands as values float32 (..., C') at the wanted ones; see `response`.

    Raises:
        UsageError: the sensor does not see what is wanted.

    Example:
        >>> resample(np.array([[0.1, 0.3]], np.float32), [660, 680], [670]).round(3)
        array([[0.2]], dtype=float32)
    """
    weights = response(from_nm, to_nm, width_nm)
    if values.shape[-1] != weights.shape[1]:
        raise UsageError(f"values of {values.shape[-1]} channels with {weights.shape[1]} wavelengths")
    return np.asarray(values, np.float32) @ weights.T


def _between(risen: npt.NDArray[np.float64], centre: float) -> npt.NDArray[np.float64]:
    """Weights of the two bands that a wanted one lies between, or of the one at the end."""
    weights = np.zeros(len(risen))
    right = int(np.searchsorted(risen, centre))
    if right == 0 or right == len(risen):
        weights[min(right, len(risen) - 1)] = 1
        return weights
    low, high = risen[right - 1], risen[right]
    share = (centre - low) / (high - low)
    if high - low > MAX_GAP:
        if min(centre - low, high - centre) > EDGE:
            raise UsageError(
                f"the model needs {centre:.0f} nm; the scene has nothing between {low:.0f} and {high:.0f} nm"
            )
        share = round(share)  # what lies across a wide gap says nothing about this end of it
    weights[right - 1], weights[right] = 1 - share, share
    return weights


def _widths(wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if len(wanted) < 2:
        return np.full(len(wanted), MAX_WIDTH)
    apart = np.abs(wanted[:, None] - wanted)
    np.fill_diagonal(apart, np.inf)
    widths: npt.NDArray[np.float64] = np.minimum(apart.min(axis=1), MAX_WIDTH)
    return widths


def _centres(lengths: npt.ArrayLike, whose: str) -> npt.NDArray[np.float64]:
    centres = np.asarray(lengths, np.float64).ravel()
    if not len(centres) or not np.isfinite(centres).all():
        raise UsageError(f"{whose} bands have no wavelengths")
    if centres.min() < _SHORTEST or centres.max() > _LONGEST:
        raise UsageError(f"{whose} wavelengths reach from {centres.min():g} to {centres.max():g}; accepted: nm")
    if len(np.unique(centres)) < len(centres):
        raise UsageError(f"{whose} bands have a wavelength twice")
    return centres
