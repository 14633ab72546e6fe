"""The recipes of the ablation's three stages, with what a TOML file says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agriclip_edge.errors import UsageError

from .align.config import AlignConfig
from .config import EncoderConfig
from .dino.config import DinoConfig


@dataclass(frozen=True)
class AblationConfig:
    """The recipes of the three stages, and how many photos they are for; each seed takes the place of theirs."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    dino: DinoConfig = field(default_factory=DinoConfig.offline)
    align: AlignConfig = field(default_factory=AlignConfig)
    photos: int = 0  # to train on, of each collection at most, spread over all classes; 0 takes all

    @classmethod
    def tiny(cls) -> AblationConfig:
        """The whole table in seconds."""
        return cls(EncoderConfig.tiny(), DinoConfig.tiny(), AlignConfig.tiny())

    def __post_init__(self) -> None:
        if self.encoder.looks or self.encoder.loss.general:
            raise UsageError("encoder.looks and encoder.loss.general need further teachers; accepted here: 0")


def read_config(path: Path, base: AblationConfig) -> AblationConfig:
    """The recipes with what a TOML file says otherwise.

    Args:
        path: has tables ``encoder``, ``dino`` and ``align``, whose keys are fields of their recipes, and ``photos``.
        base: the recipes.

    Raises:
        UsageError: the file cannot be read, or sets a field or a value that is not accepted.
    """
    try:
        said = msgspec.toml.decode(path.read_bytes(), type=dict[str, dict[str, Any] | int])
        whole = msgspec.to_builtins(base)
        unknown = sorted(_names(said) - _names(whole))
        if unknown:
            raise UsageError(f"{path} sets {unknown[0]}; accepted: {', '.join(sorted(_names(whole)))}")
        for name, value in said.items():
            whole[name] = whole[name] | value if isinstance(value, dict) else value
        return msgspec.convert(whole, type=AblationConfig)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; accepted: a TOML file") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}") from None


def _names(recipe: dict[str, Any]) -> set[str]:
    """What a recipe sets: ``stage.field``, or a name beside the stages."""
    stages = {name: own for name, own in recipe.items() if isinstance(own, dict)}
    return {f"{stage}.{name}" for stage, own in stages.items() for name in own or [""]} | (set(recipe) - set(stages))
