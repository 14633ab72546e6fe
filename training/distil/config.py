"""The recipes of the stored views and of the student."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from agriclip_edge.errors import UsageError

from ..augment import AugmentConfig
from ..config import EncoderConfig
from ..losses import LossConfig
from .losses import TERMS, DistilLoss


@dataclass(frozen=True)
class StoreConfig:
    """What is stored of each training photo."""

    views: int = 4  # K
    size: int = 224  # pixels along a view's side; a student may be shown the same picture smaller
    collections: tuple[str, ...] = ("alive-mini", "alive-plus")
    templates: tuple[str, ...] = ("{}", "a photo of {}")
    symptoms: float = 0.0  # share of what facts say is seen in a label's vector, as the teacher was trained with
    captions: int = 2  # further sets of texts, from the facts of the classes
    general: bool = True  # also ImageNet's 1,000 class names, so that affinities say what is known of other things
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    corrupted: float = 0.3  # share of views that the field has spoilt
    clean: bool = True  # the teacher sees a spoilt view as it was before, and the student learns to see through it
    shard: int = 256  # photos a file: what is lost at most when the process is killed
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("views", "size", "shard"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; accepted: at least 1")
        if not 0 <= self.symptoms < 1:
            raise UsageError(f"symptoms is {self.symptoms}; accepted: 0 to below 1")

    @classmethod
    def tiny(cls) -> StoreConfig:
        """The whole path in seconds."""
        return cls(views=3, size=32, collections=("alive-mini",), captions=1, general=False, corrupted=0.5, shard=16)


@dataclass(frozen=True)
class QuantisationAware:
    """Fine-tuning with weights and activations rounded as export.quantise will round them."""

    float_layers: int = 5  # the first convolutions stay in float, as there
    keep: float = 0.01  # share of a step's range in an activation's moving least and greatest value


@dataclass(frozen=True)
class DistilConfig(EncoderConfig):
    """A student of EfficientNet-Lite0's size; what is not said here is as for ``encoder``."""

    collections: tuple[str, ...] = ("alive-mini", "alive-plus")
    sizes: tuple[int, ...] = (160, 160, 160, 192, 224)
    teach: DistilLoss = field(default_factory=DistilLoss)
    loss: LossConfig = field(default_factory=LossConfig)
    affinity_scale: float = 30.0  # of both sides' affinities
    interactive_scale: float = 20.0
    quantisation: QuantisationAware | None = None

    @classmethod
    def tiny(cls) -> DistilConfig:
        """The whole path in seconds, as `EncoderConfig.tiny`."""
        small = {entry.name: getattr(EncoderConfig.tiny(), entry.name) for entry in fields(EncoderConfig)}
        return cls(**small | {"sizes": (32, 32)})


def read_recipe(base: DistilConfig, path: Path | None, losses: list[str]) -> DistilConfig:
    """A recipe with what a TOML file and then the command line say otherwise.

    Args:
        base: the recipe.
        path: TOML whose keys are fields of `DistilConfig`.
        losses: ``NAME=WEIGHT`` each.

    Raises:
        UsageError: the file cannot be read, or a field, loss or value is not accepted.
    """
    try:
        said = {} if path is None else msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
        known = {entry.name for entry in fields(base)}
        unknown = sorted(set(said) - known)
        if unknown:
            raise UsageError(f"{path} sets {unknown[0]!r}; accepted: {', '.join(sorted(known))}")
        config = msgspec.convert(msgspec.to_builtins(base) | said, type=DistilConfig)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; accepted: a TOML file") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path or 'the recipe'}: {error}") from None
    weights = {}
    for text in losses:
        name, _, value = text.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise UsageError(f"--loss {text!r}; accepted: NAME=WEIGHT, as in feature=1") from None
        if name not in TERMS:
            raise UsageError(f"--loss names {name!r}; accepted: {', '.join(TERMS)}")
    return replace(config, teach=replace(config.teach, **weights))
