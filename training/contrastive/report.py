"""What people look at during a run: TensorBoard's events and one page with curves and samples."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from agriclip_edge.files import atomic_write

from .config import ContrastiveConfig

_SAMPLES = 12
_CURVES = {
    "loss": ("loss", "anchor"),
    "share right, in the batch and of held-out photos": ("right", "val", "start", "kept"),
    "learning rate": ("rate",),
    "gradient norm, logit scale": ("gradient", "scale"),
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.4 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}}
figure{{display:inline-block;width:10rem;margin:.5rem;vertical-align:top}}figure img{{width:100%}}
pre{{background:#f4f4f4;padding:1rem;overflow:auto}}</style>
<h1>{title}</h1><p>{state}</p><img src="{curves}" alt="curves of the run" style="max-width:100%">
<h2>Training photos as the model sees them, with their captions</h2>{samples}
<h2>Recipe</h2><pre>{recipe}</pre></html>
"""


class Events:
    """Scalars for TensorBoard, where it is installed."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the folder; what a cut-off process wrote after ``step`` is struck out."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer: Any = None
        else:
            self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    @property
    def active(self) -> bool:
        """Whether TensorBoard is installed."""
        return self._writer is not None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        for name, value in values.items() if self.active else ():
            if name != "step":
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        if self.active:
            self._writer.close()


def samples(images: Tensor, captions: Sequence[str]) -> list[tuple[bytes, str]]:
    """The first photos of a batch, uint8 (N, S, S, 3), as JPEG files with their captions."""
    found = []
    for pixels, caption in list(zip(images.numpy(), captions))[:_SAMPLES]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        found.append((buffer.getvalue(), caption))
    return found


def write_report(
    path: Path, config: ContrastiveConfig, history: Sequence[Mapping[str, Any]], shown: Sequence[tuple[bytes, str]]
) -> None:
    """Write the page of a run: one file that shows itself anywhere.

    Args:
        path: of the page.
        config: the recipe.
        history: what each step measured.
        shown: photos as JPEG, with captions.
    """
    figures = "".join(
        f'<figure><img src="{_embedded(data, "jpeg")}" alt=""><figcaption>{html.escape(caption)}</figcaption></figure>'
        for data, caption in shown
    )
    last = {name: value for entry in history for name, value in entry.items()}
    state = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    page = _PAGE.format(
        title=html.escape(f"Contrastive training of {Path(config.model).stem}"),
        state=html.escape(state),
        curves=_embedded(draw_curves(history), "png"),
        samples=figures,
        recipe=html.escape(json.dumps(asdict(config), indent=1)),
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def draw_curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss, monitors, learning rate and norms by step, as PNG of 1200 by 700 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, _CURVES.items()):
        for name in names:
            points = [(entry["step"], entry[name]) for entry in history if name in entry]
            if points:
                axes.plot(*zip(*points), label=name, marker="o" if len(points) < 30 else "")
        axes.set(title=title, xlabel="step")
        if axes.lines:
            axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _embedded(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
