"""A bundle to be judged: its encoders, and the labels of a collection as it has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.classifier import Classifier
from training.data import Collection


def open_classifier(bundle: Path | None, runtime: str | None = None) -> Classifier:
    """A bundle under its first pack, for a figure that chooses labels itself.

    Args:
        bundle: its path; None takes the shipped one.
        runtime: as in `agriclip_edge.load`.

    Raises:
        BundleError: the bundle cannot be used.
    """
    opened = Bundle.open(bundle)
    return Classifier(opened, opened.pack(opened.manifest.packs[0].name), runtime=runtime)


def label_vectors(classifier: Classifier, collection: Collection) -> npt.NDArray[np.float32]:
    """Unit vectors float32 (L, D) of a collection's labels: of the bundle's packs where they have them, else typed."""
    known: dict[str, npt.NDArray[np.float32]] = {}
    names = {task.name for task in collection.tasks}
    for entry in classifier.bundle.manifest.packs:
        if entry.name in names:
            pack = classifier.bundle.pack(entry.name)
            known |= {label.text: row for label, row in zip(pack.labels, pack.embeddings)}
    typed = [word for word in collection.labels if word not in known]
    if typed:
        known |= dict(zip(typed, classifier.build_pack(typed).embeddings))
    return np.stack([known[word] for word in collection.labels])
