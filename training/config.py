"""The recipes of the image encoder: the defaults are the first training, `wider` goes on from its result."""

from __future__ import annotations

from dataclasses import dataclass, field

from .augment import AugmentConfig
from .image_tower import ARCHITECTURE
from .losses import LossConfig


@dataclass(frozen=True)
class EncoderConfig:
    """Full fine-tuning of EfficientNet-Lite0 against the frozen text space."""

    # model
    architecture: str = ARCHITECTURE
    input_size: int = 224  # pixels at run time; training views are smaller (below)
    frozen_blocks: int = 2  # stem and two of seven blocks keep ImageNet's weights: 1.5 times faster
    looks: int = 0  # further numbers of the embedding, which say how a photo looks (training/looks.py)
    templates: tuple[str, ...] = ("{}", "a photo of {}")
    symptoms: float = 0.0  # share of what facts say is seen in a label's vector (training/symptoms.py)
    captions: int = 0  # further sets of texts, from the facts of the classes; they take turns with the templates
    collections: tuple[str, ...] = ("alive-mini",)
    # course: one entry an epoch, the side of its views in pixels. Small views are cheap and regularise; the last
    # are of the run-time size, as objects look larger in a random crop than in the centre square (FixRes,
    # Touvron et al. 2019).
    sizes: tuple[int, ...] = (128, 128, 160, 160, 160, 160, 192, 192, 224)
    batch: int = 32
    backbone_rate: float = 5e-4  # AdamW, at the top of the cosine
    head_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: float = 0.05  # share of all steps over which the rates rise from 0
    clip: float = 1.0  # largest norm of a step's gradient
    average: float = 0.998  # decay a step of the weights' moving average, which is the model
    # photos
    by_class: float = 0.5
    by_task: float = 0.5
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    # objective
    loss: LossConfig = field(default_factory=LossConfig)
    logit_scale: float = 30.0  # at the start; learnt
    general_scale: float = 20.0  # the same for the general term
    ridge: float = 0.1  # of the head's closed-form start
    # judging
    judge_every: int = 3  # epochs; the last is always judged
    statistics: int = 2048  # photos over which BatchNorm statistics of the averaged weights are taken
    seed: int = 0

    @classmethod
    def wider(cls) -> EncoderConfig:
        """A second training from the first one's weights: more collections, facts in words and codes, ImageNet kept.

        A label is the mean of its name and of twice what facts say is seen of it: see `training.symptoms`. Each caption
        set names a class by its looks as often as by its name. The weight of the general term was chosen
        by training on one collection and judging on the other, whose labels it had never seen: 30.0 % without it,
        34.6 % with 1.
        """
        return cls(
            symptoms=2 / 3,
            captions=2,
            collections=("alive-mini", "alive-plus"),
            sizes=(160, 160, 192, 224),
            backbone_rate=3e-4,
            head_rate=5e-4,
            loss=LossConfig(general=1.0),
            judge_every=2,
        )

    @classmethod
    def tiny(cls) -> EncoderConfig:
        """The whole path in seconds: small photos, three short epochs, a net of 100,000 weights."""
        return cls(
            architecture="test_efficientnet",
            input_size=32,
            frozen_blocks=1,
            sizes=(32, 32, 32),
            batch=6,
            backbone_rate=5e-3,
            head_rate=1e-2,
            warm_up=0.2,
            average=0.8,
            judge_every=1,
            statistics=24,
        )
