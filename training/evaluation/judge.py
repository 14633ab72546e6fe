"""From an encoder and tasks to a record: every photo is judged, and every figure stands beside chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agriclip_edge.errors import UsageError

from .metrics import Indices, half_width, interval, majority, mean_per_class, normalised_gain, resample
from .prompts import Prompter, Prompts, label_vectors, plain
from .protocol import ADAPTED, ZERO_SHOT, Protocol, sha256_of
from .record import ALL, FORMAT, SEEN, UNSEEN, Evaluation, Mean, Score, TaskRecord
from .seen import Synonyms, count_seen
from .shots import (
    PLACE,
    Predictions,
    Support,
    adapted,
    linear_probe,
    mean_with_text,
    nearest_mean,
    neighbours,
    seed_of,
    taught,
)
from .subjects import Subject, Vectors
from .tasks import JudgedTask
from .vectors import EvaluationError, embed_photos

Progress = Callable[[int, int, str], None]  # photos done, photos in all, what now


@dataclass(frozen=True)
class JudgeConfig:
    """How a model is judged beside zero-shot; none of it is tuned on any task."""

    few_shot: bool = False  # nearest neighbours, class means, class means with text, as a device is taught
    probe: bool = False
    shots: tuple[int, ...] = (1, 5, 10)
    draws: int = 20
    neighbours: int = 5
    seed: int = 0
    bootstrap: int = 2000

    @property
    def needs_support(self) -> bool:
        """Whether support photos are needed."""
        return self.few_shot or self.probe

    @classmethod
    def tiny(cls) -> JudgeConfig:
        """Everything, in a second."""
        return cls(few_shot=True, probe=True, shots=(1, 3), draws=3, neighbours=3, bootstrap=100)


@dataclass(frozen=True)
class Given:
    """What is asked, and what is known about it.

    Attributes:
        name: of the collection, or of the tasks.
        split: which photos are judged.
        support: which photos shots are drawn from; empty when none are.
        tasks: the tasks.
        trained_on: collections that the model was trained on.
        trained: their labels in lower case; None when it is not known what the model was trained on.
        synonyms: further wordings of labels.
    """

    name: str
    split: str
    support: str
    tasks: Sequence[JudgedTask]
    trained_on: tuple[str, ...] = ()
    trained: frozenset[str] | None = None
    synonyms: Synonyms | None = None


def judge_subject(
    subject: Subject,
    given: Given,
    prompter: Prompter,
    prompts_name: str,
    config: JudgeConfig = JudgeConfig(),
    kept: Path | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Evaluation:
    """Judge an encoder on tasks.

    Args:
        subject: the encoder.
        given: the tasks.
        prompter: writes the labels' prompts.
        prompts_name: its name, for people.
        config: what is judged beside zero-shot.
        kept: folder where embeddings of photos are kept by hash; None keeps none.
        progress: told how far it is.

    Raises:
        DataError: a photo cannot be decoded.
        EvaluationError: the encoder did not answer for every photo.
        LabelError: labels cannot be embedded.
        UsageError: shots are wanted and no task has support photos, or names of tasks are not unique.
    """
    tasks = given.tasks
    if len({task.name for task in tasks}) != len(tasks):
        raise UsageError("two tasks have the same name; accepted: tasks of different names")
    if config.needs_support and not any(len(task.support) for task in tasks):
        raise UsageError(f"{given.name} has no support photos; few shots and probe need a split that has some")
    total = sum(len(task.photos) + config.needs_support * len(task.support) for task in tasks)
    done, known = 0, dict[str, Vectors]()
    prompts: dict[str, Prompts] = {}
    records = []
    for task in tasks:
        prompts[task.name] = prompter(task)
        texts = label_vectors(prompts[task.name], subject, known)

        def step(count: int, before: int = done, name: str = task.name) -> None:
            progress(before + count, total, name)

        vectors = embed_photos(subject, task.photos, kept, step)
        done += len(task.photos)
        support = None
        if config.needs_support and len(task.support):
            shots = embed_photos(subject, task.support, kept, partial(step, before=done))
            support = Support(shots, task.support.label, len(task.labels))
            done += len(task.support)
        seen = count_seen(task.labels, given.trained, given.synonyms or {}) if given.trained is not None else None
        records.append(_judge_task(task, vectors, texts, support, seen, config))
    protocol = _protocol(subject, given, prompts, config)
    return Evaluation(
        format=FORMAT,
        subject=subject.name,
        tasks_of=given.name,
        prompts=prompts_name,
        protocol=protocol,
        protocol_sha256=protocol.sha256,
        trained_on=given.trained_on,
        tasks=tuple(records),
        means=tuple(_means(records, config)),
    )


def _protocol(subject: Subject, given: Given, prompts: Mapping[str, Prompts], config: JudgeConfig) -> Protocol:
    labels = {task.name: task.labels for task in given.tasks}
    drawn = config.needs_support
    return Protocol(
        labels=sha256_of([[name, list(words)] for name, words in labels.items()]),
        prompts=sha256_of(plain(prompts, labels)),
        preprocessing=subject.preprocessing,
        model=subject.model,
        text_encoder=subject.text_encoder,
        photos=sha256_of([task.photos.sha256 for task in given.tasks]),
        split=given.split,
        support=given.support if drawn else "",
        support_photos=sha256_of([task.support.sha256 for task in given.tasks]) if drawn else "",
        shots=config.shots if drawn else (),
        draws=config.draws if drawn else 0,
        neighbours=config.neighbours if drawn else 0,
        seed=config.seed,
        bootstrap=config.bootstrap,
    )


def _judge_task(
    task: JudgedTask, vectors: Vectors, texts: Vectors, support: Support | None, seen: int | None, config: JudgeConfig
) -> TaskRecord:
    everything = np.arange(len(task.labels))
    zero_shot = (vectors @ texts.T).argmax(axis=1)
    scores = [_score(ZERO_SHOT, zero_shot[np.newaxis], task, everything, "", config)]
    if support is not None:
        predicted = adapted(vectors, support, texts, config.draws, seed_of(task.name, config.seed))
        short = f"{len(support.label)} photos for {PLACE}" if len(support.label) < PLACE else ""
        scores.append(_score(ADAPTED, predicted, task, everything, short, config))
    if support is not None and len(support.present) > 1:
        scores += _few(task, vectors, texts, support, config)
    confusion = np.zeros((len(task.labels), len(task.labels)), np.int64)
    np.add.at(confusion, (task.photos.label, zero_shot), 1)
    actual = tuple(task.photos.label.tolist())
    return TaskRecord(task.name, task.labels, seen, actual, tuple(map(tuple, confusion.tolist())), tuple(scores))


def _few(task: JudgedTask, vectors: Vectors, texts: Vectors, support: Support, config: JudgeConfig) -> list[Score]:
    """Scores of all methods that need labelled photos.

    A label without any cannot be answered from photos: it is not offered and its photos are left out, except beside
    its text.
    """
    seed, offered, everything = seed_of(task.name, config.seed), support.present, np.arange(len(task.labels))
    absent = [task.labels[row] for row in np.setdiff1d(everything, offered)]
    without = [f"{label}: no support photo, left out" for label in absent]
    scores = []
    if config.few_shot:
        k = config.neighbours
        voted = neighbours(vectors, support, k)
        scores.append(_score(f"knn-{k}", voted, task, offered, "; ".join(without), config))
        for shots in config.shots:
            short = [
                f"{task.labels[row]}: {support.counts[row]} for {shots}"
                for row in offered
                if support.counts[row] < shots
            ]
            predicted = nearest_mean(vectors, support, shots, config.draws, seed)
            scores.append(_score(f"{shots}-shot", predicted, task, offered, "; ".join(without + short), config))
        for shots in config.shots:
            short = [f"{task.labels[row]}: {n} for {shots}" for row, n in enumerate(support.counts) if n < shots]
            predicted = mean_with_text(vectors, support, texts, shots, config.draws, seed)
            scores.append(_score(f"text+{shots}-shot", predicted, task, everything, "; ".join(short), config))
            predicted = taught(vectors, support, texts, shots, config.draws, seed)
            scores.append(_score(f"teach-{shots}-shot", predicted, task, everything, "; ".join(short), config))
    if config.probe:
        predicted, strength = linear_probe(vectors, support, seed)
        scores.append(_score("probe", predicted, task, offered, "; ".join([*without, f"C = {strength:g}"]), config))
    return scores


def _score(
    method: str, predicted: Predictions, task: JudgedTask, offered: Indices, note: str, config: JudgeConfig
) -> Score:
    """The figures of answers int64 (draws, N), with the labels that could be answered."""
    actual = task.photos.label
    if predicted.ndim != 2 or predicted.shape[1] != len(task.photos):
        raise EvaluationError(f"{task.name}: {predicted.shape[1:]} answers for {len(task.photos)} photos")
    judged = np.isin(actual, offered)
    right = (predicted == actual).mean(axis=0)
    shares, labels = right[judged], actual[judged]
    if len(labels) + int((~judged).sum()) != len(task.photos):  # what is judged and what is left out is all
        raise EvaluationError(f"{task.name}: {len(labels)} judged of {len(task.photos)} photos")
    by_draw = [mean_per_class((row == labels).astype(np.float64), labels) for row in predicted[:, judged]]
    accuracy, chance = mean_per_class(shares, labels), 1 / len(offered)
    low, high = interval(resample(shares, labels, config.bootstrap, config.seed))
    return Score(
        method=method,
        photos=len(labels),
        left_out=len(task.photos) - len(labels),
        classes=len(offered),
        chance=chance,
        majority=majority(labels),
        accuracy=accuracy,
        low=low,
        high=high,
        top1=float(shares.mean()),
        gain=normalised_gain(accuracy, chance),
        by_draw=tuple(by_draw),
        half_width=half_width(by_draw),
        right=tuple(float(share) if kept else None for share, kept in zip(right, judged)),
        note=note,
    )


def _means(records: Sequence[TaskRecord], config: JudgeConfig) -> list[Mean]:
    groups = {ALL: list(records)}
    if any(record.seen_labels is not None for record in records):
        groups |= {SEEN: [r for r in records if r.seen], UNSEEN: [r for r in records if not r.seen]}
    methods = dict.fromkeys(score.method for record in records for score in record.scores)
    return [
        _mean(method, group, pairs, config)
        for method in methods
        for group, members in groups.items()
        if (pairs := [(record, score) for record in members if (score := record.score(method)) is not None])
    ]


def _mean(method: str, group: str, pairs: Sequence[tuple[TaskRecord, Score]], config: JudgeConfig) -> Mean:
    scores = [score for _, score in pairs]
    drawn = [
        resample(*record.judged(score), config.bootstrap, config.seed + row)
        for row, (record, score) in enumerate(pairs)
    ]
    low, high = interval(np.mean(drawn, axis=0))
    by_draw = np.mean([score.by_draw for score in scores], axis=0).tolist()

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return Mean(
        method=method,
        group=group,
        tasks=len(pairs),
        photos=sum(score.photos for score in scores),
        left_out=sum(score.left_out for score in scores),
        chance=mean([score.chance for score in scores]),
        majority=mean([score.majority for score in scores]),
        accuracy=mean([score.accuracy for score in scores]),
        low=low,
        high=high,
        top1=mean([score.top1 for score in scores]),
        gain=mean([score.gain for score in scores]),
        draws=len(by_draw),
        half_width=half_width(by_draw),
    )
