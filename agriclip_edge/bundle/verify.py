"""A whole bundle held against its contract: every file, graph and pack."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ..errors import BundleError, BundleFault, RuntimeUnavailable
from .manifest import SceneEncoder
from .reader import Bundle


def verify_bundle(path: str | os.PathLike[str] | None = None) -> Iterator[str]:
    """Check a bundle, one line a part.

    Args:
        path: a folder or a zip file; None checks the bundle that ships with this package.

    Yields:
        what was found to be right.

    Raises:
        BundleError: at the first thing that is wrong.
    """
    from importlib.util import find_spec

    from ..runtimes import RUNTIMES, check_unit, open_graph
    from ..text.encoder import TextEncoder

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    yield f"manifest  {manifest.name} {manifest.version}, sha256 {bundle.sha256}"
    for entry in manifest.files:
        bundle.read(entry.path)
    yield f"files     {len(manifest.files)} of {len(manifest.files)} have the size and sha256 of the manifest"
    unlisted = bundle.unlisted()
    if unlisted:
        message = f"{len(unlisted)} files are not in bundle.json, the first is {unlisted[0]!r}: remove them"
        raise BundleError(BundleFault.MANIFEST_INVALID, message)
    size, dim = manifest.preprocessing.size, manifest.embedding_dim
    pictures = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    for variant in manifest.image:
        # The ONNX file that TensorRT builds an engine from is run by ONNX Runtime, in the same precision, so that a
        # bundle is checked on any machine; `agriclip-edge prepare` checks the engine.
        runtime = "onnxruntime" if variant.runtime == "tensorrt" else variant.runtime
        if runtime not in RUNTIMES or find_spec(RUNTIMES[runtime]) is None:
            yield f"image     {variant.name} was not run: {variant.runtime} is not installed"
            continue
        try:
            graph = open_graph(runtime, bundle.read(variant.file), [variant.input], variant.output)
        except RuntimeUnavailable as reason:
            yield f"image     {variant.name} was not run: {reason}"
            continue
        check_unit(graph.run({variant.input.name: pictures}), dim, f"image encoder {variant.name}")
        yield f"image     {variant.name} runs and gives unit vectors of {dim} values"
    if manifest.scene is not None:
        yield from _verify_scene(bundle, manifest.scene)
    if manifest.text is not None:
        TextEncoder(bundle).embed(["a leaf", "a cow"])  # holds its vectors to be unit vectors
        yield f"text      runs and gives unit vectors of {dim} values"
    if bundle.facts is not None:
        yield f"facts     {len(bundle.facts.classes)} classes, each with the unit vector of its symptoms"
    if bundle.reference is not None:
        yield f"reference {len(bundle.reference.centres)} centres of known photos"
    for pack in manifest.packs:
        found = len(bundle.pack(pack.name).labels)
        if found != pack.labels:
            message = f"pack {pack.name} holds {found} labels; bundle.json says {pack.labels}"
            raise BundleError(BundleFault.PACK_INVALID, message)
    yield f"packs     {len(manifest.packs)} belong to this bundle's text encoder and preprocessing"


def _verify_scene(bundle: Bundle, scene: SceneEncoder) -> Iterator[str]:
    """Read the map for words, and run every scene encoder on one small tile, whole and with each modality alone."""
    from ..scene.model import SceneModel
    from ..scene.words import read_text_map

    if scene.text is not None:
        width = len(read_text_map(bundle, scene.text).centre)
        yield f"words     texts of {width} values become classes, by text encoder {scene.text.encoder[:12]}…"
    side = scene.receptive_field + 2
    tile = {m.name: np.ones((side, side, m.channels), np.float32) for m in scene.modalities}
    seen = {name: np.ones((side, side), np.bool_) for name in tile}
    for variant in scene.variants:
        try:
            model = SceneModel(bundle, runtime=variant.name)
        except RuntimeUnavailable as reason:
            yield f"scene     {variant.name} was not run: {reason}"
            continue
        model.embed(tile, seen)
        for name in tile:
            model.embed({name: tile[name]}, {name: seen[name]})
        yield f"scene     {variant.name} runs and gives unit vectors of {bundle.manifest.embedding_dim} values"
