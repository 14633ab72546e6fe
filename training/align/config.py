"""The recipe of stage 3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AlignConfig:
    """How the map and the mix are chosen."""

    held_out: float = 0.1  # share of each class of the training photos that judges penalty and mix
    # Penalties to choose from, as multiples of the features' mean variance.
    strengths: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
    mixes: int = 21  # shares of the aligned encoder in the ensemble, from 0 to 1
    by_class: float = 0.5  # photos weigh as in stage 1: training/sampling.py
    by_task: float = 0.5
    seed: int = 0

    @classmethod
    def tiny(cls) -> AlignConfig:
        """Few photos a class: more of them held out."""
        return cls(held_out=0.25, strengths=(1e-4, 1e-2, 1.0), mixes=5)
