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

from .ablation_config import AblationConfig
from .align.artefact import mix
from .align.config import AlignConfig
from .align.encoders import Backbone, TextAligned, default_encoder, dino_backbone, imagenet_backbone, trained_encoder
from .align.features import FeatureStore
from .align.fit import Part, fit, joined, split
from .align.run import read_part, read_parts, unseen
from .data import read_collection, spread
from .dino.network import new_tower
from .dino.run import train_dino
from .encoder import train_encoder
from .evaluate import Table, judge
from .image_tower import ImageTower
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
        seed: of what is held out, and of the runs where they are trained a seed.
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
        courses: of the stages that were trained here, once a seed; in words.
        photos: number trained on, with those held out.
    """

    judged: tuple[str, ...]
    collections: tuple[str, ...]
    seeds: tuple[int, ...]
    templates: tuple[str, ...]
    subjects: dict[str, str]
    held_out_unseen: tuple[bool, ...]
    rows: tuple[Row, ...]
    courses: tuple[str, ...] = ()
    photos: int = 0

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

    def method(self) -> str:
        """How it was made, in a few sentences."""
        drawn = f" and train {' and '.join(self.courses)} on the rest of {self.photos:,} photos" if self.courses else ""
        return (
            f"Stages 2 (DINO) and 1 (text-aligned) before and after training on {', '.join(self.collections)}; aligned "
            "is stage 3, a closed-form map from the DINO features into the text-aligned encoder's space, ensemble the "
            "mix of both encoders. Mean over tasks of mean per-class accuracy, %; mean, lowest and highest of "
            f"{len(self.seeds)} seeds, which draw what is held out to choose penalty and mix{drawn}. Gains are in "
            "points over contrastive only with the same text-aligned encoder, whose training had not seen the held-out "
            f"photos in {sum(self.held_out_unseen)} of {len(self.seeds)} seeds."
        )

    def markdown(self) -> str:
        """The table as Markdown."""
        columns, rows = self.cells()
        return f"{markdown_table(columns, rows, words=3)}\n\n{self.method()}\n"

    def _accuracies(self, method: str, dino: str, encoder: str, judged: str) -> list[float]:
        kind = (method, dino, encoder)
        return [100 * row.tables[judged].mean for row in self.rows if (row.method, row.dino, row.encoder) == kind]


@dataclass(frozen=True)
class Start:
    """What there is before training on ALive.

    Attributes:
        text: the text tower.
        backbone: of ImageNet; stages 1 and 2 start from it.
        encoder: the default text-aligned encoder.
    """

    text: TextTower
    backbone: Backbone
    encoder: TextAligned


def default_start(text: TextTower, size: int) -> Start:
    """EfficientNet-Lite0 and ConSE, both of ImageNet, for photos of ``size`` pixels a side."""
    return Start(text, imagenet_backbone(size), default_encoder(text, size))


def run_ablation(
    data: Path,
    output: Path,
    start: Start,
    encoder_runs: Sequence[Path],
    dino_runs: Sequence[Path],
    collections: Sequence[str],
    judged: Sequence[str],
    seeds: Sequence[int],
    config: AblationConfig,
    status: StatusLine,
) -> Ablation:
    """Train, fit and judge every cell, or go on where ``output`` was left.

    Args:
        data: root of the data.
        output: made when missing; features, runs and rows that are there are not made again.
        start: the encoders before training.
        encoder_runs: of stage 1; one for all seeds, or one a seed. Where none is given, one a seed is trained under
            ``output``, without the photos that are held out under that seed.
        dino_runs: of stage 2, likewise.
        collections: folders under ``data`` to train on.
        judged: ``<collection>:<split>`` each.
        seeds: of what is held out, and of the stages that are trained here.
        config: the recipes; ``collections`` takes the place of stage 1's.
        status: tells how far it is.

    Returns:
        the record, which also lies in ``output`` beside its table.

    Raises:
        DataError: the data are incomplete.
        UsageError: a run is missing, there are neither one nor as many as seeds, or there is no seed.
    """
    encoder_of, dino_of = _by_seed("--encoder", encoder_runs, seeds), _by_seed("--dino", dino_runs, seeds)
    if not seeds:
        raise UsageError("no seed; accepted: at least one")
    architecture = start.backbone.space.architecture
    config = replace(
        config,
        encoder=replace(config.encoder, architecture=architecture, collections=tuple(dict.fromkeys(collections))),
        dino=replace(config.dino, architecture=architecture),
    )
    text, store = start.text, FeatureStore(output / "features", status)
    templates = trained_encoder(encoder_of(seeds[0]), text)[1] if encoder_of else config.encoder.templates
    parts = [_some(part, config.photos) for part in read_parts(data, collections, templates, text, status)]
    asked = {name: _read_judged(data, name, templates, text, status) for name in judged}
    subjects = {"start encoder": start.encoder.space.image, "start dino": start.backbone.space.weights}
    subjects |= {f"photos {part.collection.name}": part.photos.sha256 for part in parts}
    subjects |= {f"photos {name}": part.photos.sha256 for name, part in asked.items()}
    rows: list[Row] = []
    fair: list[bool] = []
    for seed in seeds:
        own = _of_seed(config, seed)
        train = partial(_train, data, output, start, parts, own, status)
        run = encoder_of(seed) if encoder_of else train("encoder", _train_encoder)
        trained, own_templates, seen = trained_encoder(run, text)
        if own_templates != templates:
            raise UsageError(f"{run} has other templates than the first seed's run: not one protocol")
        fair.append(unseen(parts, own.align, seen))
        run = dino_of(seed) if dino_of else train("dino", _train_dino)
        backbones = {START: start.backbone, TRAINED: dino_backbone(run, start.backbone.space.input_size)}
        encoders = {START: start.encoder, TRAINED: trained}
        subjects |= {
            f"trained encoder, seed {seed}": trained.space.image,
            f"trained dino, seed {seed}": backbones[TRAINED].space.weights,
        }
        for name, encoder in encoders.items():
            key = _key(("", name), encoder, None, own.align, parts, asked)
            rows += _kept(output, key, partial(_contrastive, name, encoder, seed, asked, store), status)
            for dino_name, backbone in backbones.items():
                key = _key((dino_name, name), encoder, backbone, own.align, parts, asked)
                make = partial(_aligned, dino_name, backbone, name, encoder, own.align, parts, asked, store)
                rows += _kept(output, key, make, status)
    order = {method: number for number, method in enumerate(METHODS)}
    rows.sort(key=lambda row: (order[row.method], row.dino, row.encoder, row.seed))
    record = Ablation(
        tuple(judged),
        tuple(collections),
        tuple(seeds),
        templates,
        subjects,
        tuple(fair),
        tuple(rows),
        _courses(config, not encoder_runs, not dino_runs),
        sum(len(part.photos) for part in parts),
    )
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


_Train = Callable[[Path, Path, Start, Sequence[Part], AblationConfig, StatusLine], None]


def _train(
    data: Path,
    output: Path,
    start: Start,
    parts: Sequence[Part],
    config: AblationConfig,
    status: StatusLine,
    stage: str,
    train: _Train,
) -> Path:
    """A run of one stage for one seed; one that is there goes on, or is left as it is."""
    run = output / f"{stage}-{config.align.seed}"
    status.say(f"seed {config.align.seed}: {run}")
    train(data, run, start, parts, config, StatusLine(status.console))
    return run


def _train_encoder(
    data: Path, run: Path, start: Start, parts: Sequence[Part], config: AblationConfig, status: StatusLine
) -> None:
    """Stage 1."""
    tower = ImageTower(start.text.dim, config.encoder.architecture)
    tower.backbone.load_state_dict(start.backbone.tower.backbone.state_dict())
    held_out = config.align.held_out
    train_encoder(data, run, config.encoder, tower, start.text, status, held_out, given=joined(parts))


def _train_dino(
    data: Path, run: Path, start: Start, parts: Sequence[Part], config: AblationConfig, status: StatusLine
) -> None:
    """Stage 2; of the photos that are held out it sees none either."""
    tower = new_tower(config.dino.architecture)
    tower.backbone.load_state_dict(start.backbone.tower.backbone.state_dict())
    photos = [part.photos.take(kept) for part, (kept, _) in zip(parts, split(parts, config.align))]
    torch.manual_seed(config.dino.seed)  # of the projection head
    train_dino(data, run, config.dino, tower, config.encoder.collections, status, given=photos)


def _some(part: Part, photos: int) -> Part:
    few = 0 < photos < len(part.photos)
    return replace(part, photos=part.photos.take(spread(part.photos, photos))) if few else part


def _of_seed(config: AblationConfig, seed: int) -> AblationConfig:
    stages = {name: replace(getattr(config, name), seed=seed) for name in ("encoder", "dino", "align")}
    return replace(config, **stages)


def _courses(config: AblationConfig, encoder: bool, dino: bool) -> tuple[str, ...]:
    """What was trained here for each seed, in words."""
    sizes = ", ".join(str(size) for size in config.encoder.sizes)
    found = {
        f"stage 1 (an epoch each at {sizes} px)": encoder,
        f"stage 2 ({config.dino.steps} steps of {config.dino.batch} photos at {config.dino.global_size} px)": dino,
    }
    return tuple(words for words, here in found.items() if here)


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
