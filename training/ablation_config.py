"""The recipes of the ablation's three stages, with what a TOML file says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from agriclip_edge.errors import UsageError

from .align.config import AlignConfig
from .config import EncoderConfig
from .dino.config import DinoConfig


@dataclass(frozen=True)
class AblationConfig:
    """The recipes of the three stages; each seed takes the place of theirs."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    dino: DinoConfig = field(default_factory=DinoConfig.offline)
    align: AlignConfig = field(default_factory=AlignConfig)

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
        path: has tables ``encoder``, ``dino`` and ``align``, whose keys are fields of their recipes.
        base: the recipes.

    Raises:
        UsageError: the file cannot be read, or sets a field or a value that is not accepted.
    """
    try:
        said = msgspec.toml.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
        known = {f"{stage.name}.{entry.name}" for stage in fields(base) for entry in fields(getattr(base, stage.name))}
        unknown = sorted({f"{stage}.{name}" for stage, own in said.items() for name in own or [""]} - known)
        if unknown:
            raise UsageError(f"{path} sets {unknown[0]}; accepted: {', '.join(sorted(known))}")
        whole = msgspec.to_builtins(base)
        return msgspec.convert({stage: own | said.get(stage, {}) for stage, own in whole.items()}, type=AblationConfig)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; accepted: a TOML file") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}") from None
