"""The text encoder of a bundle: prompts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.reader import Bundle
from ..errors import LabelError
from ..runtimes import Graph, check_unit, open_graph
from .tokenizer import WordPiece

if TYPE_CHECKING:
    import numpy.typing as npt

_BATCH = 64  # prompts a run: bounds the memory of attention


class TextEncoder:
    """Embeds prompts with the text graph of one bundle; safe to use from several threads."""

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Load the text graph and the vocabulary.

        Raises:
            LabelError: the bundle carries no text encoder.
            BundleError: its files are broken or do not fit the manifest.
        """
        text = bundle.manifest.text
        if text is None:
            raise LabelError("this bundle has no text encoder; accepted: the labels of its packs")
        self.templates = tuple(text.templates)
        self._max_tokens = text.max_tokens
        self._dim = bundle.manifest.embedding_dim
        self._tokenizer = WordPiece(bundle.read(text.vocabulary))
        self._graph: Graph = open_graph("onnxruntime", bundle.read(text.file), text.inputs, text.output, threads)

    def embed(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed prompts.

        Args:
            prompts: N texts.

        Returns:
            unit vectors, float32 (N, D).

        Raises:
            LabelError: a prompt is longer than the encoder reads.
        """
        tokens = [self._tokenizer.encode(prompt) for prompt in prompts]
        for prompt, ids in zip(prompts, tokens):
            if len(ids) > self._max_tokens:
                message = f"{prompt[:40]!r}… has {len(ids)} tokens; at most {self._max_tokens} are accepted"
                raise LabelError(message)
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))  # little padding a batch
        vectors = np.empty((len(tokens), 0), np.float32)
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            output = self._run([tokens[index] for index in chosen])
            if vectors.shape[1] == 0:
                vectors = np.empty((len(tokens), output.shape[1]), np.float32)
            vectors[chosen] = output
        return vectors

    def _run(self, tokens: list[list[int]]) -> npt.NDArray[np.float32]:
        longest = max(len(ids) for ids in tokens)
        input_ids = np.full((len(tokens), longest), self._tokenizer.pad, np.int64)
        mask = np.zeros((len(tokens), longest), np.int64)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        vectors = self._graph.run({"input_ids": input_ids, "attention_mask": mask})
        return check_unit(vectors, self._dim, "text encoder")
