"""What each stage of the teacher brings, from the record of the ablation."""

from __future__ import annotations

from pathlib import Path

from training.ablation import read_ablation

from .environment import versions
from .record import Detail, Measurement


def measure(path: Path) -> Measurement:
    """The table of an ablation.

    Args:
        path: of the record of ``python -m training ablation``.

    Raises:
        UsageError: it is missing or broken.
    """
    ablation = read_ablation(path)
    return Measurement(
        method=f"Stages 2 (DINO) and 1 (text-aligned) before and after training on {', '.join(ablation.collections)}; "
        "aligned is stage 3, a closed-form map from the DINO features into the text-aligned encoder's space, ensemble "
        "the mix of both encoders. Mean over tasks of mean per-class accuracy, %; spread over seeds, which draw what "
        "is held out to choose penalty and mix. Gains are in points over contrastive only with the same text-aligned "
        f"encoder, whose training had not seen the held-out photos in {sum(ablation.held_out_unseen)} of "
        f"{len(ablation.seeds)} seeds.",
        samples=ablation.samples(),
        seeds={f"held out {number + 1}": seed for number, seed in enumerate(ablation.seeds)},
        subject=ablation.subjects,
        packages=versions("torch", "timm"),
        details=(Detail("The three stages", *ablation.cells()),),
    )
