"""Whether a photo is too dark, too bright or too blurred to be judged, by the pixels that the encoder saw."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .decode import RGB

# Each calls about 1 % of training photos bad as they are, or fewer (`python -m benchmarks answers` measures it again).
# Of these at an eighth of their light all are too dark, of those blurred by a Gaussian of 4 pixels in 224 over 90 %
# blurred; at three times their light, where much is clipped, about a third are too bright.
DARK = 35.0  # mean luma, of 255
BRIGHT = 240.0  # mean luma, of 255
BLURRED = 0.005  # mean square of the Laplacian over the variance of the luma; no unit

Complaint = Literal["too-dark", "too-bright", "blurred"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def complaint(square: RGB) -> Complaint | None:
    """What is wrong with a photo: ``too-dark``, ``too-bright``, ``blurred``, or None.

    Sharpness is the mean square of the Laplacian (Pech-Pacheco et al. 2000) over the variance of the luma, so that a
    photo of low contrast is not taken for a blurred one.

    Args:
        square: the encoder's input, ``uint8 (S, S, 3)``, S at least 3.

    Example:
        >>> complaint(np.zeros((8, 8, 3), np.uint8))
        'too-dark'
    """
    light, sharpness = measure(square)
    if light < DARK:
        return "too-dark"
    if light > BRIGHT:
        return "too-bright"
    return "blurred" if sharpness < BLURRED else None


def measure(square: RGB) -> tuple[float, float]:
    """Mean luma, 0 to 255, and sharpness of a photo ``uint8 (S, S, 3)``; one colour all over has sharpness 0."""
    luma = square.astype(np.float32) @ _LUMA
    laplacian = luma[1:-1, :-2] + luma[1:-1, 2:] + luma[:-2, 1:-1] + luma[2:, 1:-1] - 4 * luma[1:-1, 1:-1]
    variance = float(luma.var())
    return float(luma.mean()), float(np.square(laplacian).mean()) / variance if variance > 1e-6 else 0.0
