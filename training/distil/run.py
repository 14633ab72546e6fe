"""Distils from stored views to a run like that of ``encoder``: one form of checkpoint, log and picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB

from ..checkpoint import write_checkpoint
from ..data import Collection, Indices, Photos, draw_held_out, find_copies, read_joined
from ..dino.hashing import tensors_sha256
from ..encoder import MODEL, Judged, by_collection, load_tower, run_epochs
from ..evaluate import evaluate
from ..evaluation.subjects import Subject
from ..fit import embed_all, embedder
from ..image_tower import ImageTower
from ..progress import StatusLine
from ..texture import Texture, statistics
from .config import DistilConfig
from .fit import DistilFit
from .store import Reinforced, read_reinforced, recheck

Config = TypeVar("Config", bound=DistilConfig)


@dataclass(frozen=True)
class Lesson:
    """Photos with what teachers say of them.

    Attributes:
        data: root of the data.
        collection: the tasks.
        photos: to train on.
        stored: photo by photo the same.
        judged: photos to judge on.
    """

    data: Path
    collection: Collection
    photos: Photos
    stored: Reinforced
    judged: Judged

    def take(self, chosen: Indices) -> Lesson:
        """The same with some of the photos to train on."""
        return replace(self, photos=self.photos.take(chosen), stored=self.stored.take(chosen))

    def some(self, number: int, seed: int = 0) -> Lesson:
        """The same with ``number`` of the photos, spread over all classes of all tasks by their sizes; 0 takes all."""
        if not 0 < number < len(self.photos):
            return self
        mixed = np.random.default_rng(seed).permutation(len(self.photos))
        by_class = mixed[np.lexsort((self.photos.label[mixed], self.photos.task[mixed]))]
        spread = np.linspace(0, len(self.photos) - 1, number).round().astype(np.int64)
        return self.take(np.sort(by_class[spread]))


def read_lesson(
    data: Path,
    reinforced: Path,
    space: str,
    share: float,
    opened: Callable[[str], Subject],
    status: StatusLine,
    dev: float = 0.0,
    seed: int = 0,
) -> Lesson:
    """Read the photos and what is stored of them, and compute a share of it again.

    Args:
        data: root of the data.
        reinforced: folder that ``store-teacher`` wrote.
        space: sha256 of the text encoder that the student will be used with.
        share: of the views that is computed again, as `training.distil.store.recheck`.
        opened: likewise.
        status: tells how far it is.
        dev: share of the training photos that is held out, to judge choices by, in place of ``val``.
        seed: of what is held out.

    Raises:
        DataError: photos or views are missing, broken or do not belong together.
        UsageError: the views were stored for another text encoder.
    """
    stored = read_reinforced(reinforced)
    names = stored.header.config.collections
    if stored.header.space != space:
        raise UsageError(f"{reinforced} was stored for another text encoder; accepted: the one that it was made with")
    collection, photos = read_joined(data, names, "train", status.say, copies=True)
    checked = recheck(stored, photos, share, opened, status, seed)
    status.say(f"{checked} of {len(photos) * stored.header.config.views} views computed again: as stored")
    copies = find_copies(data, names)
    if len(copies):
        status.say(f"{len(copies)} training photos left out, as they nearly repeat judged ones")
        rest = np.setdiff1d(np.arange(len(photos)), copies)
        photos, stored = photos.take(rest), stored.take(rest)
    if dev <= 0:
        judged = Judged("val", read_joined(data, names, "val")[1])
        return Lesson(data, collection, photos, stored, judged)
    out = draw_held_out(photos, dev, seed)
    judged = Judged("dev", photos.take(np.flatnonzero(out)))
    return Lesson(data, collection, photos, stored, judged).take(np.flatnonzero(~out))


def fitting(config: Config, lesson: Lesson, *, pretrained: bool) -> Config:
    """The recipe with what the stored views decide; nothing of a net of chance is worth freezing."""
    stored, looks = lesson.stored.header.config, lesson.stored.header.looks
    return replace(
        config,
        looks=looks,
        teach=config.teach if looks else replace(config.teach, looks=0.0),
        collections=stored.collections,
        templates=stored.templates,
        symptoms=stored.symptoms,
        captions=stored.captions,
        augment=stored.augment,
        frozen_blocks=config.frozen_blocks if pretrained else 0,
    )


def distil(
    lesson: Lesson, output: Path, config: DistilConfig, tower: ImageTower, status: StatusLine, *, fresh: bool
) -> dict[str, float]:
    """Train a student, or go on where ``output`` was left.

    Args:
        lesson: from `read_lesson`.
        output: folder for the checkpoint, the log and its picture; made when missing.
        config: from `fitting`.
        tower: to begin with; changed.
        status: tells how far it is.
        fresh: the tower has no head yet.

    Returns:
        accuracies of the model that ``output`` holds in the end, by the name that the log has for them.

    Raises:
        UsageError: ``output`` holds a run of another recipe, start or other data; or a net without a head is to be
            trained with rounding.
    """
    if fresh and config.quantisation is not None:
        raise UsageError("quantisation-aware training starts from a finished run; name it with --start")
    identity = {
        "config": asdict(config),
        "photos": lesson.photos.sha256,
        "reinforced": lesson.stored.header.sha256(),
        "start": tensors_sha256(tower.state_dict()),
    }
    labels = lesson.stored.texts[lesson.stored.header.space].labels.numpy()
    vectors = labels if tower.words is None else tower.words.of(labels)

    def judge(model: ImageTower) -> dict[str, float]:
        table = evaluate(embedder(model, config.input_size), vectors, lesson.collection, lesson.judged.photos)
        return by_collection(table, lesson.judged.name, lesson.data, config)

    fit = DistilFit(config, tower, lesson.stored, lesson.collection, lesson.photos)
    entry, name = run_epochs(fit, output, identity, judge, status, fresh=fresh), lesson.judged.name
    return {key: float(value) for key, value in entry.items() if key == name or key.startswith(f"{name} ")}


def add_texture(run: Path, photos: Sequence[RGB], numbers: int) -> None:
    """Add the last part (`training.texture`) to the embeddings of a finished run, or fit it anew.

    Args:
        run: its folder; the checkpoint is replaced when all is known.
        photos: upright RGB uint8 (H, W, 3), whose labels are not asked for.
        numbers: of that part.

    Raises:
        UsageError: the run's maps have fewer statistics.
    """
    tower, description = load_tower(run)
    found = embed_all(
        lambda images: statistics(tower.maps(images)[1]), photos, int(description["config"]["input_size"])
    )
    tower.set_texture(Texture.of(found, numbers))
    write_checkpoint(run / MODEL, tower.state_dict(), description)
