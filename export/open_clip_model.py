"""Any CLIP that open_clip can build, as the two towers, the temperature and the words that a bundle wants."""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from timm.utils import reparameterize_model
from torch import Tensor, nn

from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.text.clip_tokenizer import ClipBpe

from .hf_clip import is_hf_clip, read_config, read_merges, read_weights

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_MOST_PARAMETERS = 500_000_000  # of one tower: ONNX files end at 2 GiB, and a weight takes 4 bytes on the way there
_CHARACTERS = 300  # of another library's message
_UNIFORM = ("mean", "std", "interpolation", "resize_mode")


class ImageTower(nn.Module):
    """Photos in, unit vectors out; mean and standard deviation are applied inside."""

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """Wrap the image tower of ``model``; mean and std are of values from 0 to 1."""
        super().__init__()
        self.visual: Any = model.visual
        self.register_buffer("factor", 1 / (255 * torch.tensor(std).view(3, 1, 1)))
        self.register_buffer("shift", -torch.tensor(mean).view(3, 1, 1) / torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Embed photos, uint8 (N, S, S, 3): float32 (N, D)."""
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) * self.factor + self.shift
        features = self.visual(pixels)
        return nn.functional.normalize(features[0] if isinstance(features, tuple) else features, dim=-1)


class TextTower(nn.Module):
    """Token ids in, unit vectors out.

    Attributes:
        free: whether a text may be given without the padding behind its end, which is then never seen.
        context: the most tokens of a text.
    """

    def __init__(self, model: nn.Module) -> None:
        """Wrap the text tower of ``model``."""
        super().__init__()
        self.text: Any = model.text
        self.context = int(self.text.context_length)
        self._mask: Tensor | None = self.text.attn_mask
        causal = self._mask is not None and self.text.cls_emb is None
        self.free = causal and self.text.pool_type in ("argmax", "eos")

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed texts, int64 (N, T): float32 (N, D)."""
        if self.free and self._mask is not None:  # open_clip's own is as long as the longest text
            self.text.attn_mask = self._mask[: input_ids.shape[1], : input_ids.shape[1]]
        features = self.text(input_ids)
        return nn.functional.normalize(features[0] if isinstance(features, tuple) else features, dim=-1)


@dataclass(frozen=True)
class ClipModel:
    """A model with weights, ready to be exported.

    Attributes:
        name: for people.
        weights: where its weights come from, in words without a path.
        sha256: of the file of weights; empty when open_clip got it by a tag.
        image: uint8 (N, S, S, 3) to unit vectors float32 (N, D).
        text: int64 (N, T) to unit vectors float32 (N, D).
        size: S in pixels.
        dim: D.
        temperature: softmax temperature, 1 / exp(logit scale).
        merges: the tokenizer's vocabulary.
        notes: in what its own preprocessing differs from ours, a line each.
    """

    name: str
    weights: str
    sha256: str
    image: ImageTower
    text: TextTower
    size: int
    dim: int
    temperature: float
    merges: bytes
    notes: tuple[str, ...]

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Token ids with all padding, int64 (N, context).

        Raises:
            LabelError: a prompt is longer than the model reads.
        """
        tokenizer = ClipBpe(self.merges)
        ids = torch.full((len(prompts), self.text.context), tokenizer.pad)
        for row, prompt in enumerate(prompts):
            found = tokenizer.encode(prompt)
            if len(found) > self.text.context:
                raise LabelError(f"{prompt[:40]!r}… has {len(found)} tokens; at most {self.text.context} are accepted")
            ids[row, : len(found)] = torch.tensor(found)
        return ids


def open_model(name: str, pretrained: str | None) -> ClipModel:
    """Build a model and load its weights.

    Args:
        name: an architecture that open_clip knows, a JSON file that describes one, ``hf-hub:…``, or a folder with
            ``open_clip_config.json`` or with a ``CLIPModel`` of the transformers library.
        pretrained: open_clip's tag of weights, or a file of weights; None where ``name`` brings its own.

    Raises:
        UsageError: no such model or weights, or a kind that cannot be exported.
    """
    folder = Path(name.removeprefix("local-dir:"))
    if folder.is_dir() and is_hf_clip(folder):
        _refuse_pretrained(name, pretrained)
        config, preprocessing = read_config(folder)
        path, weights = read_weights(folder)
        merges = read_merges(folder)
        with _described(config) as described:
            model = _create(described, None)
        with _as_usage_error(name):
            model.load_state_dict(weights)
        preprocessing = {**model.visual.preprocess_cfg, **preprocessing}
        return _checked(folder.resolve().name, path.name, _sha256(path), model, merges, preprocessing)
    if folder.is_dir() or name.startswith("local-dir:"):
        name = f"local-dir:{folder}"
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UsageError(f"no such file: {name}")
        with _as_usage_error(name):
            if not {"embed_dim", "vision_cfg", "text_cfg"} <= {*json.loads(Path(name).read_text(encoding="utf-8"))}:
                raise ValueError("it lacks embed_dim, vision_cfg or text_cfg")
            open_clip.add_model_config(name)  # which would stay broken by a broken file
        name = Path(name).stem
    schema = name.split(":")[0] if name.startswith(("hf-hub:", "local-dir:")) else ""
    if not schema and name not in open_clip.list_models():
        near = ", ".join(difflib.get_close_matches(name, open_clip.list_models(), 3, 0.3))
        raise UsageError(f"open_clip has no model {name!r}; accepted: a folder, hf-hub:…, a JSON file, or as {near}")
    with _as_usage_error(name):
        config = open_clip.get_model_config(name)
    _check_text(name, config.get("text_cfg", {}))
    if schema:
        _refuse_pretrained(name, pretrained)
        model = _create(name, None)
        weights_said, file = name if schema == "hf-hub" else "a folder", None
        if schema == "local-dir":
            file = Path(str(open_clip.factory._find_checkpoint_in_dir(folder)))
            weights_said = file.name
        title = folder.resolve().name if schema == "local-dir" else name.removeprefix("hf-hub:")
        sha256 = _sha256(file) if file else ""
        return _checked(title, weights_said, sha256, model, standard_merges(), model.visual.preprocess_cfg)
    tags = open_clip.list_pretrained_tags_by_model(name)
    file = Path(pretrained or "")
    if not pretrained or (pretrained not in tags and not file.is_file()):
        found = "no weights are named" if not pretrained else f"no weights {pretrained!r}"
        raise UsageError(f"{found} for {name}; accepted with --pretrained: a file of weights, {', '.join(tags)}")
    if pretrained not in tags and file.suffix not in _SUFFIXES:
        raise UsageError(f"{file} is no file of weights; accepted: {', '.join(_SUFFIXES)}")
    model = _create(name, pretrained)
    if pretrained in tags:
        return _checked(name, f"open_clip's {pretrained}", "", model, standard_merges(), model.visual.preprocess_cfg)
    preprocessing = {**model.visual.preprocess_cfg, **_published(name, tags)}
    return _checked(name, file.name, _sha256(file), model, standard_merges(), preprocessing)


def standard_merges() -> bytes:
    """The merges of CLIP's tokenizer, as open_clip ships them."""
    text = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8")
    count = SimpleTokenizer().vocab_size - 2 * 256 - 2  # the file goes on beyond what CLIP uses
    return "".join(f"{line}\n" for line in text.split("\n")[1 : 1 + count]).encode()


def _create(name: str, pretrained: str | None) -> Any:
    """A model in float32 whose text tower stands apart, with weights if they have a name or lie in its folder."""
    brings_own = name.startswith(("hf-hub:", "local-dir:"))
    with _as_usage_error(name):
        return open_clip.create_model(
            name,
            pretrained=pretrained,
            precision="fp32",
            device="cpu",
            force_custom_text=True,
            pretrained_text=False,
            require_pretrained=brings_own or pretrained is not None,
            weights_only=True,
        ).eval()


def _checked(
    name: str, weights: str, sha256: str, model: Any, merges: bytes, preprocessing: dict[str, Any]
) -> ClipModel:
    """The model with its towers wrapped, if it is of a kind that a bundle can hold."""
    model.requires_grad_(False)
    size = model.visual.image_size
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UsageError(f"{name} takes photos of {size} pixels; accepted: squares")
    for tower in (model.visual, model.text):
        count = sum(parameter.numel() for parameter in tower.parameters())
        if count > _MOST_PARAMETERS:
            raise UsageError(f"a tower of {name} has {count:,} parameters; at most {_MOST_PARAMETERS:,} fit into ONNX")
    if len(ClipBpe(merges)) > model.text.vocab_size:
        raise UsageError(f"{name} knows {model.text.vocab_size} tokens, the tokenizer {len(ClipBpe(merges))}")
    scale = float(model.logit_scale.exp())
    if model.logit_bias is not None or not 1e-3 < scale < 1e6:
        found = "a logit bias" if model.logit_bias is not None else f"a logit scale of {scale:g}"
        raise UsageError(f"{name} has {found}; accepted: a softmax over cosines times a logit scale")
    text = TextTower(model)
    image = ImageTower(model, preprocessing["mean"], preprocessing["std"])
    side = int(sides.pop())
    with torch.inference_mode():
        dim = image(torch.zeros(1, side, side, 3, dtype=torch.uint8)).shape[1]
        reading = text(torch.zeros(1, text.context, dtype=torch.int64)).shape[1]
    if dim != reading:
        raise UsageError(f"{name} embeds photos as {dim} values and texts as {reading}; accepted: one space")
    return ClipModel(name, weights, sha256, image, text, side, dim, 1 / scale, merges, _notes(preprocessing))


def plain(tower: nn.Module) -> nn.Module:
    """A tower in operations that export well: changed in place, so compare with what it gave before.

    Branches that were only for training are folded into one convolution (MobileOne, FastViT), and attention is matrix
    products and a softmax: PyTorch's own fixes the length of texts when it is traced.
    """
    tower = reparameterize_model(tower, inplace=True)
    for module in list(tower.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None and child.bias_k is None:
                setattr(module, name, _Attention(child))
    return tower


class _Attention(nn.Module):
    """Attention with the weights of a ``MultiheadAttention``, in evaluation."""

    def __init__(self, theirs: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.batch_first = int(theirs.num_heads), bool(theirs.batch_first)
        self.weight, self.bias, self.output = theirs.in_proj_weight, theirs.in_proj_bias, theirs.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        """Attend: (N, T, E) each, or (T, N, E) where the batch is not first; the mask is added to the logits."""
        weights = self.weight.chunk(3)
        biases = self.bias.chunk(3) if self.bias is not None else (None, None, None)
        parts = []
        for states, weight, bias in zip((query, key, value), weights, biases):
            projected = nn.functional.linear(states if self.batch_first else states.transpose(0, 1), weight, bias)
            parts.append(projected.unflatten(-1, (self.heads, -1)).transpose(1, 2))  # (N, H, T, E / H)
        q, k, v = parts
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if attn_mask is not None:
            logits = logits + (attn_mask if attn_mask.dim() == 2 else attn_mask.view_as(logits))
        mixed = self.output((logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        return (mixed if self.batch_first else mixed.transpose(0, 1)), None


def _notes(preprocessing: dict[str, Any]) -> tuple[str, ...]:
    notes = [f"mean {_numbers(preprocessing['mean'])} and standard deviation {_numbers(preprocessing['std'])}"]
    if preprocessing.get("interpolation", "bicubic") != "bicubic":
        notes.append(f"it was trained on {preprocessing['interpolation']} resizing; a bundle resizes bicubically")
    if preprocessing.get("resize_mode", "shortest") != "shortest":
        notes.append(f"it was trained on whole photos ({preprocessing['resize_mode']}); a bundle takes the centre")
    return tuple(notes)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _published(name: str, tags: Sequence[str]) -> dict[str, Any]:
    """The preprocessing of an architecture's published weights where they agree: a file says nothing of its own."""
    known = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    said = [{key: one[key] for key in _UNIFORM if one.get(key) is not None} for one in known]
    return said[0] if said and all(one == said[0] for one in said) else {}


def _check_text(name: str, text: dict[str, Any]) -> None:
    """Refuse a model whose words are not CLIP's byte pairs, before any weight is loaded."""
    foreign = text.get("hf_tokenizer_name") or text.get("hf_model_name") or ("siglip" in name.lower() and "SigLIP's")
    if foreign:
        raise UsageError(f"{name} reads text with the tokenizer {foreign}; accepted: models with CLIP's own byte pairs")
    options = text.get("tokenizer_kwargs", {})
    if options.get("clean", "lower") != "lower" or options.get("additional_special_tokens"):
        raise UsageError(f"{name} cleans text by {json.dumps(options)}; accepted: lower case, as CLIP")


def _refuse_pretrained(name: str, pretrained: str | None) -> None:
    if pretrained:
        raise UsageError(f"{name} brings its own weights; leave out --pretrained {pretrained}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _described(config: dict[str, Any]) -> Iterator[str]:
    """A name under which open_clip builds a model of this description."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"described-{hashlib.sha256(json.dumps(config).encode()).hexdigest()[:12]}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(path)
        yield path.stem


@contextmanager
def _as_usage_error(name: str) -> Iterator[None]:
    """Every way in which open_clip can fail becomes one line; what it tells meanwhile is left out."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # its exceptions, and those of the libraries under it, share no base class
        text = " ".join(str(error).split()) or type(error).__name__
        short = text if len(text) <= _CHARACTERS else text[:_CHARACTERS] + "…"
        raise UsageError(f"open_clip cannot open {name}: {short}") from None
    finally:
        logging.disable(before)
