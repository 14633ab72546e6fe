"""A bundle's scene encoder, loaded: tiles of a raster in, one unit vector a pixel out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.reader import Bundle
from ..errors import BundleError, BundleFault, RuntimeUnavailable, UsageError
from ..runtimes import available_cores, check_unit, open_graph
from ..runtimes.choice import sift

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..bundle.manifest import SceneLevel, SceneVariant


class SceneModel:
    """The scene encoder of a bundle.

    Attributes:
        bundle: the bundle that it was loaded from.
        variant: name of the graph that runs.
        side: of the tiles that it is run on at most, in pixels.
        receptive_field: pixels, odd: what one embedding depends on.
        levels: of the modalities whose values are to be levelled before `embed` (`scene.level.Leveller`), by name.
        passed_over: why other variants of the bundle do not run, by their names.

    Example:
        >>> model = SceneModel(Bundle.open("tests/data/scene/bundle"))
        >>> spectra = np.load("tests/data/scene/scene.npy").astype(np.float32)
        >>> model.embed({"hyperspectral": spectra}, {"hyperspectral": np.ones((30, 30), bool)}).shape
        (30, 30, 80)
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None, runtime: str | None = None) -> None:
        """Load the first of the bundle's variants that can run here.

        Args:
            bundle: an open bundle for scenes.
            threads: cores to use; None takes all that this process may run on.
            runtime: only variants of this runtime, or the variant of this name.

        Raises:
            UsageError: the bundle is for photos, or has no such runtime or variant.
            RuntimeUnavailable: no variant can run here; the message says why.
            BundleError: a graph is broken.
        """
        scene = bundle.for_scenes()
        self.bundle = bundle
        self.modalities = {modality.name: modality for modality in scene.modalities}
        self.side = bundle.manifest.preprocessing.size
        self.receptive_field = scene.receptive_field
        self.levels: Mapping[str, SceneLevel] = {m.name: m.level for m in scene.modalities if m.level is not None}
        self.passed_over: dict[str, str] = {}
        self._dim = bundle.manifest.embedding_dim
        asked = [entry for entry in scene.variants if runtime in (None, entry.runtime, entry.name)]
        if not asked:
            names = ", ".join(dict.fromkeys(name for entry in scene.variants for name in (entry.runtime, entry.name)))
            raise UsageError(f"runtime {runtime!r}; the bundle {bundle.manifest.name} has: {names}")
        usable = sift(asked, self.passed_over)
        if not usable:
            said = "; ".join(f"{name}: {reason}" for name, reason in self.passed_over.items())
            raise RuntimeUnavailable(f"no scene encoder of {bundle.manifest.name} can run here: {said}")
        variant: SceneVariant = usable[0]
        self.variant = variant.name
        self._graph = open_graph(
            variant.runtime,
            bundle.read(variant.file),
            scene.inputs(),
            scene.output(self._dim),
            threads or available_cores(),
            precision=variant.precision,
        )

    def embed(
        self, values: Mapping[str, npt.NDArray[np.float32]], valid: Mapping[str, npt.NDArray[np.bool_]]
    ) -> npt.NDArray[np.float32]:
        """Embeddings of one tile.

        Args:
            values: by modality float32 (H, W, C), in the modality's unit, levelled where `levels` says so; modalities
                that are not there are missing.
            valid: by modality bool (H, W), where there is data.

        Returns:
            unit vectors, float32 (H, W, D).

        Raises:
            UsageError: a modality that the bundle does not know, or another number of channels.
            BundleError: the graph gives something else than unit vectors.
        """
        height, width = next(iter(values.values())).shape[:2]
        inputs: dict[str, npt.NDArray[np.float32]] = {}
        for name in values:
            if name not in self.modalities:
                raise UsageError(f"modality {name!r}; this bundle knows: {', '.join(self.modalities)}")
        for name, modality in self.modalities.items():
            inputs[name] = np.zeros((1, modality.channels, height, width), np.float32)
            inputs[f"{name}_valid"] = np.zeros((1, 1, height, width), np.float32)
            if name not in values:
                continue
            if values[name].shape != (height, width, modality.channels):
                message = f"{name} of shape {values[name].shape}; this bundle wants {modality.channels} channels"
                raise UsageError(f"{message} on the first modality's grid")
            # What lies where there is no data may be NaN, which no multiplication by a mask takes away.
            inputs[name][0] = np.where(valid[name], values[name].transpose(2, 0, 1), np.float32(0))
            inputs[f"{name}_valid"][0, 0] = valid[name]
        found = self._graph.run(inputs)
        if found.shape != (1, self._dim, height, width):
            message = f"the scene encoder gives {found.shape}; accepted: (1, {self._dim}, {height}, {width})"
            raise BundleError(BundleFault.GRAPH_MISMATCH, message)
        vectors = np.ascontiguousarray(found[0].transpose(1, 2, 0)).reshape(-1, self._dim)
        return check_unit(vectors, self._dim, "scene encoder").reshape(height, width, self._dim)
