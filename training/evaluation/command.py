"""What the command line asks for, as a subject and its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agriclip_edge.errors import UsageError

from ..config import EncoderConfig
from ..data import read_collection
from .everyday import NAME, everyday_task
from .judge import Given
from .seen import known_synonyms, trained_labels
from .subjects import (
    Subject,
    Vectors,
    bundle_subject,
    clip_subject,
    open_clip_subject,
    run_subject,
    start_subject,
    text_sha256,
)
from .tasks import JudgedTask, collection_tasks, path_task, support_of
from .vectors import embed_photos

START = Path("imagenet")  # in place of a run: the encoder that there is before any training


def open_subject(
    checkpoint: Path | None, bundle: Path | None, open_clip: str | None, pretrained: str | None, variant: str | None
) -> Subject:
    """The one encoder that is named.

    Raises:
        UsageError: none or several are named, or it cannot be opened.
    """
    if sum(choice is not None for choice in (checkpoint, bundle, open_clip)) != 1:
        raise UsageError("name one model: --checkpoint RUN, --bundle PATH, or --open-clip NAME with --pretrained")
    if variant is not None and bundle is None:
        raise UsageError("--variant is for --bundle")
    if (open_clip is None) != (pretrained is None):
        raise UsageError("--open-clip and --pretrained go together; accepted: both or neither")
    if bundle is not None:
        return bundle_subject(bundle, variant)
    if open_clip is not None:
        return open_clip_subject(open_clip, pretrained)
    from ..text_tower import TextTower, minilm_folder

    assert checkpoint is not None
    if has_own_text(checkpoint):
        return clip_subject(checkpoint)
    folder = minilm_folder()
    if checkpoint == START:
        return start_subject(TextTower(folder), text_sha256(folder), EncoderConfig().input_size)
    return run_subject(checkpoint, TextTower(folder), text_sha256(folder))


def has_own_text(run: Path) -> bool:
    """Whether a run's model carries its own text tower, as those of contrastive training do."""
    from ..checkpoint import read_checkpoint

    path = run / "model.safetensors"
    return path.is_file() and "architecture" in read_checkpoint(path)[1]


def ask(
    subject: Subject,
    data: Path | None,
    collection: str | None,
    paths: Sequence[Path],
    everyday: bool,
    split: str | None,
    support: str | None,
    shots: bool,
    trained_on: Sequence[str],
) -> Given:
    """The tasks that are named: of one collection, of paths, or the everyday photos.

    Args:
        subject: may know what it was trained on.
        data: root of the collections; without it, what was trained on stays unknown.
        collection: name of one; None where another choice is made.
        paths: folders or tars of one task each.
        everyday: judge the everyday photos.
        split: None takes ``query`` where there are such photos, else ``val``.
        support: where shots come from; None takes ``support`` for ``query`` photos, else ``train``.
        shots: whether any are wanted.
        trained_on: collections; none takes what the subject says.

    Raises:
        DataError: a task cannot be read.
        UsageError: not exactly one choice is made.
    """
    if sum((collection is not None, bool(paths), everyday)) != 1:
        raise UsageError("choose one: --collection NAME, --task PATH (several times if wanted), or --everyday")
    if support is not None and not shots:
        raise UsageError("--support is for --few-shot and --probe")
    tasks: list[JudgedTask]
    if collection is not None:
        if data is None:
            raise UsageError("--collection needs --data, the folder that holds it")
        opened, name = read_collection(data / collection), collection
        queries = any(entry.query for task in opened.tasks for entry in task.classes)
        split = split or ("query" if queries else "val")
        support = (support or support_of(split)) if shots else None
        tasks = collection_tasks(opened, split, support)
    elif paths:
        read = [path_task(path, split, support, shots) for path in paths]
        tasks, name = [task for task, _ in read], "+".join(task.name for task, _ in read)
        splits = {found for _, found in read}
        if len(splits) > 1:
            raise UsageError(f"the tasks have different splits, {', '.join(sorted(splits))}; choose one with --split")
        split = splits.pop()
        support = (support or support_of(split)) if shots else None
    else:
        if shots:
            raise UsageError("the everyday photos have no support photos: few shots and probe do not apply")
        tasks, name = [everyday_task()], NAME
    known = tuple(trained_on or subject.trained_on)
    trained = trained_labels(data, known) if data is not None and known else None
    synonyms = known_synonyms() if trained is not None else None
    return Given(name, split or "", support or "", tasks, known, trained, synonyms)


def kept_vectors(subject: Subject, given: Given, kept: Path) -> Vectors:
    """Embeddings of all judged photos in the order of the tasks, as judging has kept them: float32 (N, D)."""
    return np.concatenate([embed_photos(subject, task.photos, kept) for task in given.tasks])
