"""Any open_clip model as one module: pixels and captions in, unit vectors out."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from agriclip_edge.errors import UsageError
from agriclip_edge.imaging.decode import RGB
from agriclip_edge.imaging.preprocess import preprocess

from ..checkpoint import read_checkpoint, write_checkpoint
from ..evaluate import Vectors
from ..text_tower import minilm_folder
from .rates import tower_of

MINILM = "minilm"  # as a text tower's hf_model_name: the weights that come as a package
_BATCH = 64


class Clip(nn.Module):
    """An open_clip model with its tokeniser and the normalisation of its pixels, so that no caller gets one wrong.

    Attributes:
        net: the open_clip model.
        architecture: what it was built from, as open_clip's JSON.
        size: side S of its photos in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: Any, tokenizer: Any, architecture: dict[str, Any]) -> None:
        """Wrap a model that `build` made."""
        super().__init__()
        self.net = net
        self.architecture = architecture
        self._tokenizer = tokenizer
        size = net.visual.image_size
        self.size = int(size[0] if isinstance(size, (tuple, list)) else size)
        for name, value in (("mean", net.visual.image_mean), ("std", net.visual.image_std)):
            self.register_buffer(name, 255 * torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, images: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Embed pairs.

        Args:
            images: photos, uint8 (N, S, S, 3).
            tokens: of captions, int64 (N, T), or None where they are embedded already.

        Returns:
            unit vectors float32 (N, D) of photos and of captions, logit scale, logit bias (0 where there is none).
        """
        bias = self.net.logit_bias
        zero = self.net.logit_scale.new_zeros(())
        texts = None if tokens is None else self.texts(tokens)
        return self.images(images), texts, self.net.logit_scale.exp(), zero if bias is None else bias

    def images(self, images: Tensor) -> Tensor:
        """Unit vectors float32 (N, D) of photos uint8 (N, S, S, 3)."""
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return nn.functional.normalize(self.net.encode_image(pixels).float(), dim=-1)

    def texts(self, tokens: Tensor) -> Tensor:
        """Unit vectors float32 (N, D) of tokens int64 (N, T)."""
        return nn.functional.normalize(self.net.encode_text(tokens).float(), dim=-1)

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Tokens int64 (N, T) on the model's device; captions that are too long are cut."""
        tokens: Tensor = self._tokenizer(list(captions))
        return tokens.to(self.mean.device)

    @torch.inference_mode()
    def embed_photos(self, photos: Sequence[RGB]) -> Vectors:
        """Unit vectors float32 (N, D) of photos of any size, preprocessed as on a device."""
        parts = [np.zeros((0, int(self.architecture["embed_dim"])), np.float32)]
        for start in range(0, len(photos), _BATCH):
            squares = np.stack([preprocess(rgb, self.size) for rgb in photos[start : start + _BATCH]])
            parts.append(self.images(torch.from_numpy(squares).to(self.mean.device)).cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def embed(self, prompts: Sequence[str]) -> Vectors:
        """Unit vectors float32 (N, D) of prompts."""
        tokens = self.tokens(prompts)
        parts = [self.texts(tokens[start : start + _BATCH]) for start in range(0, len(tokens), _BATCH)]
        return torch.cat(parts).cpu().numpy()

    def space(self, tower: str) -> str:
        """sha256 over the weights of a tower, ``image`` or ``text``: vectors of another one are of another space."""
        digest = hashlib.sha256(json.dumps(self.architecture, sort_keys=True).encode())
        for name, tensor in sorted(self.net.state_dict().items()):
            if tower_of(name) == tower:
                digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build(model: str, pretrained: str = "", bias: bool = False) -> Clip:
    """An open_clip model on the CPU, with its weights where some are named.

    Args:
        model: name that open_clip knows, or path of a JSON in its form (``embed_dim``, ``vision_cfg``, ``text_cfg``).
            A text tower's ``hf_model_name`` may be ``minilm``, a path beside the JSON, or a name of transformers'.
        pretrained: open_clip's tag, path of a checkpoint in open_clip's form, or empty.
        bias: whether it must have a logit bias, as the sigmoid loss asks.

    Raises:
        UsageError: there is no such model or checkpoint, or the checkpoint is of another model.
    """
    architecture = _architecture(model)
    path = Path(pretrained)
    if pretrained and path.is_dir():
        return load(path)
    if pretrained and not path.is_file():
        tags = open_clip.list_pretrained_tags_by_model(model)
        if pretrained not in tags:
            known = f"a file, or one of {', '.join(tags)}" if tags else "a file"
            raise UsageError(f"{model} has no pretrained weights {pretrained!r}; accepted: {known}")
    if bias and architecture.get("init_logit_bias") is None:
        architecture["init_logit_bias"] = 0.0
    name = model if pretrained and not path.is_file() else _registered(architecture)
    extra: dict[str, Any] = {"init_logit_bias": 0.0} if bias else {}
    extra["pretrained_image"] = bool(architecture["vision_cfg"].get("timm_model_pretrained", False))
    return _create(name, pretrained, architecture, **extra)


def save(path: Path, clip: Clip, weights: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write a model with all that `load` needs, beside what else is to be said of it."""
    spaces = {"image": clip.space("image"), "text": clip.space("text")}
    pixels = {"mean": (clip.mean.flatten() / 255).tolist(), "std": (clip.std.flatten() / 255).tolist()}
    whole = {**description, "architecture": clip.architecture, "pixels": pixels, "spaces": spaces}
    write_checkpoint(path, weights, whole)


def load(folder: Path) -> Clip:
    """The model of a finished or running training, ready to embed.

    Raises:
        UsageError: the folder holds none.
    """
    tensors, description = read_checkpoint(folder / "model.safetensors")
    architecture = description["architecture"]
    clip = _create(_registered(architecture), "", architecture, pretrained_hf=False)
    clip.net.load_state_dict(tensors)
    for name, values in description["pixels"].items():
        getattr(clip, name).copy_(255 * torch.tensor(values)[:, None, None])
    return clip.eval()


def _architecture(model: str) -> dict[str, Any]:
    if not model.endswith(".json"):
        found = open_clip.get_model_config(model)
        if found is None:
            raise UsageError(f"open_clip knows no model {model!r}; accepted: a name it lists, or a path to a .json")
        return dict(found)
    try:
        architecture = json.loads(Path(model).read_text("utf-8"))
        text, missing = architecture["text_cfg"], {"embed_dim", "vision_cfg"} - set(architecture)
    except OSError as error:
        raise UsageError(f"{model} cannot be read: {error.strerror}; accepted: a model's JSON") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{model} is not in open_clip's form: embed_dim, vision_cfg, text_cfg") from None
    if missing:
        raise UsageError(f"{model} lacks {', '.join(sorted(missing))}; accepted: open_clip's form")
    for key in ("hf_model_name", "hf_tokenizer_name"):
        beside = Path(model).parent / str(text.get(key, ""))
        if key in text and beside.is_dir():
            text[key] = str(beside.resolve())
    return dict(architecture)


def _registered(architecture: Mapping[str, Any]) -> str:
    """Make an architecture known to open_clip under a name of its own."""
    resolved = copy.deepcopy(dict(architecture))
    for key in ("hf_model_name", "hf_tokenizer_name"):
        if resolved["text_cfg"].get(key) == MINILM:
            resolved["text_cfg"][key] = str(minilm_folder())
    data = json.dumps(resolved, sort_keys=True)
    name = f"agriclip-{hashlib.sha256(data.encode()).hexdigest()[:16]}"
    if name not in open_clip.list_models():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.json"
            path.write_text(data, "utf-8")
            open_clip.add_model_config(folder)
            open_clip.factory._MODEL_CONFIG_PATHS.pop()  # read for good; the folder goes
    return name


def _create(name: str, pretrained: str, architecture: dict[str, Any], **extra: Any) -> Clip:
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # open_clip warns that random weights are random
    try:
        with warnings.catch_warnings():
            # A model with other activations than its weights were trained with is a wrong model.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            net = open_clip.create_model(name, pretrained or None, **extra)
            tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, OSError, ValueError, KeyError, UserWarning, AssertionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{name} {pretrained}: {first[:300]}") from None
    finally:
        logger.setLevel(level)
    return Clip(net, tokenizer, architecture)
