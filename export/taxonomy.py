"""Which broader label each label belongs to, from the reviewed table ``parents.toml``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import tomllib

from agriclip_edge.errors import LabelError
from agriclip_edge.labels.pack import Label
from training.data import Task

from .packs import PackPlan

_TABLE = Path(__file__).parent / "parents.toml"


class Parents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table: a parent for all labels of a task, and for single labels that differ."""

    tasks: dict[str, str]
    labels: dict[str, str]

    def of(self, task: str, label: str) -> str:
        """The parent of one label; empty when it has none."""
        return self.labels.get(label, self.tasks.get(task, ""))


def read_parents(path: Path = _TABLE) -> Parents:
    """Read a table of parents.

    Raises:
        LabelError: it is not one.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Parents)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise LabelError(f"{path}: {error}") from None


def plan_packs(tasks: Sequence[Task], parents: Parents) -> tuple[PackPlan, ...]:
    """One pack a task, under the task's name."""
    return tuple(
        PackPlan(
            name=task.name,
            title=task.title,
            labels=tuple(Label(entry.label, parents.of(task.name, entry.label)) for entry in task.classes),
        )
        for task in tasks
    )
