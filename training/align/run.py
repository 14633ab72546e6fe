"""Stage 3 from two runs to one: the map, the image encoder that it makes, the mix, and a picture of how they fit."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from agriclip_edge.files import atomic_write

from ..data import Collection, hold_out, read_collection, read_photos
from ..encoder import label_vectors
from ..progress import StatusLine
from ..text_tower import TextTower
from .artefact import Ensemble, write_alignment, write_ensemble
from .config import AlignConfig
from .encoders import Backbone, TextAligned, describe
from .features import FeatureStore
from .fit import Fitted, Part, fit, joined

REPORT = "report.json"


def align(
    data: Path,
    output: Path,
    backbone: Backbone,
    encoder: TextAligned,
    templates: tuple[str, ...],
    collections: Sequence[str],
    config: AlignConfig,
    text: TextTower,
    status: StatusLine,
    seen: str = "",
) -> Fitted:
    """Fit, and write all that stage 3 leaves into a folder.

    Args:
        data: root of the data.
        output: made when missing; features of a run that was cut off are taken from its ``features/``.
        backbone: from `training.align.encoders`.
        encoder: likewise.
        templates: prompt templates of labels.
        collections: folders under ``data`` whose training photos are used.
        config: the recipe.
        text: the text tower of ``encoder``.
        status: tells how far it is.
        seen: hash of the photos that the encoder was trained on, where it is known.

    Raises:
        DataError: the data are incomplete.
        UsageError: too few photos.
    """
    parts = read_parts(data, collections, templates, text, status)
    fitted = fit(parts, backbone, encoder, config, FeatureStore(output / "features", status))
    alignment = fitted.alignment
    description: dict[str, Any] = {
        "config": {
            **asdict(config),
            "architecture": alignment.source.architecture,
            "input_size": alignment.source.input_size,
            "templates": templates,
            "symptoms": encoder.symptoms,
        },
        "collection": collections[0],
        "photos": parts[0].photos.sha256,
    }
    write_alignment(output, alignment, backbone, description)
    if encoder.tower is not None and encoder.backbone.space.input_size == backbone.space.input_size:
        architectures = {
            "aligned": backbone.space.architecture,
            "contrastive": encoder.backbone.space.architecture,
        }
        target = {"target": describe(encoder.space), "architectures": architectures}
        ensemble = Ensemble(alignment.tower(backbone), encoder.tower, fitted.share)
        write_ensemble(output, ensemble, {**description, **target})
    report = {
        **description,
        "source": describe(alignment.source),
        "target": describe(alignment.target),
        "strength": alignment.strength,
        "held_out_cosine": alignment.cosine,
        "held_out_explained_mean": float(alignment.explained.mean()),
        "held_out_explained": [round(value, 4) for value in alignment.explained.tolist()],
        "cosine_by_strength": alignment.tried,
        "ensemble_share": fitted.share,
        "held_out_accuracy_by_share": fitted.mixes,
        "held_out_unseen_by_encoder": unseen(parts, config, seen),
    }
    with atomic_write(output / REPORT) as file:
        file.write(json.dumps(report, indent=1).encode() + b"\n")
    _draw(fitted, output / "report.png")
    status.say(
        f"penalty {alignment.strength:g}, held-out cosine {alignment.cosine:.4f}, "
        f"R² {float(alignment.explained.mean()):.3f}, share of the aligned encoder in the mix {fitted.share:g}"
    )
    return fitted


def read_parts(
    data: Path, collections: Sequence[str], templates: tuple[str, ...], text: TextTower, status: StatusLine
) -> list[Part]:
    """The training photos and label vectors of collections.

    Raises:
        DataError: the data are incomplete.
    """
    return [
        read_part(read_collection(data / name), "train", templates, text, status) for name in dict.fromkeys(collections)
    ]


def read_part(
    collection: Collection, split_name: str, templates: tuple[str, ...], text: TextTower, status: StatusLine
) -> Part:
    """The photos of one split of a collection, and the vectors of its labels.

    Raises:
        DataError: the data are incomplete.
    """
    photos = read_photos(collection, split_name, status.say)
    return Part(collection, photos, lru_cache(partial(label_vectors, text, collection, templates)))


def unseen(parts: Sequence[Part], config: AlignConfig, seen: str) -> bool:
    """Whether an encoder trained on the photos of hash ``seen`` has not seen those that are held out here.

    Where it has, its vectors of them are too good, and the mix leans towards it.
    """
    return hold_out(joined(parts)[1], config.held_out, config.seed)[0].sha256 == seen


def _draw(fitted: Fitted, path: Path) -> None:
    """Cosine by penalty, R² by dimension, accuracy by mix: a PNG of 1,200 by 400 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), dpi=100, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.semilogx(*zip(*fitted.alignment.tried), marker="o")
    left.set(xlabel="penalty", ylabel="held-out cosine")
    middle.plot(fitted.alignment.explained.sort(descending=True).values.numpy())
    middle.set(xlabel="dimension, best first", ylabel="held-out R²")
    shares, accuracies = zip(*fitted.mixes)
    right.plot(shares, [100 * value for value in accuracies], marker="o")
    right.axvline(fitted.share, color="grey", linewidth=0.8)
    right.set(xlabel="share of the aligned encoder", ylabel="held-out mean accuracy, %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
