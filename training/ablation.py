"""The ablation of the three stages: every pair of encoders, aligned, beside the contrastive encoder alone."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import torch

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from .align.artefact import mix
from .align.config import AlignConfig
from .align.encoders import Backbone, TextAligned, default_encoder, dino_backbone, imagenet_backbone, trained_encoder
from .align.features import FeatureStore
from .align.fit import Part, fit
from .align.run import read_part, read_parts, unseen
from .config import EncoderConfig
from .data import read_collection
from .dino.config import DinoConfig
from .dino.run import start_tower, train_dino
from .evaluate import Table, judge
from .progress import StatusLine
from .tables import keep_record, markdown_table, read_record
from .text_tower import TextTower

RECORD = "ablation.json"
TABLE = "ablation.md"
START, TRAINED = "start", "trained"  # before and after training on ALive
METHODS = ("contrastive only", "aligned", "ensemble")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One image encoder under one seed.

    Attributes:
        method: one of `METHODS`.
        dino: ``start``, ``trained``, or empty for contrastive only.
        encoder: ``start`` or ``trained``: the text-aligned encoder.
        seed: of what is held out, and of the runs where there is one a seed.
        tables: accuracy by what was judged, as in ``downstream:query``.
        strength: penalty of the map, 0 where there is none.
        cosine: mean over held-out training photos to the map's targets, likewise.
        explained: mean R² over dimensions on these, likewise.
        share: of the aligned encoder in the mix.
    """

    method: str
    dino: str
    encoder: str
    seed: int
    tables: dict[str, Table]
    strength: float = 0.0
    cosine: float = 0.0
    explained: float = 0.0
    share: float = 0.0


class Ablation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole table.

    Attributes:
        judged: on what.
        collections: trained on.
        seeds: of the rows.
        templates: of the labels, the same in all rows.
        subjects: sha256 of each encoder and backbone, and of the photos.
        held_out_unseen: by seed, whether the trained text-aligned encoder had not seen the photos that chose the mix.
        rows: method by method, seed by seed.
    """

    judged: tuple[str, ...]
    collections: tuple[str, ...]
    seeds: tuple[int, ...]
    templates: tuple[str, ...]
    subjects: dict[str, str]
    held_out_unseen: tuple[bool, ...]
    rows: tuple[Row, ...]

    def samples(self) -> dict[str, tuple[float, ...]]:
        """Mean accuracy over tasks in percent, one value a seed, by ``<method>-<dino>-<encoder>-<judged>_pct``."""
        values: dict[str, list[float]] = {}
        for row in self.rows:
            kind = "-".join(word.replace(" ", "-") for word in (row.method, row.dino, row.encoder) if word)
            for judged, table in row.tables.items():
                values.setdefault(f"{kind}-{judged.replace(':', '-')}_pct", []).append(100 * table.mean)
        return {name: tuple(found) for name, found in values.items()}

    def cells(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str | float, ...], ...]]:
        """Columns, as (heading, format of its numbers), and rows of the table: means over seeds, lowest to highest.

        The last columns are the gain over contrastive only with the same text-aligned encoder, seed by seed.
        """
        columns = [("method", ""), ("DINO", ""), ("text-aligned encoder", "")]
        for judged in self.judged:
            columns += [(judged, ".1f"), ("spread", ""), ("gain", "+.1f"), ("chance", ".1f")]
        names = {START: "ImageNet", TRAINED: "ALive", "": "–"}
        encoders = {START: "default", TRAINED: "ALive"}
        rows: list[tuple[str | float, ...]] = []
        for method, dino, encoder in dict.fromkeys((row.method, row.dino, row.encoder) for row in self.rows):
            cells: list[str | float] = [method, names[dino], encoders[encoder]]
            for judged in self.judged:
                own = self._accuracies(method, dino, encoder, judged)
                alone = self._accuracies(METHODS[0], "", encoder, judged)
                gain = statistics.fmean(a - b for a, b in zip(own, alone))
                chance = next(row.tables[judged].chance for row in self.rows)
                cells += [statistics.fmean(own), f"{min(own):.1f} to {max(own):.1f}", gain, 100 * chance]
            rows.append(tuple(cells))
        return tuple(columns), tuple(rows)

    def markdown(self) -> str:
        """The table as Markdown."""
        columns, rows = self.cells()
        unseen_by = sum(self.held_out_unseen)
        return (
            f"{markdown_table(columns, rows, words=3)}\n\n"
            f"Mean over tasks of mean per-class accuracy, %; mean, lowest and highest of {len(self.seeds)} seeds; gain "
            f"in points over contrastive only with the same text-aligned encoder. The photos that chose penalty and "
            f"mix were new to the trained text-aligned encoder in {unseen_by} of {len(self.seeds)} seeds.\n"
        )

    def _accuracies(self, method: str, dino: str, encoder: str, judged: str) -> list[float]:
        kind = (method, dino, encoder)
        return [100 * row.tables[judged].mean for row in self.rows if (row.method, row.dino, row.encoder) == kind]


@dataclass(frozen=True)
class Start:
    """What there is before training on ALive.

    Attributes:
        text: the text tower.
        backbone: of ImageNet.
        encoder: the default text-aligned encoder.
        start: what stage 2 starts from, as `training.dino.run.start_tower` takes it.
    """

    text: TextTower
    backbone: Backbone
    encoder: TextAligned
    start: str


def default_start(text: TextTower) -> Start:
    """EfficientNet-Lite0 and ConSE, both of ImageNet."""
    size = EncoderConfig().input_size
    return Start(text, imagenet_backbone(size), default_encoder(text, size), "imagenet")


def run_ablation(
    data: Path,
    output: Path,
    start: Start,
    encoder_runs: Sequence[Path],
    dino_runs: Sequence[Path],
    collections: Sequence[str],
    judged: Sequence[str],
    seeds: Sequence[int],
    align: AlignConfig,
    dino: DinoConfig,
    status: StatusLine,
) -> Ablation:
    """Fit and judge every cell, or go on where ``output`` was left.

    Args:
        data: root of the data.
        output: made when missing; features, runs of stage 2 and rows that are there are not made again.
        start: the encoders before training.
        encoder_runs: of stage 1; one for all seeds, or one a seed.
        dino_runs: of stage 2, likewise; where none is given, one a seed is trained under ``output``.
        collections: folders under ``data`` to train on.
        judged: ``<collection>:<split>`` each.
        seeds: of what is held out, and of stage 2 where it is trained here.
        align: recipe of stage 3.
        dino: recipe of stage 2.
        status: tells how far it is.

    Returns:
        the record, which also lies in ``output`` beside its table.

    Raises:
        DataError: the data are incomplete.
        UsageError: a run is missing, or there are neither one nor as many as seeds.
    """
    encoder_of, dino_of = _by_seed("--encoder", encoder_runs, seeds), _by_seed("--dino", dino_runs, seeds)
    if encoder_of is None or not seeds:
        raise UsageError("no run of stage 1, or no seed; accepted: at least one --encoder and one seed")
    text, store = start.text, FeatureStore(output / "features", status)
    templates = trained_encoder(encoder_of(seeds[0]), text)[1]
    parts = read_parts(data, collections, templates, text, status)
    asked = {name: _read_judged(data, name, templates, text, status) for name in judged}
    subjects = {"start encoder": start.encoder.space.image, "start dino": start.backbone.space.weights}
    subjects |= {f"photos {part.collection.name}": part.photos.sha256 for part in parts}
    subjects |= {f"photos {name}": part.photos.sha256 for name, part in asked.items()}
    rows: list[Row] = []
    fair: list[bool] = []
    for seed in seeds:
        trained, own_templates, seen = trained_encoder(encoder_of(seed), text)
        if own_templates != templates:
            raise UsageError(f"{encoder_of(seed)} has other templates than {encoder_of(seeds[0])}: not one protocol")
        run = dino_of(seed) if dino_of else _train(data, output, start, collections, dino, seed, status)
        config = replace(align, seed=seed)
        fair.append(unseen(parts[0], config, seen))
        backbones = {START: start.backbone, TRAINED: dino_backbone(run, start.backbone.space.input_size)}
        encoders = {START: start.encoder, TRAINED: trained}
        subjects |= {
            f"trained encoder, seed {seed}": trained.space.image,
            f"trained dino, seed {seed}": backbones[TRAINED].space.weights,
        }
        for name, encoder in encoders.items():
            key = _key(("", name), encoder, None, config, parts, asked)
            rows += _kept(output, key, partial(_contrastive, name, encoder, seed, asked, store), status)
            for dino_name, backbone in backbones.items():
                key = _key((dino_name, name), encoder, backbone, config, parts, asked)
                make = partial(_aligned, dino_name, backbone, name, encoder, config, parts, asked, store)
                rows += _kept(output, key, make, status)
    order = {method: number for number, method in enumerate(METHODS)}
    rows.sort(key=lambda row: (order[row.method], row.dino, row.encoder, row.seed))
    record = Ablation(tuple(judged), tuple(collections), tuple(seeds), templates, subjects, tuple(fair), tuple(rows))
    keep_record(record, output / RECORD, output / TABLE)
    return record


def read_ablation(path: Path) -> Ablation:
    """Read a record.

    Raises:
        UsageError: it is missing or broken.
    """
    return read_record(path, Ablation, "an ablation")


def _by_seed(option: str, runs: Sequence[Path], seeds: Sequence[int]) -> Callable[[int], Path] | None:
    if not runs:
        return None
    if len(runs) not in (1, len(seeds)):
        raise UsageError(f"{option} is given {len(runs)} times; accepted: once, or once for each of {len(seeds)} seeds")
    chosen = dict(zip(seeds, [runs[0]] * len(seeds) if len(runs) == 1 else runs))
    return chosen.__getitem__


def _read_judged(data: Path, name: str, templates: tuple[str, ...], text: TextTower, status: StatusLine) -> Part:
    collection, colon, split = name.partition(":")
    if not colon or split == "train":
        raise UsageError(f"{name!r} cannot be judged on; accepted: <collection>:<split>, not its train photos")
    return read_part(read_collection(data / collection), split, templates, text, status)


def _train(
    data: Path, output: Path, start: Start, collections: Sequence[str], dino: DinoConfig, seed: int, status: StatusLine
) -> Path:
    """A run of stage 2 for one seed."""
    run = output / f"dino-{seed}"
    torch.manual_seed(seed)
    tower, architecture = start_tower(start.backbone.space.architecture, start.start)
    train_dino(data, run, replace(dino, architecture=architecture, seed=seed), tower, collections, status)
    return run


def _key(
    names: tuple[str, str],
    encoder: TextAligned,
    backbone: Backbone | None,
    config: AlignConfig,
    parts: Sequence[Part],
    asked: dict[str, Part],
) -> str:
    """Names a cell by all that its figures depend on."""
    identity = {
        "names": names,
        "encoder": asdict(encoder.space),
        "backbone": asdict(backbone.space) if backbone else None,
        "config": asdict(config),
        "train": [part.photos.sha256 for part in parts],
        "judged": {name: part.photos.sha256 for name, part in asked.items()},
        "labels": [
            hashlib.sha256(part.labels(encoder.symptoms).tobytes()).hexdigest() for part in (*parts, *asked.values())
        ],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _kept(output: Path, key: str, make: Callable[[], list[Row]], status: StatusLine) -> list[Row]:
    """Rows of a cell from its file, made and written where there is none."""
    path = output / "cells" / f"{key}.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=list[Row])
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(msgspec.json.encode(made))
    for row in made:
        means = ", ".join(f"{name} {100 * table.mean:.1f}" for name, table in row.tables.items())
        status.say(f"seed {row.seed}: {row.method}, DINO {row.dino or '–'}, encoder {row.encoder}: {means}")
    return made


def _contrastive(name: str, encoder: TextAligned, seed: int, asked: dict[str, Part], store: FeatureStore) -> list[Row]:
    """The text-aligned encoder alone."""
    tables = {}
    for judged, part in asked.items():
        vectors = encoder.project(store.features(encoder.backbone, part.photos)).numpy()
        tables[judged] = judge(vectors, part.labels(encoder.symptoms), part.collection, part.photos)
    return [Row(METHODS[0], "", name, seed, tables)]


def _aligned(
    dino: str,
    backbone: Backbone,
    name: str,
    encoder: TextAligned,
    config: AlignConfig,
    parts: Sequence[Part],
    asked: dict[str, Part],
    store: FeatureStore,
) -> list[Row]:
    """The aligned encoder and its mix with the contrastive one."""
    fitted = fit(parts, backbone, encoder, config, store)
    alignment = fitted.alignment
    tables: dict[str, dict[str, Table]] = {method: {} for method in METHODS[1:]}
    for judged, part in asked.items():
        aligned = alignment.vectors(store.features(backbone, part.photos))
        contrastive = encoder.project(store.features(encoder.backbone, part.photos))
        for method, vectors in zip(METHODS[1:], (aligned, mix(aligned, contrastive, fitted.share))):
            tables[method][judged] = judge(vectors.numpy(), part.labels(encoder.symptoms), part.collection, part.photos)
    figures = alignment.strength, alignment.cosine, float(alignment.explained.mean())
    return [
        Row(method, dino, name, config.seed, tables[method], *figures, share)
        for method, share in zip(METHODS[1:], (1.0, fitted.share))
    ]
