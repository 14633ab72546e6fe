"""Results as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Grid

from .evaluate import Table


def print_table(table: Table, console: Console) -> None:
    """Print accuracy by task and their plain mean, in percent."""
    grid = Grid("task", "photos", "classes", "chance", "accuracy", box=None)
    for column in grid.columns[1:]:
        column.justify = "right"
    for result in table.results:
        chance, accuracy = f"{100 * result.chance:.1f}", f"{100 * result.accuracy:.1f}"
        grid.add_row(result.task, str(result.photos), str(result.classes), chance, accuracy)
    grid.add_row("mean over tasks", "", "", f"{100 * table.chance:.1f}", f"{100 * table.mean:.1f}", style="bold")
    console.print(grid)
