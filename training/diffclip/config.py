"""The recipe of the scene encoder: its size, the diffusion it learns by, and its course."""

from __future__ import annotations

from dataclasses import dataclass

from agriclip_edge.errors import UsageError


@dataclass(frozen=True)
class DiffclipConfig:
    """Masked diffusion over the windows of a scene (Zhang et al. 2025), sized for two CPU cores."""

    # what is seen
    window: int = 7  # pixels along a side, odd
    components: int = 32  # a modality's channels after whitening, at most
    normalised: tuple[str, ...] = ("hyperspectral",)  # modalities whose spectra are divided by their length: no shade
    level_share: float = 0.0  # of its tile's mean that a spectrum loses; only for scenes of many small tiles
    levelled: tuple[str, ...] = ("hyperspectral",)  # modalities to which that is done
    # network
    width: int = 48
    depth: int = 3
    heads: int = 4
    decoder_width: int = 32
    decoder_depth: int = 1
    # diffusion: the paper's values
    mask_ratio: float = 0.7
    noise_steps: int = 1000
    noise: tuple[float, float] = (1e-4, 0.02)  # variance added at the first and at the last step, linear between
    visible_weight: float = 1.0
    masked_weight: float = 1.0
    drop_modality: float = 0.2  # chance that a window lacks one of its modalities
    # course
    steps: int = 600
    batch: int = 256
    rate: float = 3e-3  # AdamW, top of the cosine
    warm_up: float = 0.05  # share of all steps
    weight_decay: float = 0.05
    clip: float = 1.0  # largest norm of a step's gradient
    log_every: int = 10  # steps an entry of the log
    save_every: int = 5  # entries a checkpoint
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            UsageError: a value contradicts another or is out of range.
        """
        if self.window < 3 or self.window % 2 == 0:
            raise UsageError(f"window is {self.window}; accepted: odd numbers from 3 on")
        if not 0 < self.mask_ratio < 1:
            raise UsageError(f"mask_ratio is {self.mask_ratio}; accepted: above 0 and below 1")
        for width in (self.width, self.decoder_width):
            if width % self.heads or width % 4:
                raise UsageError(f"a width is {width}; accepted: multiples of 4 and of heads, {self.heads}")
        for name in ("components", "steps", "batch", "log_every", "save_every", "depth", "noise_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; accepted: at least 1")

    @classmethod
    def tiny(cls) -> DiffclipConfig:
        """The whole path in seconds."""
        return cls(
            window=5,
            components=6,
            width=16,
            depth=1,
            heads=2,
            decoder_width=8,
            steps=12,
            batch=16,
            log_every=2,
            save_every=1,
        )


@dataclass(frozen=True)
class BindingConfig:
    """How shots become class prototypes; the same for every scene and number of shots."""

    token_weight: float = 0.5  # of the transformer's tokens beside the components of a modality
    later_weight: float = 0.15  # of each modality after the first beside the first
    whitening: float = 0.6  # of tokens; 0: as they are; 1: all directions alike
    directions: int = 48  # of a block of features that are kept, at most
    shrinkage: float = 0.1  # of prototypes towards those of like texts, as a share of the texts' mean square
    sphere: float = 1000.0  # shots that a sphere counts for as the covariance within classes
    keep: float = 100.0  # what moving class vectors from their closed form costs, times their mean squared distance
    steps: int = 60
    rate: float = 0.02  # Adam


@dataclass(frozen=True)
class ModalityRecord:
    """What a modality of a run was: its channels, their unit, and their wavelengths in nm where they are known."""

    channels: int
    unit: str
    wavelengths: tuple[float, ...] | None
