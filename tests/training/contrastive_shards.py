"""Shards of photos made by code, in the form that ``build-shards`` writes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from training.data import ClassEntry, Task
from training.shards.index import INDEX, VERSION, Index, Sample, Shard

COLOURS = {"red apple": (210, 30, 30), "green apple": (60, 170, 50), "yellow banana": (230, 210, 40)}
SOILS = {"brown soil": (110, 70, 40), "blue water": (30, 90, 210)}
TASKS = {"fruit": COLOURS, "cover": SOILS}
COUNTS = {"red apple": 12, "green apple": 6, "yellow banana": 6, "brown soil": 6, "blue water": 2}
VAL = 4  # photos a class


def captions(label: str) -> list[str]:
    """What a class is called; 'apple' says the same of two."""
    return [label, f"a photo of {label}", f"a close-up of {label}"]


def write_shards(root: Path, each: int = 8, seed: int = 0) -> Path:
    """Write a collection of two tasks, ``each`` photos a shard, and return its folder."""
    root.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    shards = []
    for split in ("train", "val"):
        photos = [
            (task, label, *_photo(generator, colour))
            for task, classes in TASKS.items()
            for label, colour in classes.items()
            for _ in range(COUNTS[label] if split == "train" else VAL)
        ]
        order = generator.permutation(len(photos))
        for number in range(-(-len(photos) // each)):
            chosen = [photos[int(i)] for i in order[number * each : (number + 1) * each]]
            shards.append(_write(root / f"{split}-{number:06d}.tar", split, chosen))
    origin = {"licence": "CC0-1.0", "source": "made by code", "commit": "0" * 40, "upstream": "none"}
    tasks = tuple(
        Task(name=name, title=name, domain="test", setting="made", **origin, classes=tuple(_classes(classes)))
        for name, classes in TASKS.items()
    )
    index = Index(VERSION, root.name, hashlib.sha256(str(seed).encode()).hexdigest(), tasks, tuple(shards))
    (root / INDEX).write_bytes(msgspec.json.encode(index))
    return root


def _classes(classes: dict[str, tuple[int, int, int]]) -> list[ClassEntry]:
    return [ClassEntry(label, train=COUNTS[label], val=VAL) for label in classes]


def _photo(generator: np.random.Generator, colour: tuple[int, int, int]) -> tuple[bytes, str]:
    height, width = ((48, 64), (64, 48), (40, 40))[int(generator.integers(3))]
    coarse = Image.fromarray(generator.uniform(-40, 40, (4, 4)).astype(np.float32))
    clouds = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    pixels = np.array(colour) + clouds + generator.integers(-15, 16, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


def _write(path: Path, split: str, photos: list[tuple[str, str, bytes, str]]) -> Shard:
    with tarfile.open(path, "w") as archive:
        for number, (task, label, data, sha256) in enumerate(photos):
            sample = Sample(label, task, split, "made", "code", "CC0-1.0", str(number), f"{number}", 40, 40, sha256)
            for suffix, content in (("jpg", data), ("json", msgspec.json.encode(sample))):
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    content = path.read_bytes()
    return Shard(path.name, split, len(photos), len(content), hashlib.sha256(content).hexdigest())
