"""Label packs and the facts library, made with the very text encoder that ships in the bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from agriclip_edge.bundle.manifest import FactsEntry, Manifest, PackEntry
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import UsageError
from agriclip_edge.labels.build import with_symptoms
from agriclip_edge.labels.facts import Facts, Library, encode_classes, encode_symptoms, read_symptoms
from agriclip_edge.labels.pack import Label, LabelPack
from agriclip_edge.labels.prompts import Embedder, embed_labels
from agriclip_edge.text.encoder import TextEncoder
from training.answers import PackFit
from training.words import Words

from .writer import write_bundle

_STATEMENTS = 0.5  # share of a class's statements in a typed label, where the encoder was trained on names alone
FACTS_FILE = "facts/library.json.gz"
SYMPTOMS_FILE = "facts/symptoms.int8"


@dataclass(frozen=True)
class PackPlan:
    """A pack before its labels are embedded."""

    name: str
    title: str
    labels: tuple[Label, ...]
    default: bool = True
    fit: PackFit | None = None


def with_packs(
    manifest: Manifest,
    files: Mapping[str, bytes],
    plans: Sequence[PackPlan],
    facts: Sequence[Facts] = (),
    symptoms: float = 0.0,
    words: Words | None = None,
) -> tuple[Manifest, dict[str, bytes]]:
    """Add packs, and the facts library where there is one, to a bundle that has none yet.

    The bundle is written to a temporary place and opened as a device would open it, so that a pack comes from the
    shipped text graph, vocabulary and templates by the shipped code.

    Args:
        manifest: of the bundle without packs.
        files: contents by path.
        plans: the packs.
        facts: the classes of the library that labels typed on a device are matched to; none leaves it out.
        symptoms: their share in the labels that the image encoder was trained on, as `training.symptoms` makes them.
            The packs are made so, and typed labels too. With 0 the packs are names alone, and a typed label that
            means a class is half of its statements.
        words: what texts say of looks, where the text encoder says it too.

    Returns:
        manifest and files with packs and library in them.

    Raises:
        BundleError: the bundle is not valid even without packs.
    """
    if manifest.text is None:
        raise UsageError("packs cannot be built: the bundle has no text encoder")
    contents, entries, templates = dict(files), [], manifest.text.templates
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft"
        write_bundle(draft, manifest, files)
        bundle = Bundle.open(draft)
        encoder = TextEncoder(bundle)
        library = None
        if facts:
            entry = FactsEntry(FACTS_FILE, SYMPTOMS_FILE, symptoms or _STATEMENTS)
            contents[FACTS_FILE] = encode_classes(facts)
            contents[SYMPTOMS_FILE] = encode_symptoms(_symptoms(facts, encoder, symptoms, words))
            seen = read_symptoms(contents[SYMPTOMS_FILE], len(facts), manifest.embedding_dim)  # as a device reads it
            library = Library(tuple(facts), seen, share=entry.share)
            manifest = msgspec.structs.replace(manifest, facts=entry)
        for plan in plans:
            path = f"packs/{plan.name}.safetensors"
            contents[path] = build_pack(
                plan, tuple(templates), bundle, encoder, library if symptoms else None
            ).to_bytes()
            entries.append(PackEntry(plan.name, plan.title, path, len(plan.labels), plan.default))
    return msgspec.structs.replace(manifest, packs=entries), contents


def _symptoms(facts: Sequence[Facts], encoder: Embedder, share: float, words: Words | None) -> npt.NDArray[np.float32]:
    if share == 0:
        return embed_symptoms(facts, encoder)
    from training.looks import Narrow
    from training.symptoms import seen_vectors

    return seen_vectors(facts, encoder if words is None else Narrow(encoder, words.dim), share, words)


def embed_symptoms(facts: Sequence[Facts], encoder: Embedder) -> npt.NDArray[np.float32]:
    """What is seen of each class: the mean over its `Facts.prompts`, unit vectors float32 (K, D)."""
    prompts = [prompt for entry in facts for prompt in entry.prompts]
    owners = [row for row, entry in enumerate(facts) for _ in entry.prompts]
    vectors = encoder.embed(prompts)
    sums = np.zeros((len(facts), vectors.shape[1]), np.float64)
    np.add.at(sums, owners, vectors)
    units: npt.NDArray[np.float32] = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return units


def build_pack(
    plan: PackPlan, templates: tuple[str, ...], bundle: Bundle, encoder: TextEncoder, library: Library | None = None
) -> LabelPack:
    """Embed one pack's labels; those that are a class of ``library``, word for word, with its symptoms."""
    labels = plan.labels
    if library is not None:
        known = {facts.label.casefold(): facts.label for facts in library.classes}
        labels = tuple(msgspec.structs.replace(label, facts=known.get(label.text.casefold(), "")) for label in labels)
    return LabelPack(
        name=plan.name,
        title=plan.title,
        labels=labels,
        embeddings=with_symptoms(embed_labels(labels, templates, encoder), labels, library),
        templates=templates,
        text_encoder=bundle.text_encoder_id,
        preprocessing=bundle.preprocessing_id,
        temperature=round(plan.fit.temperature, 5) if plan.fit is not None else None,
        threshold=round(plan.fit.threshold, 4) if plan.fit is not None else None,
        unknown=round(plan.fit.unknown, 4) if plan.fit is not None else None,
    )
