"""Photos inside tars: our own ``tasks.json`` with a tar a task, and WebDataset shards; nothing is unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..data import DataError, read_collection
from .candidates import SUFFIXES, Blob, Candidate, Listing, group_of, name_of, split_name, words
from .recipe import Source

_FIELDS = ("label", "task", "split", "group", "licence", "origin")
_MAX_SIDE_FILE = 1 << 20  # bytes of JSON or text beside a photo


def list_tasks(source: Source) -> Listing:
    """List the photos of ``tasks.json`` and its tars; each task brings its own licence and origin.

    Raises:
        DataError: as `training.data.read_collection`, or a tar is broken or holds an unnamed class.
    """
    root = Path(source.path)
    collection = read_collection(root)
    found = []
    for task in collection.tasks:
        label_of = {entry.folder: entry.label for entry in task.classes}
        path = root / f"{task.name}.tar"
        for name, blob in sorted(_members(path), key=lambda member: member[0]):
            parts = name.split("/")
            if len(parts) != 3 or parts[1] not in label_of:
                raise DataError(f"{path}: unexpected entry {name!r}; accepted: <split>/<label>/<number>.jpg")
            label = words(source, label_of[parts[1]])
            if label:
                found.append(
                    Candidate(
                        blob=blob,
                        name=f"{path.name}/{name}",
                        source=name_of(source),
                        label=label,
                        task=source.task or task.name,
                        split=split_name(source, parts[0]),
                        group=group_of(source, f"{path.name}/{name}"),
                        licence=task.licence or source.licence,
                        origin=task.source or source.origin,
                    )
                )
    return Listing(tuple(found), {task.name: task for task in collection.tasks})


def list_webdataset(source: Source) -> Listing:
    """List the samples of WebDataset tars: a picture with ``.json``, ``.txt`` or ``.cls`` beside it.

    A ``.cls`` file holds a class name, or a number that ``classnames.txt`` beside the tars turns into one.

    Raises:
        DataError: a tar is broken, or a picture has no label.
    """
    root = Path(source.path)
    tars = sorted(root.glob("*.tar")) if root.is_dir() else [root]
    if not tars:
        raise DataError(f"{root} holds no .tar")
    names = _class_names((root if root.is_dir() else root.parent) / "classnames.txt")
    found = []
    for tar in tars:
        for key, parts in _samples(tar):
            picture = next((suffix for suffix in parts if f".{suffix.split('.')[-1]}" in SUFFIXES), None)
            if picture is None:
                continue
            fields, meta = _facts(source, tar, key, parts, names)
            label = words(source, fields["label"])
            if label:
                name = fields.get("path") or f"{tar.name}/{key}.{picture}"
                found.append(
                    Candidate(
                        blob=parts[picture],
                        name=name,
                        source=name_of(source),
                        label=label,
                        task=source.task or fields["task"] or name_of(source),
                        split=split_name(source, fields["split"]),
                        group=group_of(source, name, fields["group"]),
                        licence=fields["licence"] or source.licence,
                        origin=fields["origin"] or source.origin,
                        meta=meta,
                    )
                )
    return Listing(tuple(found))


def _facts(
    source: Source, tar: Path, key: str, parts: Mapping[str, Blob], names: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Label, task and so on of a sample, and what else its JSON says."""
    content = _side_file(parts["json"]) if "json" in parts else b"{}"
    try:
        record: Any = msgspec.json.decode(content)
    except msgspec.MsgspecError as error:
        raise DataError(f"{tar}: {key}.json: {error}") from None
    record = record if isinstance(record, dict) else {"label": record}
    theirs = {field: source.columns.get(field, field) for field in _FIELDS}
    fields = {field: _text(record.pop(column, "")) for field, column in theirs.items()}
    if not fields["label"]:
        beside = next((suffix for suffix in ("cls", "txt") if suffix in parts), None)
        if beside is None:
            raise DataError(f"{tar}: {key} has no label; accepted: {theirs['label']!r} in .json, .txt or .cls")
        fields["label"] = _side_file(parts[beside]).decode("utf-8", "replace").strip()
        if beside == "cls" and fields["label"].isdigit() and names:
            number = int(fields["label"])
            if number >= len(names):
                raise DataError(f"{tar}: {key}.cls is {number}; classnames.txt has {len(names)} lines")
            fields["label"] = names[number]
    extra = record.pop("meta", {})  # of our own shards
    record |= extra if isinstance(extra, dict) else {"meta": extra}
    for own in ("sha256", "width", "height", "source", "path"):
        record.pop(own, None)
    return fields, {name: _text(value) for name, value in record.items() if _text(value)}


def _samples(tar: Path) -> Iterator[tuple[str, dict[str, Blob]]]:
    """Key and parts by suffix of each sample: files that follow one another and agree up to the name's first dot."""
    key, parts = "", dict[str, Blob]()
    for name, blob in _members(tar):
        folder, _, file = name.rpartition("/")
        stem, _, suffix = file.partition(".")
        own = f"{folder}/{stem}" if folder else stem
        if own != key and parts:
            yield key, parts
            parts = {}
        key = own
        parts[suffix.lower()] = blob
    if parts:
        yield key, parts


def _members(path: Path) -> Iterator[tuple[str, Blob]]:
    """Name and place of each file in a tar."""
    try:
        stamp = path.stat().st_mtime_ns
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, Blob(path, member.offset_data, member.size, stamp)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}; accepted: an uncompressed tar") from None


def _side_file(blob: Blob) -> bytes:
    if blob.size > _MAX_SIDE_FILE:
        raise DataError(f"{blob.path}: a label of {blob.size:,} bytes; at most {_MAX_SIDE_FILE:,} are accepted")
    return blob.read() if blob.size else b""


def _class_names(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.is_file() else []


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value).decode()
    return "" if value is None else str(value).strip()
