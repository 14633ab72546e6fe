"""What facts and a centre do to typed labels: zero-shot accuracy, and cosines that mean the same in every pack.

    python -m benchmarks.label_packs --data DATA --bundle BUNDLE

A bundle without facts is judged with those that would ship in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.classifier import Classifier
from agriclip_edge.labels.build import centred
from agriclip_edge.labels.facts import Library
from agriclip_edge.labels.matching import Index
from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import embed_labels
from agriclip_edge.text.encoder import TextEncoder
from export.packs import embed_symptoms
from training.captions import shipped_facts
from training.data import Collection, Photos, read_collection, read_photos
from training.evaluate import mean_per_class_accuracy

Vectors = npt.NDArray[np.float32]
COLLECTIONS = ("alive-mini", "alive-plus")


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


def measure(bundle: Bundle, data: Path) -> Iterator[str]:
    """Lines of a Markdown table: names, names with symptoms, symptoms; as they are and centred."""
    encoder = TextEncoder(bundle)
    library = bundle.facts
    if library is None:
        classes = tuple(shipped_facts().values())
        library = Library(classes, embed_symptoms(classes, encoder))
    index = Index(library.classes)
    classifier = Classifier(bundle, bundle.pack(bundle.manifest.packs[0].name), runtime="onnxruntime")
    yield "| val photos of | labels by | centre | zero-shot % | all labels % | AUROC, one threshold | spread of packs |"
    yield "|---|---|---|---|---|---|---|"
    for name in COLLECTIONS:
        collection = read_collection(data / name)
        answers = read_photos(collection, "val")
        photos = classifier.embed(list(answers.rgb))
        names = embed_labels([Label(label) for label in collection.labels], encoder.templates, encoder)
        found = [index.find(label).facts for label in collection.labels]
        rows = {row: library.by_label[facts.label] for row, facts in enumerate(found) if facts is not None}
        for way, share in (("names", 0.0), ("names and symptoms", library.share), ("symptoms", 1.0)):
            vectors = names.copy()
            for row, number in rows.items():
                vectors[row] = (1 - share) * names[row] + share * library.symptoms[number]
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for centre in (False, True):
                chosen = centred(vectors, library.centre) if centre else vectors
                found_here = figures(photos, chosen, collection, answers)
                yield (
                    f"| {name} | {way} | {'taken off' if centre else 'left'} | {100 * found_here.accuracy:.1f} "
                    f"| {100 * found_here.together:.1f} | {found_here.pooled:.4f} | {found_here.spread:.2f} |"
                )
        yield f"<!-- {name}: {len(answers)} photos, {len(rows)} of {len(collection.labels)} labels have facts -->"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="root of alive-mini and alive-plus")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder or zip; the shipped one otherwise")
    given = parser.parse_args()
    for line in measure(Bundle.open(given.bundle), given.data):
        print(line, flush=True)


if __name__ == "__main__":
    main()
