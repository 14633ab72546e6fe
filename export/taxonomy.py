"""The packs of a collection's tasks, and broader ones: parents from ``parents.toml``, unions from ``broader.toml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import tomllib

from agriclip_edge.errors import LabelError
from agriclip_edge.labels.facts import Facts
from agriclip_edge.labels.matching import Index
from agriclip_edge.labels.pack import Label
from training.data import Task

from .packs import PackPlan

_TABLE = Path(__file__).parent / "parents.toml"
_Table = TypeVar("_Table")
_BROADER = Path(__file__).parent / "broader.toml"


class Parents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table: a parent for all labels of a task, and for single labels that differ."""

    tasks: dict[str, str]
    labels: dict[str, str]

    def of(self, task: str, label: str) -> str:
        """The parent of one label; empty when it has none."""
        return self.labels.get(label, self.tasks.get(task, ""))


class Broader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pack that joins tasks."""

    title: str
    tasks: tuple[str, ...]


def read_parents(path: Path = _TABLE) -> Parents:
    """Read a table of parents.

    Raises:
        LabelError: it is not one.
    """
    return _read(path, Parents)


def read_broader(path: Path = _BROADER) -> dict[str, Broader]:
    """Read a table of broader packs, by name.

    Raises:
        LabelError: it is not one.
    """
    return _read(path, dict[str, Broader])


def plan_packs(
    tasks: Sequence[Task], parents: Parents, facts: Sequence[Facts] = (), *, default: bool = True
) -> tuple[PackPlan, ...]:
    """One pack a task, under the task's name.

    Args:
        tasks: to make packs of.
        parents: of their labels.
        facts: give the labels their names in other languages; their symptoms stay out of the embeddings.
        default: whether the packs are used when nobody chooses.
    """
    index = Index(facts)

    def label(task: str, text: str) -> Label:
        known = index.find(text).facts
        return Label(text, parents.of(task, text), names=dict(known.names) if known is not None else {})

    return tuple(
        PackPlan(task.name, task.title, tuple(label(task.name, entry.label) for entry in task.classes), default)
        for task in tasks
    )


def join_packs(plans: Sequence[PackPlan], broader: Mapping[str, Broader]) -> tuple[PackPlan, ...]:
    """The broader packs that can be made of these; of tasks with one label alike the first has it.

    A broader pack leaves out the tasks that there is no pack of, and is left out when all of its tasks are.

    Raises:
        LabelError: a broader pack has a task's name.
    """
    by_name = {plan.name: plan for plan in plans}
    found = []
    for name, pack in broader.items():
        if name in by_name:
            raise LabelError(f"the broader pack {name!r} has the name of a task; accepted: another name")
        labels: dict[str, Label] = {}
        for plan in (by_name[task] for task in pack.tasks if task in by_name):
            for label in plan.labels:
                labels.setdefault(label.text.casefold(), label)
        if labels:
            found.append(PackPlan(name, pack.title, tuple(labels.values()), default=False))
    return tuple(found)


def _read(path: Path, form: type[_Table]) -> _Table:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), form)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise LabelError(f"{path}: {error}") from None
