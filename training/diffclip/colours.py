"""Three bands of a scene as a picture that an encoder of photos, or a person, can look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError

from .labelled import LabelledScene, Mask

RGB_NM = (640.0, 550.0, 460.0)
_FAR = 60.0  # nm: a band farther from its colour is not that colour
_DISPLAY = (2.0, 98.0)  # percentiles that become black and white

Picture = npt.NDArray[np.uint8]


def picture(scene: LabelledScene) -> Picture:
    """A picture of a scene, uint8 (H, W, 3): of its own camera, or its bands nearest to red, green and blue.

    Raises:
        UsageError: it has no camera, and no modality with bands near the three.
    """
    if scene.rgb is not None:
        return scene.rgb
    for modality in scene.scene.modalities:
        if modality.wavelengths is None:
            continue
        apart = np.abs(modality.wavelengths[:, None] - np.array(RGB_NM))
        if apart.min(axis=0).max() <= _FAR:
            return stretched(modality.values[..., apart.argmin(axis=0)], modality.valid)
    raise UsageError(f"{scene.scene.name} has no camera and no bands near {RGB_NM} nm: no photo can be made of it")


def stretched(bands: npt.NDArray[np.float32], valid: Mask) -> Picture:
    """Values (H, W, 3) from their 2nd to their 98th percentile as uint8; black where there are no data."""
    low, high = np.percentile(bands[valid], _DISPLAY, axis=0)
    shown = np.clip((bands - low) / np.maximum(high - low, 1e-9), 0, 1)
    return (np.where(valid[..., None], shown, 0) * 255).round().astype(np.uint8)
