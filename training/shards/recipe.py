"""What a collection is made of: a TOML or JSON recipe, or the same keys on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import tomllib

from agriclip_edge.errors import UsageError

Kind = Literal["tasks", "folders", "table", "coco", "yolo", "webdataset"]
Split = Literal["train", "val", "query", "support"]

_NOT_A_LICENCE = ("", "none", "n/a", "na", "?", "unknown", "unlicensed", "not stated", "none stated", "unspecified")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where photos come from, and on whose terms.

    Attributes:
        path: file or folder; relative to the recipe's own folder.
        kind: ``tasks`` (tasks.json and tars), ``folders`` ([split/]class/photo), ``table`` (CSV or Parquet),
            ``coco``, ``yolo`` (boxes, cut out) or ``webdataset``; told by the path when it is left out.
        licence: as the publisher states it; needed, unless the source itself carries one for each task or row.
        origin: repository, DOI or URL; needed like the licence.
        name: short name in records; the path's own when it is left out.
        task: the question that the labels answer; the source's name when it is left out.
        split: puts all photos in one split; else the source's own split is kept, else one is drawn.
        group: regular expression found in a photo's path; photos with the same match stay on one side.
        labels: the source's class names in better words; "" leaves the class out.
        columns: the source's names for ``path``, ``label``, ``task``, ``split``, ``group``, ``licence``, ``origin``.
        images: folder that table or COCO paths start from; that of the file itself when it is left out.
        margin: what a cut-out box keeps around itself, as a share of the box's own sides.
    """

    path: str
    kind: Kind | None = None
    licence: str = ""
    origin: str = ""
    name: str = ""
    task: str = ""
    split: Split | None = None
    group: str = ""
    labels: dict[str, str] = {}
    columns: dict[str, str] = {}
    images: str = ""
    margin: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 2:
            raise ValueError(f"margin is {self.margin}; accepted: 0 to 2")
        try:
            re.compile(self.group)
        except re.error as error:
            raise ValueError(f"group {self.group!r} is no regular expression: {error}") from None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole collection.

    Attributes:
        name: of the collection.
        source: what goes in, in order of preference: of two equal photos the earlier source's stays.
        against: test sets, of any kind that a source may have; none of their photos is let in, and no licence of
            theirs is asked for, as nothing of them is copied.
        val: share of each class's groups that a draw puts in ``val``.
        seed: of the draw and of the order in the shards.
        bits: difference hashes (64 bits) this far apart or less are near duplicates, when the thumbnails agree.
        grey: grey levels by which two 16×16 thumbnails may differ on average.
        turned: whether rotated and mirrored copies count as copies, at half of both thresholds.
        cosine: least cosine of two embeddings that counts as a copy, when the build is given an encoder.
        short_side: photos are made this small, in pixels; 0 leaves their size and bytes alone.
        quality: of the JPEGs that are written anew.
        min_side: photos and boxes below this many pixels are left out.
        shard_photos: photos in a shard.
    """

    name: str = "alive"
    source: tuple[Source, ...] = ()
    against: tuple[Source, ...] = ()
    val: float = 0.1
    seed: int = 0
    bits: int = 6
    grey: float = 8.0
    turned: bool = True
    cosine: float = 0.97
    short_side: int = 0
    quality: int = 92
    min_side: int = 16
    shard_photos: int = 1000

    def __post_init__(self) -> None:
        for key, low, high in _LIMITS:
            value = getattr(self, key)
            if not low <= value <= high:
                raise ValueError(f"{key} is {value}; accepted: {low} to {high}")


_LIMITS = (
    ("val", 0, 0.9),
    ("bits", 0, 16),
    ("grey", 0, 64),
    ("cosine", 0.5, 1),
    ("short_side", 0, 8192),
    ("quality", 1, 100),
    ("min_side", 1, 8192),
    ("shard_photos", 1, 1_000_000),
)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; relative paths in it are relative to its folder.

    Raises:
        UsageError: it is missing, or not in the form of `Recipe`.
    """
    try:
        data = path.read_bytes()
        content = msgspec.json.decode(data) if path.suffix == ".json" else tomllib.loads(data.decode())
        recipe = msgspec.convert(content, Recipe)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; accepted: a TOML or JSON recipe") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: {error}") from None
    here = path.parent
    return msgspec.structs.replace(
        recipe,
        source=tuple(_beside(source, here) for source in recipe.source),
        against=tuple(_beside(source, here) for source in recipe.against),
    )


def parse_source(text: str) -> Source:
    """A source out of ``path=photos; licence=CC BY 4.0; origin=https://…``; a text without ``=`` is the path alone.

    Raises:
        UsageError: an unknown key, or a value of another type.

    Example:
        >>> parse_source("path=photos; licence=CC0-1.0; margin=0.2").margin
        0.2
    """
    parts = [part for part in text.split(";") if part.strip()] if "=" in text else [f"path={text}"]
    pairs = [part.partition("=") for part in parts]
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    try:
        return msgspec.convert(fields, Source, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"source {text!r}: {error}") from None


def change_recipe(recipe: Recipe, sources: Sequence[str], against: Sequence[str], **changes: object) -> Recipe:
    """The recipe with sources and test sets of the command line added, and those values replaced that are not None.

    Raises:
        UsageError: a value beyond its limits, or no source at all.
    """
    fields = msgspec.structs.asdict(recipe)
    fields |= {key: value for key, value in changes.items() if value is not None}
    fields["source"] = (*recipe.source, *(parse_source(text) for text in sources))
    fields["against"] = (*recipe.against, *(parse_source(text) for text in against))
    try:
        changed = Recipe(**fields)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not changed.source:
        raise UsageError("no source; give --recipe with [[source]] entries, or --source")
    return changed


def is_licence(text: str) -> bool:
    """Whether a source's words name a licence at all."""
    words = re.split(r"[(;,]", text.casefold())[0].strip(" .")
    return words not in _NOT_A_LICENCE


def _beside(source: Source, folder: Path) -> Source:
    images = str(folder / source.images) if source.images else ""
    return msgspec.structs.replace(source, path=str(folder / source.path), images=images)
