"""Dataset reinforcement: what teachers say of K views of every training photo, computed once and kept in shards.

After Vasu et al. 2024 (MobileCLIP, section 3): a view is stored as its parameters, so that a student is shown the very
picture that its teachers saw; their vectors are unit vectors in float16; every caption is embedded once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.parallel import ordered_map

from ..captions import captions_for, shipped_facts
from ..checkpoint import read_checkpoint, write_checkpoint
from ..data import DataError, Indices, Photos, read_joined
from ..evaluation.subjects import Subject, Vectors
from ..general import imagenet_names
from ..progress import StatusLine
from ..symptoms import FACTS_OF
from .config import StoreConfig
from .views import FIELDS, View, checksum, draw_view, render

EmbedTexts = Callable[[Sequence[str]], Vectors]
HEADER = "header.json"
TEXTS = "texts.safetensors"
FORMAT = "agriclip-reinforced/1"
_BATCH = 32  # views a teacher embeds at once
_LEAST_COSINE = 0.999  # of a vector computed again: float16 and another batch leave 0.9999 and more
_UNIT = 2e-3  # how far from 1 a length in float16 may be


class Teacher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One teacher.

    Attributes:
        spec: how it was opened, as `training.distil.teachers.open_teacher` takes it.
        name: for people.
        model: sha256 of its image encoder.
        preprocessing: id of what happens to a view before it.
        space: sha256 of its text encoder: vectors of one space may be compared; "" where it has no words and says how
            photos look (`training.looks`).
        dim: size D of its vectors.
    """

    spec: str
    name: str
    model: str
    preprocessing: str
    space: str
    dim: int


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a folder holds.

    Attributes:
        format: `FORMAT`.
        config: the recipe.
        photos: sha256 of the photos, as `training.data.Photos.sha256`.
        count: their number N.
        teachers: their vectors are stored.
        space: sha256 of the text encoder that the student will share.
        labels: L labels, in the order of the collections.
        prompts: unique texts; each was embedded once in every space.
        sets: for each of S templates and caption sets, the number of each label's prompt.
        general: for each of several templates, the number of each general class's prompt.
        codes: for each label, the number of the prompt that stands for what facts say is seen of it
            (`training.symptoms`), or -1; empty where the recipe gives it no share.
    """

    format: str
    config: StoreConfig
    photos: str
    count: int
    teachers: tuple[Teacher, ...]
    space: str
    labels: tuple[str, ...]
    prompts: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...]
    general: tuple[tuple[int, ...], ...]
    codes: tuple[int, ...]

    def sha256(self) -> str:
        """Names the folder's content."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def looks(self) -> int:
        """Size of the vectors that say how photos look; 0 where no teacher does."""
        return max((teacher.dim for teacher in self.teachers if not teacher.space), default=0)

    def shards(self) -> list[range]:
        """The photos of each shard."""
        step = self.config.shard
        return [range(first, min(first + step, self.count)) for first in range(0, self.count, step)]


@dataclass(frozen=True)
class Texts:
    """Unit vectors of the prompts in one space.

    Attributes:
        labels: as packs hold them, float32 (L, D).
        sets: of the labels by template or caption set, float32 (S, L, D).
        general: of general classes, float32 (G, D); G is 0 where there are none.
    """

    labels: Tensor
    sets: Tensor
    general: Tensor


@dataclass(frozen=True)
class Reinforced:
    """A folder's content in memory.

    Attributes:
        header: of the folder.
        rows: parameters of the views, float32 (N, K, FIELDS).
        checksums: of the rendered views, int64 (N, K).
        views: each teacher's vectors, float16 (N, K, D).
        wholes: each teacher's vectors of the whole photos, float16 (N, D).
        texts: by space; the student's is ``header.space``.
    """

    header: Header
    rows: Tensor
    checksums: Tensor
    views: tuple[Tensor, ...]
    wholes: tuple[Tensor, ...]
    texts: Mapping[str, Texts]

    def view(self, photo: int, number: int) -> View:
        """The parameters of one view."""
        return View.of(self.rows[photo, number].numpy())

    def take(self, chosen: Indices) -> Reinforced:
        """Some of the photos."""
        rows = torch.from_numpy(chosen)
        views, wholes = (tuple(tensor[rows] for tensor in tensors) for tensors in (self.views, self.wholes))
        return Reinforced(self.header, self.rows[rows], self.checksums[rows], views, wholes, self.texts)


def store_teacher(
    data: Path,
    output: Path,
    config: StoreConfig,
    teachers: Sequence[tuple[str, Subject]],
    student: tuple[str, EmbedTexts],
    status: StatusLine,
) -> Header:
    """Store the views and what the teachers say of them, or go on where ``output`` was left.

    Args:
        data: root of the data.
        output: folder; made when missing.
        config: the recipe.
        teachers: what was asked for, and the encoder that it opened.
        student: sha256 of the text encoder that the student will share, and N prompts to unit vectors (N, D), those of
            facts too where the recipe gives symptoms a share.
        status: tells how far it is.

    Raises:
        DataError: the data are incomplete.
        UsageError: there is no teacher, two say how photos look, or ``output`` holds the views of another recipe,
            teacher or other data.
    """
    if not teachers:
        raise UsageError("no teacher; accepted: at least one --teacher")
    if sum(not subject.text_encoder for _, subject in teachers) > 1:
        raise UsageError("two teachers say how photos look; accepted: one")
    # With copies of judged photos: their list may grow, and a lesson leaves out those that are in it when it is read.
    collection, photos = read_joined(data, config.collections, "train", status.say, copies=True)
    prompts, sets, general, codes = _prompts(collection.labels, config)
    spaces = {student[0]: student[1]}
    spaces |= {subject.text_encoder: subject.embed_texts for _, subject in teachers if subject.text_encoder}
    entries = tuple(_entry(spec, subject, photos.rgb[0]) for spec, subject in teachers)
    header = Header(
        FORMAT,
        config,
        photos.sha256,
        len(photos),
        entries,
        student[0],
        collection.labels,
        prompts,
        sets,
        general,
        codes,
    )
    output.mkdir(parents=True, exist_ok=True)
    if (output / HEADER).exists():
        if read_header(output).sha256() != header.sha256():
            raise UsageError(f"{output} holds views of another recipe, teacher or other data; choose another --output")
    else:
        with atomic_write(output / HEADER) as file:
            file.write(msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n")
    if not _is_of(output / TEXTS, header):
        status.say(f"{len(prompts)} texts in {len(spaces)} spaces")
        texts = {name: _embed_prompts(embed, prompts, coded=name == student[0]) for name, embed in spaces.items()}
        write_checkpoint(output / TEXTS, texts, {"header": header.sha256()})
    shards = header.shards()
    missing = [number for number in range(len(shards)) if not _is_of(output / shard_name(number), header)]
    begun = done = header.count - sum(len(shards[number]) for number in missing)
    started = time.monotonic()
    for number in missing:
        rate = (done - begun) / max(time.monotonic() - started, 1e-9)
        told = f"shard {number + 1} of {len(shards)}, {done} of {header.count} photos, {rate:.0f} photos/s"
        status.step(done, header.count, told)
        tensors = _shard(photos, shards[number], config, [subject for _, subject in teachers])
        write_checkpoint(output / shard_name(number), tensors, {"header": header.sha256(), "shard": number})
        done += len(shards[number])
    status.step(done, header.count, f"{done} photos, {config.views} views each")
    return header


def read_header(folder: Path) -> Header:
    """What a folder says that it holds.

    Raises:
        DataError: it is missing or not in this form.
    """
    path = folder / HEADER
    try:
        header = msgspec.json.decode(path.read_bytes(), type=Header)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; accepted: what store-teacher wrote") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}") from None
    if header.format != FORMAT:
        raise DataError(f"{path} is of the form {header.format!r}; accepted: {FORMAT}")
    return header


def read_reinforced(folder: Path) -> Reinforced:
    """Read a whole folder.

    Raises:
        DataError: a shard is missing or broken, or belongs to another header.
    """
    header = read_header(folder)
    parts = [_read_shard(folder / shard_name(number), header, rows) for number, rows in enumerate(header.shards())]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    numbers = range(len(header.teachers))
    return Reinforced(
        header,
        joined["rows"],
        joined["checksums"],
        tuple(joined[f"views.{number}"] for number in numbers),
        tuple(joined[f"wholes.{number}"] for number in numbers),
        _read_texts(folder / TEXTS, header),
    )


def recheck(
    stored: Reinforced,
    photos: Photos,
    share: float,
    opened: Callable[[str], Subject],
    status: StatusLine | None = None,
    seed: int = 0,
) -> int:
    """Compute a share of the views and their vectors again and hold them against what is stored.

    Args:
        stored: all of it, photo by photo as ``photos``.
        photos: that were stored.
        share: of all views; at least one is checked. 0 checks the views' pixels alone, and needs no teacher.
        opened: gives the encoder of a `Teacher.spec`.
        status: is told how far it is.
        seed: of the choice.

    Returns:
        number of views checked.

    Raises:
        DataError: the photos are others, or a view, its pixels or its vector is not what was stored.
    """
    header, config = stored.header, stored.header.config
    if photos.sha256 != header.photos:
        raise DataError("the stored views are of other photos; store them again from this data")
    every = header.count * config.views
    count = min(every, max(1, round((share or 0.01) * every)))
    chosen = [divmod(int(n), config.views) for n in np.random.default_rng(seed).permutation(every)[:count]]
    for photo, number in chosen:
        view = _draw(photos, photo, number, config)
        if not np.array_equal(view.row(), stored.rows[photo, number].numpy()):
            raise DataError(f"view {number} of photo {photo} is not what its seed gives; store the views again")
        if checksum(render(photos.rgb[photo], view, config.size)) != int(stored.checksums[photo, number]):
            raise DataError(f"view {number} of photo {photo} has other pixels here: Pillow or NumPy has changed")
    for which, teacher in enumerate(header.teachers if share > 0 else ()):
        subject = opened(teacher.spec)
        if (subject.model, subject.preprocessing) != (teacher.model, teacher.preprocessing):
            raise DataError(f"{teacher.spec} is not the teacher of these views: it has other weights")
        for first in range(0, len(chosen), _BATCH):
            if status is not None:
                status.step(first, len(chosen), f"{first} of {len(chosen)} views of {teacher.name} computed again")
            some = chosen[first : first + _BATCH]
            pixels = [_seen(photos.rgb[photo], stored.view(photo, number), config) for photo, number in some]
            again, kept = subject.embed(pixels), stored.views[which]
            for (photo, number), vector in zip(some, again):
                cosine = float(vector @ kept[photo, number].float().numpy())
                if not cosine >= _LEAST_COSINE:  # also when it is no number
                    raise DataError(
                        f"view {number} of photo {photo}: the vector of {teacher.name} computed again has cosine "
                        f"{cosine:.4f} to the stored one; accepted: at least {_LEAST_COSINE}; store the views again"
                    )
    return count


def shard_name(number: int) -> str:
    """File of a shard."""
    return f"views-{number:05d}.safetensors"


def _prompts(
    labels: Sequence[str], config: StoreConfig
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Unique texts, and where each set, the general classes and the labels' facts have their own among them."""
    sets = [[template.replace("{}", label) for label in labels] for template in config.templates]
    if config.captions:
        told = [captions_for(label, config.captions, config.seed) for label in labels]
        sets += [[own[number % len(own)] for own in told] for number in range(config.captions)]
    names = imagenet_names() if config.general else []
    general = [[template.replace("{}", name) for name in names] for template in config.templates] if names else []
    known = {label.casefold() for label in shipped_facts()} if config.symptoms else set()
    coded = [FACTS_OF + label for label in labels if label.casefold() in known]
    every = [prompt for own in (*sets, *general, coded) for prompt in own]
    unique = {prompt: number for number, prompt in enumerate(dict.fromkeys(every))}

    def rows(groups: list[list[str]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(unique[prompt] for prompt in group) for group in groups)

    codes = tuple(unique.get(FACTS_OF + label, -1) for label in labels) if config.symptoms else ()
    return tuple(unique), rows(sets), rows(general), codes


def _embed_prompts(embed: EmbedTexts, prompts: Sequence[str], *, coded: bool) -> Tensor:
    """Vectors of all prompts in one space, float16 (P, D); zeros where it has no codes for what facts say."""
    asked = [number for number, prompt in enumerate(prompts) if coded or not prompt.startswith(FACTS_OF)]
    found = torch.from_numpy(embed([prompts[number] for number in asked])).half()
    vectors = torch.zeros(len(prompts), found.shape[1], dtype=torch.float16)
    vectors[asked] = found
    return vectors


def _entry(spec: str, subject: Subject, photo: RGB) -> Teacher:
    dim = int(subject.embed([photo]).shape[1])
    return Teacher(spec, subject.name, subject.model, subject.preprocessing, subject.text_encoder, dim)


def _draw(photos: Photos, photo: int, number: int, config: StoreConfig) -> View:
    return draw_view(photos.rgb[photo].shape, config.augment, config.corrupted, (config.seed, photo, number))


def _seen(rgb: RGB, view: View, config: StoreConfig) -> RGB:
    """What a teacher is shown of a view."""
    return render(rgb, view, config.size, spoilt=not config.clean)


def _shard(photos: Photos, numbers: range, config: StoreConfig, teachers: Sequence[Subject]) -> dict[str, Tensor]:
    """Views, their checksums and all teachers' vectors of some photos."""
    views = [[_draw(photos, photo, number, config) for number in range(config.views)] for photo in numbers]

    def make(at: int) -> tuple[list[int], list[RGB]]:
        rgb = photos.rgb[numbers[at]]
        shown = [render(rgb, view, config.size) for view in views[at]]
        seen = [_seen(rgb, view, config) if view.corruption else own for view, own in zip(views[at], shown)]
        return [checksum(pixels) for pixels in shown], seen

    made = list(ordered_map(make, range(len(numbers)), workers=2))
    seen = [pixels for _, pictures in made for pixels in pictures]
    tensors = {
        "rows": torch.from_numpy(np.stack([view.row() for own in views for view in own])).reshape(
            -1, config.views, FIELDS
        ),
        "checksums": torch.tensor([sums for sums, _ in made], dtype=torch.int64),
    }
    whole = [photos.rgb[number] for number in numbers]
    for which, subject in enumerate(teachers):
        vectors = _embed(subject, seen)
        tensors[f"views.{which}"] = vectors.reshape(len(numbers), config.views, -1)
        tensors[f"wholes.{which}"] = _embed(subject, whole)
    return tensors


def _embed(subject: Subject, pictures: Sequence[RGB]) -> Tensor:
    parts = [subject.embed(pictures[first : first + _BATCH]) for first in range(0, len(pictures), _BATCH)]
    vectors = torch.from_numpy(np.concatenate(parts).astype(np.float32))
    if not vectors.isfinite().all():
        raise DataError(f"{subject.name} gave values that are no numbers")
    return nn.functional.normalize(vectors, dim=-1).half()


def _is_of(path: Path, header: Header) -> bool:
    """Whether a file is whole and belongs to a header."""
    try:
        return bool(read_checkpoint(path)[1].get("header") == header.sha256())
    except UsageError:
        return False


def _read(path: Path, header: Header) -> dict[str, Tensor]:
    try:
        tensors, description = read_checkpoint(path)
    except UsageError as error:
        raise DataError(f"{error}; store-teacher makes what is missing") from None
    if description.get("header") != header.sha256():
        raise DataError(f"{path} does not belong to its {HEADER}; store the views again")
    return tensors


def _read_shard(path: Path, header: Header, numbers: range) -> dict[str, Tensor]:
    tensors, views = _read(path, header), header.config.views
    shapes = {"rows": (len(numbers), views, FIELDS), "checksums": (len(numbers), views)}
    for which, teacher in enumerate(header.teachers):
        shapes |= {f"views.{which}": (len(numbers), views, teacher.dim), f"wholes.{which}": (len(numbers), teacher.dim)}
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != shapes:
        raise DataError(f"{path} holds other tensors than its {HEADER} says; store the views again")
    for name, tensor in tensors.items():
        if name.startswith(("views.", "wholes.")) and not ((tensor.float().norm(dim=-1) - 1).abs() < _UNIT).all():
            raise DataError(f"{path} holds vectors that are not of length 1; store the views again")
    return tensors


def _read_texts(path: Path, header: Header) -> dict[str, Texts]:
    config, found = header.config, {}
    for space, vectors in _read(path, header).items():
        units = nn.functional.normalize(vectors.float(), dim=-1)
        sets = torch.stack([units[list(rows)] for rows in header.sets])
        names, captions = sets[: len(config.templates)], sets[len(config.templates) :]
        codes = torch.zeros_like(names[0])
        known = [row for row, number in enumerate(header.codes) if number >= 0]
        codes[known] = units[[header.codes[row] for row in known]]

        def seen(vectors: Tensor, codes: Tensor = codes) -> Tensor:
            """As `training.symptoms.with_symptoms`; a label without a code keeps its name's vector."""
            return nn.functional.normalize((1 - config.symptoms) * vectors + config.symptoms * codes, dim=-1)

        labels = seen(nn.functional.normalize(names.mean(dim=0), dim=-1))
        general = units[:0]
        if header.general:
            told = torch.stack([units[list(rows)] for rows in header.general])
            general = nn.functional.normalize(told.mean(dim=0), dim=-1)
        found[space] = Texts(labels, torch.cat([seen(names), captions]), general)
    return found
