"""Small stand-ins made of chance, for trying the whole path in seconds: photos in tars, and a text model."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .data import SPLITS

# Colours by label: a net of some thousand weights learns them in a few steps.
TASKS = {
    "fruit": {"red apple": (210, 30, 30), "green apple": (60, 170, 50), "yellow banana": (230, 210, 40)},
    "cover": {"brown soil": (110, 70, 40), "blue water": (30, 90, 210)},
}
_TRAIN, _JUDGED = 12, 4  # photos a class
_CLOUDS, _NOISE = 60, 15  # grey levels: light and shadow, and grain
_SHAPES = ((48, 64), (64, 48), (40, 40))  # height and width: landscape, portrait, square


def write_collection(root: Path, seed: int = 0) -> None:
    """Write a collection of two tasks, with ``tasks.json`` and a tar each, into an empty or new folder."""
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    counts = {split: _TRAIN if split == "train" else _JUDGED for split in SPLITS}
    tasks = []
    for name, colours in TASKS.items():
        with tarfile.open(root / f"{name}.tar", "w:") as archive:
            for split, count in counts.items():
                for label, colour in colours.items():
                    for number in range(count):
                        add_photo(archive, split, label, number + 1, _photo(generator, number, colour))
        classes = [{"label": label, **counts} for label in colours]
        origin = {"licence": "CC0-1.0", "source": "made by code", "commit": "0" * 40, "upstream": "none"}
        tasks.append({"task": name, "title": name, "domain": "test", "setting": "made", **origin, "classes": classes})
    (root / "tasks.json").write_text(json.dumps({"name": root.name, "tasks": tasks}), "utf-8")


def rename_tasks(root: Path, prefix: str = "more-") -> None:
    """Put ``prefix`` before the names of a collection's tasks, so that it can be joined with its like."""
    document = json.loads((root / "tasks.json").read_text("utf-8"))
    for task in document["tasks"]:
        (root / f"{task['task']}.tar").rename(root / f"{prefix}{task['task']}.tar")
        task["task"] = prefix + task["task"]
    (root / "tasks.json").write_text(json.dumps(document), "utf-8")


def add_photo(archive: tarfile.TarFile, split: str, label: str, number: int, data: bytes) -> None:
    """Add one file under the name that a collection gives it."""
    info = tarfile.TarInfo(f"{split}/{label.replace(' ', '_')}/{number:03d}.jpg")
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def write_text_model(folder: Path, vocabulary: bytes, dim: int = 16, seed: int = 0, layers: int = 1) -> None:
    """Write a small BERT with random weights, as `training.text_tower.TextTower` reads it."""
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary.splitlines()),
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * dim,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.BertModel(config, add_pooling_layer=False)
        torch.nn.init.normal_(model.embeddings.word_embeddings.weight)  # wide apart, as trained words are
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_bytes(vocabulary)


def _photo(generator: np.random.Generator, number: int, colour: tuple[int, int, int]) -> bytes:
    height, width = _SHAPES[number % len(_SHAPES)]
    coarse = Image.fromarray(generator.uniform(-_CLOUDS, _CLOUDS, (4, 4)).astype(np.float32))
    clouds = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))[..., None]
    pixels = np.array(colour) + clouds + generator.integers(-_NOISE, _NOISE + 1, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
