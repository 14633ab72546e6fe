"""The recipe of a contrastive training; a TOML file holds only what differs from one of these."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from agriclip_edge.errors import UsageError

from ..augment import AugmentConfig

TOWER_MODES = ("full", "lora", "frozen")
LOSSES = ("softmax", "sigmoid")


@dataclass(frozen=True)
class ContrastiveConfig:
    """Fine-tuning of an image and a text tower on photos with captions."""

    # model
    model: str = "ViT-B-16"  # name of an open_clip model, or path of a JSON in open_clip's form
    pretrained: str = ""  # open_clip's tag of its weights or path of a checkpoint; empty: random weights
    image: str = "full"  # full, lora or frozen
    text: str = "full"
    lora_rank: int = 16
    lora_alpha: float = 16.0  # the update counts alpha / rank times (Hu et al. 2021, section 4.1)
    # objective
    loss: str = "softmax"  # softmax (CLIP) or sigmoid (SigLIP)
    anchor: float = 0.0  # weight of 1 - cosine to a dense caption, a vector a photo
    anchor_vectors: str = ""  # folder that `embed-shards` wrote; empty: the start model's own image embeddings
    # course
    epochs: float = 10.0
    max_steps: int = 0  # in place of epochs when above 0
    batch: int = 2048  # pairs a step, over all processes
    micro: int = 512  # pairs that a process holds activations of; a step takes as many passes as it needs
    rate: float = 1e-5  # AdamW at the top of the cosine, of the last layers: 1e-3 would erase the start
    layer_decay: float = 0.8  # each layer below learns so much slower (Clark et al. 2020; Bao et al. 2021)
    warm_up: float = 0.1  # share of all steps over which the rates rise from 0
    weight_decay: float = 0.1
    clip: float = 1.0  # largest norm of a step's gradient
    average: float = 0.0  # decay a step of the weights' moving average, which then is the model; 0: none
    wise: float = 0.5  # share of the tuned weights in the model, the rest is the start's; 1: tuned alone
    # machine
    bf16: bool = True  # activations; weights and losses stay float32
    checkpointing: bool = True  # activations are computed again on the way back: a third more time, far less memory
    threads: int = 8  # that decode and augment photos, of each process
    # photos
    by_class: float = 0.5  # as training.sampling
    by_task: float = 0.5
    captions: int = 8  # of a class
    group: int = 8  # shards that are held as files in memory and mixed
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    # judging
    judge_every: int = 500  # steps
    judge_photos: int = 2000
    save_every: int = 200  # steps; what is lost at most when the process is killed
    seed: int = 0

    def __post_init__(self) -> None:
        accepted = {"image": TOWER_MODES, "text": TOWER_MODES, "loss": LOSSES}
        for name, values in accepted.items():
            if getattr(self, name) not in values:
                raise UsageError(f"{name} is {getattr(self, name)!r}; accepted: {', '.join(values)}")
        positive = ("epochs", "batch", "micro", "rate", "threads", "captions", "group", "judge_every", "save_every")
        for name in positive:
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} is {getattr(self, name)}; accepted: above 0")
        if not 0 <= self.wise <= 1 or not 0 <= self.average < 1:
            raise UsageError(f"wise is {self.wise}, average {self.average}; accepted: 0 to 1, and 0 to below 1")
        if self.image == self.text == "frozen":
            raise UsageError("both towers are frozen; accepted: at least one that learns")

    @classmethod
    def vit_b_16(cls) -> ContrastiveConfig:
        """ViT-B-16 on 600,000 pairs and a GPU: ten epochs from LAION's weights, kept near them."""
        return cls(pretrained="laion2b_s34b_b88k", anchor=0.5)

    @classmethod
    def tiny(cls) -> ContrastiveConfig:
        """The whole path in seconds: a net of two layers a tower from random weights, photos of 32 pixels."""
        return cls(
            model=str(Path(__file__).with_name("tiny.json")),
            anchor=0.1,
            max_steps=20,
            batch=8,
            micro=4,
            rate=3e-3,
            layer_decay=0.9,
            average=0.8,
            wise=0.8,
            bf16=False,
            threads=1,
            captions=4,
            group=2,
            judge_every=10,
            judge_photos=20,
            save_every=5,
        )


RECIPES = {"vit-b-16": ContrastiveConfig.vit_b_16, "tiny": ContrastiveConfig.tiny}


def read_config(base: ContrastiveConfig, path: Path | None, given: dict[str, Any]) -> ContrastiveConfig:
    """A recipe with what a TOML file and then the command line say otherwise.

    Args:
        base: the recipe.
        path: TOML whose keys are fields of `ContrastiveConfig`.
        given: fields and values; a value of None says nothing.

    Raises:
        UsageError: the file cannot be read, or names a field or a value that is not accepted.
    """
    try:
        said = {} if path is None else msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
        said |= {name: value for name, value in given.items() if value is not None}
        known = {entry.name for entry in fields(base)}
        unknown = sorted(set(said) - known)
        if unknown:
            raise UsageError(f"{path} sets {unknown[0]!r}; accepted: {', '.join(sorted(known))}")
        return msgspec.convert(msgspec.to_builtins(base) | said, type=ContrastiveConfig)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; accepted: a TOML file") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path or 'the recipe'}: {error}") from None
