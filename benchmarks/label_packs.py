"""What facts and a centre do to typed labels: zero-shot accuracy, and cosines that mean the same in every pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from agriclip_edge.labels.build import centred
from agriclip_edge.labels.matching import Index
from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import embed_labels
from agriclip_edge.text.encoder import TextEncoder
from training.data import Collection, Photos, read_collection, read_photos
from training.evaluate import mean_per_class_accuracy

from .environment import describe, versions
from .labels import open_classifier
from .record import BenchmarkError, Cell, Detail, Measurement
from .rounds import Step

Vectors = npt.NDArray[np.float32]
COLLECTIONS = ("alive-mini", "alive-plus")
_COLUMNS = (
    ("labels by", ""),
    ("centre", ""),
    ("zero-shot", ".1%"),
    ("all labels", ".1%"),
    ("AUROC, one threshold", ".4f"),
    ("spread of packs", ".2f"),
)


@dataclass(frozen=True)
class Figures:
    """What one way of embedding labels gives over a collection's validation photos.

    Attributes:
        accuracy: zero-shot among a task's own labels, plain mean over tasks.
        together: among the labels of all tasks, mean per class.
        pooled: AUROC of a photo's best cosine in a pack, own task against others, one threshold for all packs.
        spread: of the packs' mean best cosines, over the spread of single photos: 0 where packs are comparable.
    """

    accuracy: float
    together: float
    pooled: float
    spread: float


def figures(photos: Vectors, labels: Vectors, collection: Collection, answers: Photos) -> Figures:
    """Judge label vectors float32 (L, D) by photo vectors float32 (N, D)."""
    cosines = photos @ labels.T
    accuracies, best, own = [], [], []
    for task, rows in enumerate(collection.rows):
        members = np.asarray(rows)
        here = answers.task == task
        if not here.any():
            continue
        guesses = members[cosines[here][:, members].argmax(axis=1)]
        accuracies.append(mean_per_class_accuracy(guesses, answers.label[here]))
        best.append(cosines[:, members].max(axis=1))
        own.append(here)
    means = [values[here].mean() for values, here in zip(best, own)]
    within = np.mean([values[here].std() for values, here in zip(best, own)])
    return Figures(
        accuracy=float(np.mean(accuracies)),
        together=mean_per_class_accuracy(cosines.argmax(axis=1), answers.label),
        pooled=float(roc_auc_score(np.concatenate(own), np.concatenate(best))),
        spread=float(np.std(means) / within) if within > 0 else 0.0,
    )


def measure(data: Path, bundle: Path | None, step: Step, collections: Sequence[str] = COLLECTIONS) -> Measurement:
    """Judge labels by names, by names with symptoms, and by symptoms; as they are and centred.

    Args:
        data: root of the data.
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        collections: whose validation photos.

    Raises:
        DataError: photos are missing or not as described.
        BenchmarkError: the bundle has no facts library.
    """
    classifier = open_classifier(bundle, "onnxruntime")
    opened = classifier.bundle
    encoder, library = TextEncoder(opened), opened.facts
    if library is None:
        raise BenchmarkError(f"{opened.manifest.name} has no facts library; accepted: a bundle with one")
    index = Index(library.classes)
    details, samples = [], {}
    for number, name in enumerate(collections):
        step(number, len(collections), name)
        collection = read_collection(data / name)
        answers = read_photos(collection, "val")
        photos = classifier.embed(list(answers.rgb))
        names = embed_labels([Label(label) for label in collection.labels], encoder.templates, encoder)
        found = [index.find(label).facts for label in collection.labels]
        known = {row: library.by_label[facts.label] for row, facts in enumerate(found) if facts is not None}
        rows: list[tuple[Cell, ...]] = []
        for way, share in (("names", 0.0), ("names and symptoms", library.share), ("symptoms", 1.0)):
            vectors = names.copy()
            for row, place in known.items():
                vectors[row] = (1 - share) * names[row] + share * library.symptoms[place]
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for centre in (False, True):
                chosen = centred(vectors, library.centre) if centre else vectors
                here = figures(photos, chosen, collection, answers)
                rows.append((way, "taken off" if centre else "left", *astuple(here)))
                kind = f"{name}_{way.replace(' ', '_')}{'_centred' if centre else ''}"
                samples[f"{kind}_pct"] = (100 * here.accuracy,)
        title = f"{name}, val, {len(known)} of {len(collection.labels)} labels with facts"
        details.append(Detail(title, _COLUMNS, tuple(rows)))
    return Measurement(
        method="Labels are embedded by their names, by names mixed with what the facts library says is seen, "
        "and by that alone, as they are or less the mean of the library. Zero-shot: among a task's own labels, plain "
        "mean over tasks; all labels: among those of all tasks, mean per class; AUROC: a photo's best cosine in a "
        "pack, own task against others, one threshold for all packs; spread of packs: of their mean best cosines, over "
        "that of single photos, 0 where packs are comparable.",
        samples=samples,
        subject=describe(opened),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=tuple(details),
    )
