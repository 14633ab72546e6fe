"""Classes without a shot, told by their texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from ..evaluation.metrics import half_width
from .labelled import LabelledScene
from .methods import Diffclip
from .protocol import Split, halves
from .splits import few_shot, limited

MOST_TEST_PIXELS = 6000


class Unseen(msgspec.Struct, frozen=True):
    """One method with k shots of all classes but the one that is judged.

    Attributes:
        method: its name.
        k: shots of each other class.
        draws: number of them.
        area: under the ROC curve, mean over classes and draws; 0.5 is chance.
        half_width: of the 95 % interval of that mean over draws.
        by_class: means over draws; None where a class has no test pixel.
    """

    method: str
    k: int
    draws: int
    area: float
    half_width: float
    by_class: tuple[float | None, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    classes: tuple[str, ...]
    rows: tuple[Unseen, ...]


def unseen_path(folder: Path, scene: str, split: str) -> Path:
    """Where `judge_unseen` writes."""
    return folder / f"unseen-{scene}-{split}.json"


def read_unseen(path: Path) -> tuple[Unseen, ...]:
    """What `judge_unseen` wrote; nothing where there is no such file.

    Raises:
        UsageError: it is broken.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).rows
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is no table of classes without a shot: {error}") from None


def judge_unseen(
    scene: LabelledScene,
    methods: Sequence[Diffclip],
    split: Split,
    shots: Sequence[int],
    seeds: Sequence[int],
    folder: Path,
) -> str:
    """Write ``unseen-SCENE-SPLIT.json``; returns the same as a table.

    Args:
        scene: what they are judged on.
        methods: with and without language.
        split: see `training.diffclip.protocol.judge`.
        shots: numbers of them a class.
        seeds: of the draws.
        folder: made if it is not there.
    """
    rows = []
    for k in shots:
        for method in methods:
            areas = []
            for seed in seeds:
                drawn, labels, pixels = few_shot(scene.labels, *halves(scene, split, seed), k, seed)
                areas.append(method.unseen(scene, drawn, labels, limited(pixels, MOST_TEST_PIXELS)))
            table = np.array(areas, float)  # (draws, K), NaN where there is none
            there = ~np.isnan(table).all(axis=0)
            means = np.nanmean(table[:, there], axis=1)
            by_class = tuple(float(np.nanmean(c)) if ok else None for c, ok in zip(table.T, there))
            width = half_width([float(mean) for mean in means])
            rows.append(Unseen(method.name, k, len(seeds), float(means.mean()), width, by_class))
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(unseen_path(folder, scene.scene.name, split)) as file:
        file.write(msgspec.json.format(msgspec.json.encode(_File(tuple(scene.classes), tuple(rows))), indent=1) + b"\n")
    lines = ["A class without any shot, by its text: area under the ROC curve, 0.5 is chance", ""]
    lines += [f"| shots of the others | {' | '.join(['method', 'mean', *scene.classes])} |"]
    lines += ["|---" * (3 + len(scene.classes)) + "|"]
    for row in rows:
        cells = ("–" if area is None else f"{area:.2f}" for area in row.by_class)
        lines.append(f"| {row.k} | {row.method} | {row.area:.3f}±{row.half_width:.3f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
