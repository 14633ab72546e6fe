"""Label packs, made with the very text encoder that ships in the bundle they go into."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agriclip_edge.bundle.manifest import Manifest, PackEntry
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import UsageError
from agriclip_edge.labels.pack import Label, LabelPack
from agriclip_edge.labels.prompts import embed_labels
from agriclip_edge.text.encoder import TextEncoder

from .writer import write_bundle


@dataclass(frozen=True)
class PackPlan:
    """A pack before its labels are embedded."""

    name: str
    title: str
    labels: tuple[Label, ...]
    default: bool = True


def with_packs(
    manifest: Manifest, files: Mapping[str, bytes], plans: Sequence[PackPlan]
) -> tuple[Manifest, dict[str, bytes]]:
    """Add packs to a bundle that has none yet.

    The bundle is written to a temporary place and opened as a device would open it, so that a pack comes from the
    shipped text graph, vocabulary and templates by the shipped code.

    Args:
        manifest: of the bundle without packs.
        files: contents by path.
        plans: the packs.

    Returns:
        manifest and files with the packs in them.

    Raises:
        BundleError: the bundle is not valid even without packs.
    """
    if manifest.text is None:
        raise UsageError("packs cannot be built: the bundle has no text encoder")
    contents, entries = dict(files), []
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft"
        write_bundle(draft, manifest, files)
        bundle = Bundle.open(draft)
        encoder = TextEncoder(bundle)
        for plan in plans:
            path = f"packs/{plan.name}.safetensors"
            contents[path] = build_pack(plan, tuple(manifest.text.templates), bundle, encoder).to_bytes()
            entries.append(PackEntry(plan.name, plan.title, path, len(plan.labels), plan.default))
    return msgspec.structs.replace(manifest, packs=entries), contents


def build_pack(plan: PackPlan, templates: tuple[str, ...], bundle: Bundle, encoder: TextEncoder) -> LabelPack:
    """Embed one pack's labels."""
    return LabelPack(
        name=plan.name,
        title=plan.title,
        labels=plan.labels,
        embeddings=embed_labels(plan.labels, templates, encoder).astype(np.float32),
        templates=templates,
        text_encoder=bundle.text_encoder_id,
        preprocessing=bundle.preprocessing_id,
    )
