"""What a trained model was judged to be worth, kept beside it: the record that the model card is made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.labels.prompts import Embedder

from .calibration import Calibration, calibrate
from .data import Task, read_collection, read_photos
from .encoder import MODEL, load_tower, vectors_of
from .evaluate import Table, Vectors, embed_photos, judge
from .fit import embedder

CALIBRATED = "val"  # the only split that a temperature is fitted on: tasks never trained on calibrate nothing


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model on one split of one collection.

    Attributes:
        model: sha256 of the checkpoint's file.
        collection: name of the collection.
        split: which photos.
        tasks: what was asked, with sources and licences of the photos.
        table: accuracy by task, each photo choosing among its own task's labels.
        among_all: the same with the labels of all tasks to choose among.
        calibration: the temperature fitted on these photos; None for another split than ``val``.
    """

    model: str
    collection: str
    split: str
    tasks: tuple[Task, ...]
    table: Table
    among_all: Table
    calibration: Calibration | None


def judge_run(
    run: Path, data: Path, collection_name: str, split: str, text: Embedder, vectors: Vectors | None = None
) -> Results:
    """Judge a run's model and write the record into the run's folder.

    Args:
        run: folder of a training run.
        data: root of the data.
        collection_name: folder under it.
        split: which of its splits.
        text: embeds prompts, as in training.
        vectors: of the split's photos in order, float32 (N, D), where they are at hand; None embeds them.

    Raises:
        DataError: the data are incomplete.
        UsageError: the run has no model.
    """
    tower, description = load_tower(run)
    collection = read_collection(data / collection_name)
    photos = read_photos(collection, split)
    texts = vectors_of(description["config"], text, collection, tower.words)
    if vectors is None:
        vectors = embed_photos(embedder(tower, description["config"]["input_size"]), photos)
    results = Results(
        model=model_sha256(run),
        collection=collection.name,
        split=split,
        tasks=collection.tasks,
        table=judge(vectors, texts, collection, photos),
        among_all=judge(vectors, texts, collection, photos, among_all=True),
        calibration=calibrate(vectors, texts, collection, photos) if split == CALIBRATED else None,
    )
    with atomic_write(run / f"results-{collection.name}-{split}.json") as file:
        file.write(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return results


def read_results(run: Path) -> list[Results]:
    """All records of a run's present model, by name.

    Raises:
        UsageError: a record is broken, or of a former model of this run.
    """
    records = []
    for path in sorted(run.glob("results-*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Results)
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path}: {error}") from None
        if record.model != model_sha256(run):
            raise UsageError(f"{path} judges another model than the one in {run}: judge it again")
        records.append(record)
    return records


def calibration_of(results: Results) -> Calibration:
    """The calibration of a record that has one.

    Raises:
        UsageError: it judges another split than ``val``.
    """
    if results.calibration is None:
        raise UsageError(f"{results.collection} {results.split} calibrates nothing; accepted: a record of {CALIBRATED}")
    return results.calibration


def model_sha256(run: Path) -> str:
    """sha256 of a run's checkpoint file."""
    return hashlib.sha256((run / MODEL).read_bytes()).hexdigest()
