"""The loop that anyone would write: Pillow in full, ONNX Runtime with its default settings."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.labels.pack import LabelPack


@dataclass(frozen=True)
class PlainAnswer:
    """The nearest label of one photo, and the milliseconds of each step."""

    label: str
    milliseconds: dict[str, float]


class PlainClassifier:
    """The image encoder of a bundle without this package's way of a photo."""

    def __init__(self, bundle: Bundle, pack: LabelPack) -> None:
        """Create a session of the bundle's first graph with default settings."""
        self.size = bundle.manifest.preprocessing.size
        self._pack = pack
        graph = bundle.read(bundle.manifest.image[0].file)
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def classify(self, path: Path) -> PlainAnswer:
        """Decode in full, resize the short side, cut the centre square, encode, take the nearest label."""
        start = time.perf_counter()
        with Image.open(path) as file:
            image = file.convert("RGB")
        decoded = time.perf_counter()
        scale = self.size / min(image.size)
        width, height = round(image.width * scale), round(image.height * scale)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        square = np.asarray(resized.crop((left, top, left + self.size, top + self.size)))
        resized_at = time.perf_counter()
        vector = self._session.run(None, {self._input: square[np.newaxis]})[0]
        encoded = time.perf_counter()
        label = self._pack.labels[int((vector @ self._pack.embeddings.T).argmax())].text
        marks = (start, decoded, resized_at, encoded, time.perf_counter())
        steps = zip(("decode", "preprocess", "encode", "rank"), itertools.pairwise(marks))
        return PlainAnswer(label, {name: (end - begin) * 1e3 for name, (begin, end) in steps})
