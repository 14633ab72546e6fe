"""The recipe of stage 2: the defaults are for GPUs and 600,000 photos, `offline` for two cores."""

from __future__ import annotations

from dataclasses import dataclass, field

from agriclip_edge.errors import UsageError

from ..augment import AugmentConfig
from ..image_tower import ARCHITECTURE

TARGETS = ("centring", "sinkhorn")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class DinoConfig:
    """Self-distillation over crops. Values are those of Caron et al. 2021 where a line says nothing else."""

    # model
    architecture: str = ARCHITECTURE  # any timm model
    input_size: int = 224  # pixels at run time
    frozen_blocks: int = 0  # 0 trains everything; n fixes the stem and the first n blocks or stages
    hidden: int = 2048  # width of the projection head
    bottleneck: int = 256
    prototypes: int = 65_536
    # views: hue never changes and brightness, contrast, saturation little, as disease is colour; no solarisation,
    # no greyscale, no blur, which would take colour and texture away
    global_size: int = 224
    local_size: int = 96
    local_views: int = 8
    global_view: AugmentConfig = field(default_factory=lambda: AugmentConfig(area=(0.4, 1.0), colour=0.1))
    local_view: AugmentConfig = field(default_factory=lambda: AugmentConfig(area=(0.05, 0.4), colour=0.1))
    # objective
    targets: str = "centring"  # or "sinkhorn" (SwAV, Caron et al. 2020; DINOv2)
    centre_momentum: float = 0.9
    sinkhorn_rounds: int = 3
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)  # from, to
    temperature_rise: float = 0.3  # share of all steps over which it rises
    # course
    steps: int = 100_000
    batch: int = 512  # photos a step, over all processes
    micro_batch: int = 64  # photos a forward pass; BatchNorm sees these, however many processes share a step
    rate: float = 5e-4  # AdamW, a step of 256 photos, at the top of the cosine
    backbone_share: float = 1.0  # the backbone's rate as a share of the head's
    last_rate: float = 1e-6  # at the end of the cosine
    warm_up: float = 0.1  # share of all steps
    weight_decay: tuple[float, float] = (0.04, 0.4)
    teacher_momentum: tuple[float, float] = (0.996, 1.0)
    clip: float = 3.0  # largest norm of a step's gradient
    fixed_prototypes: float = 0.01  # share of all steps over which the last layer stays: 1 epoch of 100
    precision: str = "float32"  # or "bfloat16", by autocast; slower on CPUs for depthwise convolutions
    # keeping and watching
    log_every: int = 50  # steps an entry of the log
    save_every: int = 10  # entries a checkpoint
    monitor_every: int = 100  # entries; a multiple of save_every; also before the first step and after the last
    monitor_shots: int = 20  # labelled training photos a class that the monitors learn from, at most
    monitor_size: int = 224
    neighbours: int = 10
    statistics: int = 4096  # photos over which BatchNorm statistics of the teacher are taken
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            UsageError: a value contradicts another or is none of those accepted.
        """
        if self.targets not in TARGETS:
            raise UsageError(f"targets is {self.targets!r}; accepted: {', '.join(TARGETS)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is {self.precision!r}; accepted: {', '.join(PRECISIONS)}")
        if self.batch % self.micro_batch:
            raise UsageError(f"batch is {self.batch}; accepted: a multiple of micro_batch, {self.micro_batch}")
        if self.monitor_every % self.save_every:
            raise UsageError(f"monitor_every is {self.monitor_every}; accepted: a multiple of {self.save_every}")

    @classmethod
    def offline(cls) -> DinoConfig:
        """EfficientNet-Lite0 from ImageNet weights on CPU cores, about one pass over 9,000 photos.

        The rates are small and the first four of seven blocks stay: so short a course can refine features, not make
        them. Local crops keep more of the photo than the paper's, as 64 pixels show nothing of a twentieth.
        """
        return cls(
            frozen_blocks=4,
            hidden=1024,
            prototypes=4096,
            global_size=128,
            local_size=64,
            local_views=2,
            local_view=AugmentConfig(area=(0.1, 0.4), colour=0.1),
            teacher_temperature=(0.04, 0.05),
            steps=400,
            batch=24,
            micro_batch=24,
            rate=4e-3,
            backbone_share=0.1,
            teacher_momentum=(0.98, 1.0),
            fixed_prototypes=0.05,
            log_every=10,
            save_every=5,
            monitor_every=20,
            monitor_shots=8,
            monitor_size=128,
            statistics=512,
        )

    @classmethod
    def tiny(cls) -> DinoConfig:
        """The whole path in seconds: small crops and a net of 100,000 weights."""
        return cls(
            architecture="test_efficientnet",
            input_size=32,
            frozen_blocks=1,
            hidden=32,
            bottleneck=16,
            prototypes=48,
            global_size=32,
            local_size=16,
            local_views=2,
            local_view=AugmentConfig(area=(0.2, 0.5), colour=0.1),
            steps=12,
            batch=8,
            micro_batch=4,
            rate=1e-2,
            teacher_momentum=(0.9, 1.0),
            fixed_prototypes=0.1,
            log_every=2,
            save_every=1,
            monitor_every=3,
            monitor_shots=8,
            monitor_size=32,
            neighbours=3,
            statistics=24,
        )
