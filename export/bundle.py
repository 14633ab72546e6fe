"""From a training run to a bundle: graphs through their gates, packs, card and licences, in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agriclip_edge.bundle.manifest import FORMAT, FORMAT_VERSION, LicenceEntry, Manifest, Preprocessing
from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.imaging.preprocess import PREPROCESSING_VERSION, preprocess, preprocessing_id
from agriclip_edge.labels.facts import Facts as ClassFacts
from training.answers import Trust
from training.captions import FACTS, read_facts
from training.data import Collection, Task, read_collection, read_photos
from training.encoder import load_tower, vectors_of
from training.evaluate import Embed, Vectors
from training.looks import WideTower
from training.results import Results, calibration_of, read_results
from training.robustness import Robustness, judge_spoilt
from training.text_tower import MAX_TOKENS, TextTower

from .budget import BUDGET
from .card import Facts, card_pictures, model_card, shipped_trust
from .graphs import text_entry
from .image_encoder import export_image_encoder
from .licences import APACHE, licence_files
from .packs import PackPlan, with_packs
from .reference import read_reference
from .taxonomy import Parents, join_packs, plan_packs, read_broader
from .text_encoder import export_text_encoder
from .variants import ANSWERS, PLANS, Made, Plan, gate_photos, make_variants, open_encoder
from .writer import write_bundle

TEXT_FILE = "text/encoder.onnx"
VOCABULARY_FILE = "text/vocab.txt"
CARD_FILE = "card.md"
REFERENCE_FILE = "reference.safetensors"
FURTHER = "alive-plus"  # a collection whose tasks have packs too, none of them chosen by default
_SPOILT = 4  # of so many validation photos one is judged under field corruptions
_COMPARED = 32  # photos that graph and PyTorch are compared on, at least; spread over all tasks

_LICENCES = (
    ("Apache-2.0", "image encoder: EfficientNet-Lite0 (Google, ImageNet weights), fine-tuned by us", APACHE),
    (
        "Apache-2.0",
        "text encoder and vocabulary: all-MiniLM-L6-v2 (sentence-transformers), weights rounded by us",
        APACHE,
    ),
    ("Apache-2.0", "label packs, facts library and model card", APACHE),
)


@dataclass(frozen=True)
class BundleConfig:
    """What a run does not say about its bundle."""

    name: str = "agriclip-lite0"
    version: str = "0.1.0"
    description: str = "plants, pests, produce, animals and land, named on the device"
    variants: tuple[Plan, ...] = PLANS
    budget: Path = BUDGET
    library: Path = FACTS
    answers: int = ANSWERS  # that each task gives, of as many views of its photos as that takes, to judge a variant by


def export_bundle(
    run: Path,
    data: Path,
    output: Path,
    text: TextTower,
    parents: Parents,
    config: BundleConfig,
    *,
    zipped: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Make the bundle of a training run.

    Args:
        run: folder of the run, judged on ``val`` (which also gives the temperature).
        data: root of the data that the run was trained on: its ``train`` photos calibrate, its ``val`` photos judge.
        output: folder, or with ``zipped`` the file, to be made.
        text: the text tower that the run was trained against.
        parents: broader labels.
        config: name, version and description.
        zipped: one zip file instead of a folder.
        say: is told what was measured of each variant.

    Raises:
        DataError: the data are incomplete.
        GateError: a graph differs too much from its model; nothing is written.
        UsageError: the run is not finished or not judged.
    """
    tower, run_facts = load_tower(run)
    records = read_results(run)
    judged = _judged(run, records, run_facts)
    size, templates = int(run_facts["config"]["input_size"]), tuple(run_facts["config"]["templates"])
    image_facts = {"checkpoint": judged.model, "licence": "Apache-2.0", "preprocessing": preprocessing_id(size)}
    # Nothing of the run: the text encoder's hash names the space of labels, and packs outlive a new image encoder.
    text_facts = {"licence": "Apache-2.0"}
    library = tuple(read_facts(config.library).values())
    plans = _plans(judged.tasks, data, parents, library)
    prompts = sorted(
        {template.replace("{}", label.text) for plan in plans for label in plan.labels for template in templates}
    )
    wide = text if tower.words is None else WideTower(text, tower.words)
    words = export_text_encoder(wide, prompts, text_facts)

    def labels(collection: Collection) -> Vectors:
        return vectors_of(run_facts["config"], text, collection, tower.words)

    photos = gate_photos(data, run_facts["collection"], labels, size, answers=config.answers)
    image = export_image_encoder(tower, size, image_facts, photos.judged[:: max(1, len(photos.judged) // _COMPARED)])
    made = make_variants(
        image.exact, image.data, size, wide.dim, photos, config.variants, config.budget, image_facts, say
    )
    say("reference statistics: embeddings of all training and validation photos")
    encode = open_encoder(image.exact, "onnxruntime", "fp32", size, wide.dim)

    def embed(rgb: Sequence[RGB]) -> Vectors:
        return encode(np.stack([preprocess(photo, size) for photo in rgb]))

    reference = read_reference(data, run_facts["collection"], labels, embed)
    say("field corruptions")
    robustness = _robustness(data, run_facts["collection"], labels, embed)
    facts = Facts(config.name, config.version, run_facts, judged, records, image, words, len(prompts), made, robustness)
    files = {
        **made.files,
        TEXT_FILE: words.data,
        VOCABULARY_FILE: text.vocabulary,
        CARD_FILE: model_card(facts).encode(),
        REFERENCE_FILE: reference.to_bytes(),
        **licence_files(),
    }
    manifest = _manifest(config, judged, size, wide.dim, templates, made, run_facts)
    trust = shipped_trust(made)
    if trust is not None:
        files |= {path: picture.encode() for path, picture in card_pictures(trust).items()}
        manifest = with_trust(manifest, trust)
        plans = tuple(replace(plan, fit=trust.fits.get(plan.name)) for plan in plans)
    write_bundle(
        output,
        *with_packs(manifest, files, plans, library, float(run_facts["config"].get("symptoms", 0)), tower.words),
        zipped=zipped,
    )


def with_trust(manifest: Manifest, trust: Trust) -> Manifest:
    """The manifest with the bundle's own numbers: they serve several packs together, and labels that are typed."""
    return msgspec.structs.replace(
        manifest,
        temperature=round(trust.temperature, 5),
        threshold=round(trust.threshold, 4),
        unknown=round(trust.typed.unknown, 4) if trust.typed is not None else None,
    )


def _robustness(data: Path, name: str, labels: Callable[[Collection], Vectors], embed: Embed) -> Robustness:
    """Accuracy under field corruptions, on some validation photos of each task."""
    collection = read_collection(data / name)
    photos = read_photos(collection, "val")
    some = photos.take(np.arange(0, len(photos), _SPOILT))
    return judge_spoilt(embed, labels(collection), collection, some)


def _plans(tasks: Sequence[Task], data: Path, parents: Parents, library: Sequence[ClassFacts]) -> tuple[PackPlan, ...]:
    """A pack for each task that was judged, chosen by default; one for each further task, and the broader ones."""
    own = plan_packs(tasks, parents, library)
    more: Sequence[Task] = read_collection(data / FURTHER).tasks if (data / FURTHER / "tasks.json").exists() else ()
    names = {plan.name for plan in own}
    further = plan_packs([task for task in more if task.name not in names], parents, library, default=False)
    return (*own, *further, *join_packs((*own, *further), read_broader()))


def _judged(run: Path, records: list[Results], run_facts: Mapping[str, Any]) -> Results:
    for record in records:
        if (record.collection, record.split) == (run_facts["collection"], "val"):
            return record
    where = f"python -m training evaluate --checkpoint {run}"
    raise UsageError(f"{run} was not judged on the val split of {run_facts['collection']}; do so with: {where}")


def _manifest(
    config: BundleConfig,
    judged: Results,
    size: int,
    dim: int,
    templates: tuple[str, ...],
    made: Made,
    run_facts: Mapping[str, Any],
) -> Manifest:
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        name=config.name,
        version=config.version,
        description=config.description,
        embedding_dim=dim,
        temperature=round(calibration_of(judged).temperature, 5),
        preprocessing=Preprocessing(PREPROCESSING_VERSION, size),
        image=made.variants,
        packs=[],
        card=CARD_FILE,
        reference=REFERENCE_FILE,
        licences=[LicenceEntry(*licence) for licence in _LICENCES],
        files=[],
        text=text_entry(TEXT_FILE, VOCABULARY_FILE, MAX_TOKENS, dim, templates),
        sources={"checkpoint": judged.model, "training photos": str(run_facts["photos"])},
    )
