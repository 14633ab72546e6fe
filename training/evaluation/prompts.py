"""Labels become unit vectors: through templates, a task's own templates, or any function that writes prompts."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import tomllib

from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.labels.prompts import check_templates

from ..captions import shipped_facts
from ..symptoms import FACTS_OF
from .subjects import Subject, Vectors
from .tasks import JudgedTask

TEMPLATES = Path(__file__).with_name("templates.toml")

Weighted = tuple[str, float]  # a prompt and how much it counts
Prompts = Sequence[Sequence[Weighted]]  # for each label
Prompter = Callable[[JudgedTask], Prompts]
LabelPrompts = Callable[[Sequence[str]], Iterable[Iterable[str | Weighted]]]


def through(templates: Sequence[str]) -> Prompter:
    """Every label through the same templates.

    Raises:
        LabelError: a template without exactly one ``{}``.
    """
    check_templates(templates)
    return lambda task: [[(template.replace("{}", label), 1.0) for template in templates] for label in task.labels]


def by_task(path: Path, otherwise: Sequence[str]) -> Prompter:
    """Templates that a TOML file gives for a task's name, else for its domain, else ``otherwise``.

    Raises:
        UsageError: the file cannot be read or has another form.
        LabelError: a template without exactly one ``{}``.
    """
    try:
        table = msgspec.convert(tomllib.loads(path.read_text("utf-8")), dict[str, tuple[str, ...]])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}; accepted: lines of TOML, task-or-domain = ['a photo of a {{}}']") from None
    for templates in table.values():
        check_templates(templates)
    return lambda task: through(table.get(task.name) or table.get(task.domain) or otherwise)(task)


def written_by(function: LabelPrompts) -> Prompter:
    """What a function writes for a task's labels: for each label prompts, or pairs of a prompt and its weight."""

    def prompts(task: JudgedTask) -> Prompts:
        written = [
            [(entry, 1.0) if isinstance(entry, str) else (entry[0], float(entry[1])) for entry in entries]
            for entries in function(task.labels)
        ]
        if len(written) != len(task.labels):
            raise LabelError(f"{task.name}: prompts for {len(written)} labels; accepted: for all {len(task.labels)}")
        for label, entries in zip(task.labels, written):
            weights = [weight for _, weight in entries]
            if not np.isfinite(weights).all() or min(weights, default=-1) < 0 or sum(weights) <= 0:
                raise LabelError(f"{task.name}: no prompt with a positive weight for {label!r}")
        return written

    return prompts


def from_facts(templates: Sequence[str], symptoms: float = 0.0) -> Prompter:
    """A label's names through templates, and what its facts say is seen.

    Args:
        templates: with one ``{}`` each.
        symptoms: share of the attributes' codes for an encoder that was trained with them, beside the label's own
            name; at 0 the facts are statements, and names with synonyms and statements weigh one half each, not tuned.

    Labels without facts keep their names alone.
    """
    check_templates(templates)

    def prompts(labels: Sequence[str]) -> Iterable[Iterable[Weighted]]:
        known = {label.casefold(): facts for label, facts in shipped_facts().items()}
        for label in labels:
            facts = known.get(label.casefold())
            if facts and symptoms > 0:
                own = [(template.replace("{}", label), (1 - symptoms) / len(templates)) for template in templates]
                yield [*own, (FACTS_OF + label, symptoms)]
                continue
            names = [label, *(facts.synonyms if facts else ())]
            named = [template.replace("{}", name) for name in names for template in templates]
            seen = facts.prompts if facts else ()  # as the device says it
            yield [(text, 1 / len(named)) for text in named] + [(text, 1 / len(seen)) for text in seen]

    return written_by(prompts)


def choose(spec: str, subject: Subject, templates: Path | None) -> Prompter:
    """The prompter of a name.

    Args:
        spec: ``names`` (the encoder's own templates), ``tasks`` (templates by task or domain), ``facts`` (what is
            written from facts about the classes), or ``module:function``.
        subject: what is judged.
        templates: file for ``tasks``; None takes the one beside this module.

    Raises:
        UsageError: there is no such prompter.
    """
    if spec == "names":
        return through(subject.templates)
    if spec == "tasks":
        return by_task(templates or TEMPLATES, subject.templates)
    if spec == "facts":
        return from_facts(subject.templates, subject.symptoms)
    module, _, name = spec.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"no prompts are called {spec!r} ({error}); accepted: names, tasks, facts, module:function"
        raise UsageError(message) from None
    return written_by(function)


def label_vectors(prompts: Prompts, subject: Subject, known: dict[str, Vectors]) -> Vectors:
    """Weighted means of the prompts' unit vectors, at length 1: float32 (C, D).

    Args:
        prompts: of C labels.
        subject: embeds them.
        known: vectors of prompts that were embedded before, float32 (D,); those of new ones are added.
    """
    new = list(dict.fromkeys(text for entries in prompts for text, _ in entries if text not in known))
    if new:
        known.update(zip(new, subject.embed_texts(new)))
    means = [
        np.average([known[text] for text, _ in entries], axis=0, weights=[weight for _, weight in entries])
        for entries in prompts
    ]
    vectors = np.stack(means)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def plain(prompts: Mapping[str, Prompts], labels: Mapping[str, Sequence[str]]) -> list[object]:
    """Every task's labels with their prompts and weights as plain values, to be hashed."""
    return [[task, [[label, list(map(list, p))] for label, p in zip(labels[task], prompts[task])]] for task in prompts]
