"""What the few-shot protocol found, as it is kept and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from ..evaluation.metrics import half_width

FORMAT = "agriclip-fewshot/1"
FIGURES = ("overall", "average", "kappa")


class FewShotProtocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the draws depend on.

    Attributes:
        scene: its name.
        scene_sha256: of its values, labels, places and splits.
        split: ``stored``, ``blocked`` or ``random``.
        shots: numbers of them a class.
        seeds: of the draws.
        most_test_pixels: a fixed random choice of them where there are more; None for all.
        distance: pixels from a shot within which no pixel of its tile is tested.
    """

    scene: str
    scene_sha256: str
    split: str
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    most_test_pixels: int | None
    distance: int


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method's name, and its settings in words."""

    name: str
    settings: str


class Draw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One method on one draw of shots; shares are 0 to 1.

    Attributes:
        method: its name.
        k: shots asked for, a class.
        seed: of the draw.
        shots: drawn in all: fewer than k times the classes where a class has fewer.
        tested: pixels judged.
        overall: accuracy over pixels (OA).
        average: mean over classes of their accuracy (AA).
        kappa: Cohen's.
        by_class: accuracy of each class; None where it has no test pixel.
    """

    method: str
    k: int
    seed: int
    shots: int
    tested: int
    overall: float
    average: float
    kappa: float
    by_class: tuple[float | None, ...]


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method over all draws of k shots: mean and standard deviation of each of `FIGURES`, and means by class."""

    method: str
    k: int
    draws: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    by_class: tuple[float | None, ...]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A method less another on the same draws.

    Attributes:
        method: whose gain it is.
        against: the other.
        k: shots a class.
        draws: number of them.
        gain: mean of each of `FIGURES`.
        half_width: of the 95 % interval of that mean over draws (Student's t).
    """

    method: str
    against: str
    k: int
    draws: int
    gain: tuple[float, float, float]
    half_width: tuple[float, float, float]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Methods on one scene.

    Attributes:
        protocol: all that the draws depend on.
        classes: names of the K classes.
        methods: in the order of the table.
        draws: one for each method, number of shots and seed.
        means: of the draws, filled in by `write_record`.
        differences: of the pairs asked for, filled in by `write_record`.
        format: of this record.
    """

    protocol: FewShotProtocol
    classes: tuple[str, ...]
    methods: tuple[Subject, ...]
    draws: tuple[Draw, ...]
    means: tuple[Mean, ...] = ()
    differences: tuple[Difference, ...] = ()
    format: str = FORMAT

    def of(self, method: str, k: int) -> list[Draw]:
        """The draws of a method, in the order of the seeds.

        Raises:
            UsageError: there are none.
        """
        found = sorted((d for d in self.draws if (d.method, d.k) == (method, k)), key=lambda draw: draw.seed)
        if not found:
            names = ", ".join(subject.name for subject in self.methods)
            raise UsageError(f"{method!r} was not judged with {k} shots; judged were {names}")
        return found


def mean(record: Record, method: str, k: int) -> Mean:
    """A method's figures over its draws."""
    draws = record.of(method, k)
    values = np.array([[getattr(draw, name) for name in FIGURES] for draw in draws])
    spread = values.std(axis=0, ddof=1) if len(draws) > 1 else np.zeros(len(FIGURES))
    by_class = []
    for shares in zip(*(draw.by_class for draw in draws)):
        there = [share for share in shares if share is not None]
        by_class.append(float(np.mean(there)) if there else None)
    return Mean(method, k, len(draws), _three(values.mean(axis=0)), _three(spread), tuple(by_class))


def difference(record: Record, method: str, against: str, k: int) -> Difference:
    """What a method gains over another on the same draws.

    Raises:
        UsageError: one of them was not judged.
    """
    pairs = list(zip(record.of(method, k), record.of(against, k), strict=True))
    gains = np.array([[getattr(a, name) - getattr(b, name) for name in FIGURES] for a, b in pairs])
    widths = np.array([half_width(list(column)) for column in gains.T])
    return Difference(method, against, k, len(pairs), _three(gains.mean(axis=0)), _three(widths))


def write_record(record: Record, folder: Path, pairs: Sequence[tuple[str, str]] = ()) -> Path:
    """Write ``fewshot-SCENE-SPLIT.json`` and the same as a table in ``.md``, and return the first's path.

    Args:
        record: draws.
        folder: made if it is not there.
        pairs: a method and the one its gain is over.
    """
    whole = msgspec.structs.replace(
        record,
        means=tuple(mean(record, subject.name, k) for k in record.protocol.shots for subject in record.methods),
        differences=tuple(difference(record, a, b, k) for k in record.protocol.shots for a, b in pairs),
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"fewshot-{record.protocol.scene}-{record.protocol.split}.json"
    with atomic_write(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")
    with atomic_write(path.with_suffix(".md")) as file:
        file.write(markdown(whole).encode())
    return path


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        UsageError: it is none.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no few-shot record: {error}") from None
    if record.format != FORMAT:
        raise UsageError(f"{path} is of the format {record.format!r}; accepted: {FORMAT}")
    return record


def markdown(record: Record) -> str:
    """Tables of a written record: methods by shots, gains of pairs, and each class's accuracy."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: Record) -> Iterator[str]:
    asked = record.protocol
    tested = sorted({draw.tested for draw in record.draws})
    pixels = f"{tested[0]:,}" if len(tested) == 1 else f"{tested[0]:,} to {tested[-1]:,}"
    yield (
        f"{asked.scene}, {asked.split} split, {len(asked.seeds)} draws, {pixels} test pixels, none within "
        f"{asked.distance} pixels of a shot: OA / AA / kappa ×100, mean ± standard deviation over draws"
    )
    yield ""
    yield "| method | " + " | ".join(f"{k}-shot" for k in asked.shots) + " |"
    yield "|---" * (1 + len(asked.shots)) + "|"
    by = {(m.method, m.k): m for m in record.means}
    for subject in record.methods:
        yield f"| {subject.name} | " + " | ".join(_figures(by[subject.name, k]) for k in asked.shots) + " |"
    if record.differences:
        yield ""
        yield "Gain on the same draws, OA / AA / kappa points, ± half the 95 % interval of the mean over draws:"
        yield ""
        yield "| method | over | " + " | ".join(f"{k}-shot" for k in asked.shots) + " |"
        yield "|---" * (2 + len(asked.shots)) + "|"
        pairs = dict.fromkeys((d.method, d.against) for d in record.differences)
        gains = {(d.method, d.against, d.k): d for d in record.differences}
        for a, b in pairs:
            yield f"| {a} | {b} | " + " | ".join(_gains(gains[a, b, k]) for k in asked.shots) + " |"
    for k in asked.shots:
        yield ""
        yield f"Accuracy of each class, %, {k}-shot:"
        yield ""
        yield "| method | " + " | ".join(record.classes) + " |"
        yield "|---" * (1 + len(record.classes)) + "|"
        for subject in record.methods:
            shares = by[subject.name, k].by_class
            cells = ("–" if share is None else f"{100 * share:.1f}" for share in shares)
            yield f"| {subject.name} | " + " | ".join(cells) + " |"


def _figures(row: Mean) -> str:
    return " / ".join(f"{100 * a:.1f}±{100 * b:.1f}" for a, b in zip(row.mean, row.deviation))


def _gains(row: Difference) -> str:
    return " / ".join(f"{100 * a:+.1f}±{100 * b:.1f}" for a, b in zip(row.gain, row.half_width))


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
