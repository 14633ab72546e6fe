"""A folder of the transformers library's ``CLIPModel``, as open_clip's architecture, weights and merges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agriclip_edge.errors import UsageError
from agriclip_edge.text.clip_tokenizer import END, START, ClipBpe

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SPECIAL = {"<|startoftext|>": START, "<|endoftext|>": END}

# The towers' own names and open_clip's, without what the two towers call alike.
_BLOCK = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj"}
_BLOCK |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def is_hf_clip(folder: Path) -> bool:
    """Whether a folder holds a model of the class ``CLIPModel``."""
    return (folder / "config.json").is_file() and _read_json(folder / "config.json").get("model_type") == "clip"


def read_config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What open_clip calls ``model_cfg`` and ``preprocess_cfg``.

    Raises:
        UsageError: the folder's description is broken, or of a kind that CLIP never had.
    """
    config = _read_json(folder / "config.json")
    try:
        vision, text = config["vision_config"], config["text_config"]
        activations = {vision.get("hidden_act", "quick_gelu"), text.get("hidden_act", "quick_gelu")}
        if len(activations) != 1 or not activations <= {"quick_gelu", "gelu"}:
            raise UsageError(f"{folder} computes with {sorted(activations)}; accepted: one of quick_gelu and gelu")
        width, heads = vision["hidden_size"], vision["num_attention_heads"]
        model = {
            "embed_dim": config["projection_dim"],
            "quick_gelu": activations == {"quick_gelu"},
            "vision_cfg": {
                "image_size": vision["image_size"],
                "patch_size": vision["patch_size"],
                "layers": vision["num_hidden_layers"],
                "width": width,
                "head_width": width // heads,
                "mlp_ratio": vision["intermediate_size"] / width,
                "norm_kwargs": {"eps": vision.get("layer_norm_eps", 1e-5)},
            },
            "text_cfg": {
                "context_length": text.get("max_position_embeddings", 77),
                "vocab_size": text.get("vocab_size", 49408),
                "width": text["hidden_size"],
                "heads": text["num_attention_heads"],
                "layers": text["num_hidden_layers"],
                "mlp_ratio": text["intermediate_size"] / text["hidden_size"],
                "norm_kwargs": {"eps": text.get("layer_norm_eps", 1e-5)},
            },
        }
    except (KeyError, TypeError) as error:
        raise UsageError(f"{folder / 'config.json'} lacks {error}; accepted: the config of a CLIPModel") from None
    return model, _preprocessing(folder)


def read_weights(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file of weights, and what is in it by open_clip's names (those of ``CustomTextCLIP``).

    Raises:
        UsageError: there is none.
    """
    import open_clip.factory
    import torch

    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UsageError(f"{folder} has no {' nor '.join(_WEIGHTS)}")
    theirs: dict[str, Any] = open_clip.factory.load_state_dict(str(path))
    try:
        ours = {
            "logit_scale": theirs["logit_scale"],
            "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
            "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
            "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
            "visual.proj": theirs["visual_projection.weight"].T,
            "text.token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
            "text.positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
            "text.text_projection": theirs["text_projection.weight"].T,
        }
        for part in ("weight", "bias"):
            ours[f"visual.ln_pre.{part}"] = theirs[f"vision_model.pre_layrnorm.{part}"]  # so misspelt there
            ours[f"visual.ln_post.{part}"] = theirs[f"vision_model.post_layernorm.{part}"]
            ours[f"text.ln_final.{part}"] = theirs[f"text_model.final_layer_norm.{part}"]
        for tower, name in (("visual", "vision_model"), ("text", "text_model")):
            layers = {key.split(".")[3] for key in theirs if key.startswith(f"{name}.encoder.layers.")}
            for layer in layers:
                here, there = f"{tower}.transformer.resblocks.{layer}", f"{name}.encoder.layers.{layer}"
                for part in ("weight", "bias"):
                    joined = [theirs[f"{there}.self_attn.{which}_proj.{part}"] for which in "qkv"]
                    ours[f"{here}.attn.in_proj_{part}"] = torch.cat(joined)
                    for old, new in _BLOCK.items():
                        ours[f"{here}.{new}.{part}"] = theirs[f"{there}.{old}.{part}"]
    except KeyError as error:
        raise UsageError(f"{path} has no weight {error}; accepted: the weights of a CLIPModel") from None
    return path, ours


def read_merges(folder: Path) -> bytes:
    """The tokenizer's merges, a line each.

    Raises:
        UsageError: there is no tokenizer, or its ids are not those of CLIP's byte pairs.
    """
    if (folder / "tokenizer.json").is_file():
        model = _read_json(folder / "tokenizer.json").get("model", {})
        merges, vocabulary = model.get("merges", []), model.get("vocab", {})
    elif (folder / "merges.txt").is_file() and (folder / "vocab.json").is_file():
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        merges, vocabulary = [line for line in lines if line and not line.startswith("#version")], None
        vocabulary = _read_json(folder / "vocab.json")
    else:
        raise UsageError(f"{folder} has neither tokenizer.json nor merges.txt with vocab.json")
    data = "".join((merge if isinstance(merge, str) else " ".join(merge)) + "\n" for merge in merges).encode()
    ids = ClipBpe(data).ids if merges else {}
    if not isinstance(vocabulary, Mapping) or {_SPECIAL.get(t, t): n for t, n in vocabulary.items()} != ids:
        raise UsageError(f"{folder} has another tokenizer than CLIP's byte pairs, the only one that is accepted")
    return data


def _preprocessing(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    found = _read_json(path)
    resample = {2: "bilinear", 3: "bicubic"}.get(found.get("resample", 3), "other")
    kept = {"mean": found.get("image_mean"), "std": found.get("image_std"), "interpolation": resample}
    if not found.get("do_normalize", True):
        kept |= {"mean": [0, 0, 0], "std": [1, 1, 1]}
    return {key: value for key, value in kept.items() if value is not None}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path} holds no JSON object")
    return document
