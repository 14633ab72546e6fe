"""The progress bar of long work: on a terminal's stderr, and silent anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WORTH_A_BAR = 8  # fewer photos are done before anyone has read it


@contextmanager
def progress(total: int, unit: str = "photos") -> Iterator[Callable[[], None]]:
    """Show how much is done, the rate and the time left.

    Args:
        total: how many steps there are.
        unit: what a step is, for the rate.

    Yields:
        a function to call after each step.
    """
    if total < _WORTH_A_BAR or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Steps a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.1f} {unit}/s")

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
