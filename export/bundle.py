"""From a training run to a bundle: graphs through their gates, packs, card and licences, in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriclip_edge.bundle.manifest import FORMAT, FORMAT_VERSION, LicenceEntry, Manifest, Preprocessing
from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.preprocess import PREPROCESSING_VERSION, preprocessing_id
from training.data import Collection
from training.encoder import label_vectors, load_tower, template_embeddings
from training.evaluate import Vectors
from training.results import Results, calibration_of, read_results
from training.text_tower import MAX_TOKENS, TextTower

from .budget import BUDGET
from .card import Facts, model_card
from .graphs import text_entry
from .image_encoder import export_image_encoder
from .licences import APACHE, licence_files
from .packs import with_packs
from .taxonomy import Parents, plan_packs
from .text_encoder import export_text_encoder
from .variants import PLANS, Made, Plan, gate_photos, make_variants
from .writer import write_bundle

TEXT_FILE = "text/encoder.onnx"
VOCABULARY_FILE = "text/vocab.txt"
CARD_FILE = "card.md"
_COMPARED = 32  # photos that graph and PyTorch are compared on, at least; spread over all tasks

_LICENCES = (
    ("Apache-2.0", "image encoder: EfficientNet-Lite0 (Google, ImageNet weights), fine-tuned by us", APACHE),
    (
        "Apache-2.0",
        "text encoder and vocabulary: all-MiniLM-L6-v2 (sentence-transformers), weights rounded by us",
        APACHE,
    ),
    ("Apache-2.0", "label packs and model card", APACHE),
)


@dataclass(frozen=True)
class BundleConfig:
    """What a run does not say about its bundle."""

    name: str = "agriclip-lite0"
    version: str = "0.1.0"
    description: str = "plants, pests, produce, animals and land, named on the device"
    variants: tuple[Plan, ...] = PLANS
    budget: Path = BUDGET


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
    plans = plan_packs(judged.tasks, parents)
    prompts = sorted(
        {template.replace("{}", label.text) for plan in plans for label in plan.labels for template in templates}
    )
    words = export_text_encoder(text, prompts, text_facts)

    def labels(collection: Collection) -> Vectors:
        return label_vectors(template_embeddings(text, collection, templates)).numpy()

    photos = gate_photos(data, run_facts["collection"], labels, size)
    image = export_image_encoder(tower, size, image_facts, photos.judged[:: max(1, len(photos.judged) // _COMPARED)])
    made = make_variants(
        image.exact, image.data, size, text.dim, photos, config.variants, config.budget, image_facts, say
    )
    facts = Facts(config.name, config.version, run_facts, judged, records, image, words, len(prompts), made)
    files = {
        **made.files,
        TEXT_FILE: words.data,
        VOCABULARY_FILE: text.vocabulary,
        CARD_FILE: model_card(facts).encode(),
        **licence_files(),
    }
    manifest = _manifest(config, judged, size, text.dim, templates, made, run_facts)
    write_bundle(output, *with_packs(manifest, files, plans), zipped=zipped)


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
        licences=[LicenceEntry(*licence) for licence in _LICENCES],
        files=[],
        text=text_entry(TEXT_FILE, VOCABULARY_FILE, MAX_TOKENS, dim, templates),
        sources={"checkpoint": judged.model, "training photos": str(run_facts["photos"])},
    )
