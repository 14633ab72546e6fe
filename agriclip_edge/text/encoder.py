"""The text encoder of a bundle: prompts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.reader import Bundle
from ..errors import BundleError, BundleFault, LabelError
from ..parallel import ordered_map
from ..runtimes import Graph, available_cores, check_unit, open_graph

if TYPE_CHECKING:
    import numpy.typing as npt

    from .clip_tokenizer import ClipBpe
    from .tokenizer import WordPiece

_BATCH = 16  # prompts a run: of nearly one length, so that little padding is computed; bounds the memory


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
        self._tokenizer = open_tokenizer(text.tokenizer, bundle.read(text.vocabulary))
        # Each core takes batches of its own: nobody waits for the others after every layer.
        self._threads = threads or available_cores()
        self._graph: Graph = open_graph("onnxruntime", bundle.read(text.file), text.inputs, text.output, 1)
        self._inputs = [spec.name for spec in text.inputs]
        # A graph that sees its padding takes texts of one length alone; the others run as long as the longest text.
        self._lengths = {length for spec in text.inputs for length in spec.shape[1:] if length is not None}
        if not self._lengths <= {text.max_tokens}:
            message = f"the text encoder takes texts of {max(self._lengths)} tokens; max_tokens is {text.max_tokens}"
            raise BundleError(BundleFault.GRAPH_MISMATCH, message)

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
        batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        vectors = np.empty((len(tokens), self._dim), np.float32)
        texts = [[tokens[index] for index in batch] for batch in batches]
        for batch, output in zip(batches, ordered_map(self._run, texts, self._threads)):
            vectors[batch] = output
        return vectors

    def _run(self, tokens: list[list[int]]) -> npt.NDArray[np.float32]:
        longest = max([len(ids) for ids in tokens] + [*self._lengths])
        input_ids = np.full((len(tokens), longest), self._tokenizer.pad, np.int64)
        mask = np.zeros((len(tokens), longest), np.int64)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        given = {"input_ids": input_ids, "attention_mask": mask}
        vectors = self._graph.run({name: given[name] for name in self._inputs if name in given})
        return check_unit(vectors, self._dim, "text encoder")


def open_tokenizer(kind: str, vocabulary: bytes) -> WordPiece | ClipBpe:
    """The tokenizer that a bundle's manifest names.

    Args:
        kind: ``wordpiece`` or ``clip-bpe``.
        vocabulary: its file.

    Raises:
        BundleError: the vocabulary is broken.
    """
    if kind == "clip-bpe":
        from .clip_tokenizer import ClipBpe

        return ClipBpe(vocabulary)
    from .tokenizer import WordPiece

    return WordPiece(vocabulary)
