"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data.")]
Threads = Annotated[int, typer.Option(help="Cores for torch; 0 takes its own choice.")]


def use_threads(threads: int) -> None:
    """Let torch use so many cores; 0 leaves its own choice."""
    import torch  # not for --help

    if threads > 0:
        torch.set_num_threads(threads)
