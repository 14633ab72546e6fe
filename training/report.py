"""Results as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Grid

from .evaluate import Table
from .evaluation.compare import Difference
from .evaluation.record import Evaluation, Mean, Score


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


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print a table for each method: figures in percent, the interval over photos, ± the mean's over draws."""
    console.print(f"{evaluation.subject} on {evaluation.tasks_of}, prompts: {evaluation.prompts}", style="bold")
    for method in evaluation.methods:
        grid = Grid(
            method, "photos", "classes", "chance", "majority", "accuracy", "95 %", box=None, title_justify="left"
        )
        for name in ("± draws", "top-1", "gain", "seen"):
            grid.add_column(name)
        for column in grid.columns[1:]:
            column.justify = "right"
        for task in evaluation.tasks:
            score = task.score(method)
            if score is not None:
                seen = "" if task.seen_labels is None else f"{task.seen_labels}/{len(task.labels)}"
                photos = str(score.photos) + (f" (-{score.left_out})" if score.left_out else "")
                grid.add_row(task.task, photos, str(score.classes), *_figures(score), seen)
        for mean in (mean for mean in evaluation.means if mean.method == method):
            name = f"mean over {mean.tasks} {mean.group} tasks"
            grid.add_row(name, str(mean.photos), "", *_figures(mean), style="bold")
        console.print(grid)
        if len(evaluation.tasks) == 1 and (only := evaluation.tasks[0].score(method)) is not None:
            console.print(f"  {only.top1 * only.photos:g} of {only.photos} right", highlight=False)
        for task in evaluation.tasks:
            score = task.score(method)
            if score is not None and score.note:
                console.print(f"  {task.task}: {score.note}", highlight=False, markup=False)
        console.print()


def print_differences(first: str, second: str, differences: Sequence[Difference], console: Console) -> None:
    """Print two records side by side, in percent and points."""
    grid = Grid("task", "photos", first, second, "points", "95 % (paired)", box=None)
    for column in grid.columns[1:]:
        column.justify = "right"
    for row in differences:
        shares, points = (f"{100 * row.first:.1f}", f"{100 * row.second:.1f}"), f"{100 * row.gain:+.1f}"
        style = "bold" if row is differences[-1] else None
        interval = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
        grid.add_row(row.task, str(row.photos), *shares, points, interval, style=style)
    console.print(grid)


def _figures(score: Score | Mean) -> tuple[str, ...]:
    draws = score.draws if isinstance(score, Mean) else len(score.by_draw)
    shares = (f"{100 * share:.1f}" for share in (score.chance, score.majority, score.accuracy))
    interval = f"{100 * score.low:.1f}-{100 * score.high:.1f}"
    spread = f"{100 * score.half_width:.1f}" if draws > 1 else ""
    return (*shares, interval, spread, f"{100 * score.top1:.1f}", f"{score.gain:+.2f}")
