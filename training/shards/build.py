"""The whole way from sources to shards; every step that takes long can be killed and goes on."""

from __future__ import annotations

import fcntl
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write
from agriclip_edge.labels.pack import Label, check_labels

from ..data import COPIES, SPLITS, ClassEntry, Task
from ..progress import StatusLine
from .candidates import Candidate, list_source
from .duplicates import (
    HELD_OUT,
    Duplicate,
    find_alike,
    find_duplicates,
    find_judged_copies,
    write_judged_copies,
    write_list,
)
from .fingerprint import Print, read_prints
from .index import INDEX, VERSION, Index, Sample, read_index
from .recipe import Recipe, Source, is_licence
from .sides import choose_sides
from .write import Entry, plan_shards, write_shards

DUPLICATES = "duplicates.csv"
WORK = ".work"  # fingerprints of all photos seen: a larger build in the same folder need not take them again


@dataclass(frozen=True)
class Pool:
    """All photos that can be used: those of test sets first.

    Attributes:
        candidates: N of them.
        prints: theirs.
        held_out: how many at the start are of test sets.
        tasks: what sources say of their tasks, by name.
        broken: photos that cannot be used, each with the reason.
        small: how many were below the least size.
    """

    candidates: tuple[Candidate, ...]
    prints: tuple[Print, ...]
    held_out: int
    tasks: dict[str, Task]
    broken: tuple[tuple[Candidate, str], ...]
    small: int


@dataclass(frozen=True)
class _Chosen:
    """Photos that stay: their numbers in the pool, their splits and groups, and how many were moved."""

    numbers: tuple[int, ...]
    split: tuple[str, ...]
    group: tuple[str, ...]
    moved: int

    def without(self, dropped: set[int]) -> _Chosen:
        """The others, on the sides where they are."""
        rows = [row for row in zip(self.numbers, self.split, self.group) if row[0] not in dropped]
        numbers, split, group = zip(*rows) if rows else ((), (), ())
        return _Chosen(numbers, split, group, self.moved)


@dataclass(frozen=True)
class Built:
    """Outcome of a build: all that its report tells.

    Attributes:
        recipe: what was asked for.
        index: what was written.
        pool: all photos that can be used.
        duplicates: those left out as copies, as numbers in the pool.
        splits: of each photo of the pool; ``held out`` for those of test sets, "" for those left out.
        entries: what the shards hold.
        moved: photos that went to another split than their source's, to stay with their group.
        seconds: each step took.
    """

    recipe: Recipe
    index: Index
    pool: Pool
    duplicates: tuple[Duplicate, ...]
    splits: tuple[str, ...]
    entries: tuple[Entry, ...]
    moved: int
    seconds: dict[str, float]


def build_shards(
    recipe: Recipe,
    output: Path,
    *,
    encoder: Path | None = None,
    allow_unlicensed: bool = False,
    workers: int = 2,
    console: Console | None = None,
) -> Built:
    """Build a collection, with its list of duplicates and its report; a build that was cut off goes on.

    Args:
        recipe: what goes in, and how.
        output: folder of the shards.
        encoder: bundle or training run that finds copies by their embeddings too.
        allow_unlicensed: whether a source that states no licence or no origin is let in.
        workers: threads that decode and write.
        console: where progress is shown; None shows none.

    Raises:
        UsageError: a source states no licence, or the folder holds another collection.
        DataError: a source is missing or not in the form of its kind.
    """
    from .report import write_report

    output.mkdir(parents=True, exist_ok=True)
    work = output / WORK
    work.mkdir(exist_ok=True)
    clock = _Clock(console or Console(quiet=True))
    with _only_one(work):
        for left in output.glob(".*.tmp"):  # of a killed run
            left.unlink()
        pool = _gather(recipe, work, allow_unlicensed, workers, clock)
        duplicates = _compare(recipe, pool, clock)
        chosen = _choose(recipe, pool, duplicates)
        if encoder is not None:
            alike = _compare_embeddings(recipe, pool, chosen, encoder, work, workers, clock)
            duplicates, chosen = (*duplicates, *alike), chosen.without({entry.dropped for entry in alike})
        entries = _entries(pool, chosen)
        tasks = _tasks(entries, pool.tasks)
        plan = plan_shards(entries, recipe)
        if (output / INDEX).exists() and read_index(output).plan != plan.sha256:
            raise UsageError(f"{output} holds another collection; give another --output, or remove its {INDEX}")
        with clock.stage("writing", len(entries)) as progress:
            shards = write_shards(plan, output, work, recipe, workers, progress)
        index = Index(VERSION, recipe.name, plan.sha256, tasks, tuple(shards))
        splits = _splits(pool, chosen)
        write_list(output / DUPLICATES, duplicates, pool.candidates, splits)
        write_judged_copies(output / COPIES.name, _judged_copies(recipe, pool, clock), pool.prints)
        built = Built(recipe, index, pool, duplicates, splits, entries, chosen.moved, clock.seconds)
        with clock.stage("report", 1) as progress:
            write_report(built, output)
            progress(1)
        with atomic_write(output / INDEX) as file:  # last: who finds an index finds a whole collection
            file.write(msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n")
    return built


def check_terms(candidates: Sequence[Candidate]) -> None:
    """Refuse photos that nobody says may be used.

    Raises:
        UsageError: a source, or a task of it, states no licence or no origin.
    """
    lacking = {
        (photo.source, photo.task, "licence" if not is_licence(photo.licence) else "origin")
        for photo in candidates
        if not is_licence(photo.licence) or not photo.origin
    }
    if lacking:
        named = [f"{source}, task {task}: no {what}" for source, task, what in sorted(lacking)]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        raise UsageError(f"{'; '.join(named[:3])}{more}; name it in the source, or give --allow-unlicensed")


def _gather(recipe: Recipe, work: Path, allow_unlicensed: bool, workers: int, clock: _Clock) -> Pool:
    """List and fingerprint everything."""
    with clock.stage("listing", len(recipe.against) + len(recipe.source)) as progress:
        held, _ = _list_all(recipe.against, progress)
        listed, tasks = _list_all(recipe.source, progress)
    if not allow_unlicensed:
        check_terms(listed)
    candidates = [*held, *listed]
    with clock.stage("fingerprints", len(candidates)) as progress:
        prints = read_prints(candidates, work / "prints.jsonl", workers, progress)
    broken = [(photo, own.error) for photo, own in zip(candidates, prints) if own.error]
    large = [not own.error and min(own.width, own.height) >= recipe.min_side for own in prints]
    chosen = [number for number, good in enumerate(large) if good]
    return Pool(
        tuple(candidates[number] for number in chosen),
        tuple(prints[number] for number in chosen),
        sum(large[: len(held)]),
        tasks,
        tuple(broken),
        len(candidates) - len(chosen) - len(broken),
    )


def _list_all(sources: Sequence[Source], progress: Callable[[int], None]) -> tuple[list[Candidate], dict[str, Task]]:
    found: list[Candidate] = []
    tasks: dict[str, Task] = {}
    for source in sources:
        listing = list_source(source)
        found += listing.candidates
        tasks |= {name: task for name, task in listing.tasks.items() if name not in tasks}
        progress(1)
    return found, tasks


def _compare(recipe: Recipe, pool: Pool, clock: _Clock) -> tuple[Duplicate, ...]:
    with clock.stage("duplicates", len(pool.candidates)) as progress:
        return tuple(find_duplicates(pool.candidates, pool.prints, pool.held_out, recipe, progress))


def _judged_copies(recipe: Recipe, pool: Pool, clock: _Clock) -> list[int]:
    with clock.stage("copies of judged photos", len(pool.candidates)) as progress:
        return find_judged_copies(pool.candidates, pool.prints, pool.held_out, recipe, progress)


def _choose(recipe: Recipe, pool: Pool, duplicates: Sequence[Duplicate]) -> _Chosen:
    """Those that are no copies, with their sides of the split."""
    dropped = {entry.dropped for entry in duplicates}
    numbers = tuple(number for number in range(pool.held_out, len(pool.candidates)) if number not in dropped)
    sides = choose_sides([pool.candidates[number] for number in numbers], recipe.val, recipe.seed)
    return _Chosen(numbers, sides.split, sides.group, sides.moved)


def _compare_embeddings(
    recipe: Recipe, pool: Pool, chosen: _Chosen, encoder: Path, work: Path, workers: int, clock: _Clock
) -> tuple[Duplicate, ...]:
    """Copies across the sides that only an encoder sees, as numbers in the pool."""
    from .embeddings import embed_candidates

    asked = [*range(pool.held_out), *chosen.numbers]
    with clock.stage("embeddings", len(asked)) as progress:
        vectors = embed_candidates([pool.candidates[number] for number in asked], encoder, work, workers, progress)
    judged = np.array([True] * pool.held_out + [split != "train" for split in chosen.split])
    alike = find_alike(vectors, judged, pool.held_out, recipe.cosine)
    return tuple(replace(entry, dropped=asked[entry.dropped], kept=asked[entry.kept]) for entry in alike)


def _splits(pool: Pool, chosen: _Chosen) -> tuple[str, ...]:
    """Where each photo of the pool is; of those left out, where its source had put it."""
    where = dict(zip(chosen.numbers, chosen.split))
    return tuple(
        HELD_OUT if number < pool.held_out else where.get(number, photo.split)
        for number, photo in enumerate(pool.candidates)
    )


def _entries(pool: Pool, chosen: _Chosen) -> tuple[Entry, ...]:
    found = []
    for number, split, group in zip(chosen.numbers, chosen.split, chosen.group):
        photo = pool.candidates[number]
        sample = Sample(
            label=photo.label,
            task=photo.task,
            split=split,
            source=photo.source,
            origin=photo.origin,
            licence=photo.licence,
            group=group,
            path=photo.name,
            width=0,
            height=0,
            sha256="",
            meta=dict(photo.meta),
        )
        found.append(Entry(photo, pool.prints[number], sample))
    return tuple(found)


def _tasks(entries: Sequence[Entry], known: Mapping[str, Task]) -> tuple[Task, ...]:
    """The tasks that the photos make up, with the counts of each class, sorted by name.

    Raises:
        LabelError: a task has two labels that differ by case alone, or one that is no text.
    """
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    terms: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for entry in entries:
        counts[entry.sample.task][entry.sample.label][entry.sample.split] += 1
        terms[entry.sample.task][0].add(entry.sample.licence)
        terms[entry.sample.task][1].add(entry.sample.origin)
    tasks = []
    for name in sorted(counts):
        labels = sorted(counts[name])
        check_labels([Label(label) for label in labels])
        said = known.get(name)
        tasks.append(
            Task(
                name=name,
                title=said.title if said else name.replace("-", " "),
                domain=said.domain if said else "",
                setting=said.setting if said else "",
                licence="; ".join(sorted(terms[name][0])),
                source="; ".join(sorted(terms[name][1])),
                commit=said.commit if said else "",
                upstream=said.upstream if said else "",
                classes=tuple(ClassEntry(label, *(counts[name][label][split] for split in SPLITS)) for label in labels),
            )
        )
    return tuple(tasks)


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    """Hold the folder for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        UsageError: another build has it.
    """
    with (work / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{work.parent} is being built by another process") from None
        yield


class _Clock:
    """Tells how far each step is, at what rate, and keeps how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Time a step; the function that it gives is called with the work done since the last call."""
        status, start = StatusLine(self._console), time.monotonic()
        done, found = 0, None

        def progress(more: int) -> None:
            nonlocal done, found
            done += more
            found = done if found is None else found  # what an earlier run had done says nothing of the rate
            rate = (done - found) / max(time.monotonic() - start, 1e-9)
            status.step(done, max(total, 1), f"{name}: {done:,} of {total:,}, {rate:,.0f}/s")

        yield progress
        self.seconds[name] = round(time.monotonic() - start, 2)
        status.say(f"{name}: {total:,} in {self.seconds[name]:.1f} s")
