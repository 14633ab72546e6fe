"""The few-shot protocol: every method learns from the same shots and is judged on the same pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from agriclip_edge.errors import UsageError
from agriclip_edge.files import atomic_write

from .labelled import STORED, LabelledScene, Mask
from .record import Draw, FewShotProtocol, Record, Subject
from .scores import Labels, score
from .splits import apart, blocked, few_shot, limited
from .windows import Pixels

Split = Literal["stored", "blocked", "random"]

MOST_TEST_PIXELS = 6000  # as in the tables of floors: more of them move no first digit
APART = 6  # pixels: no window of 11 round a test pixel of a blocked split holds a shot

Progress = Callable[[float, float, str], None]


class Method(Protocol):
    """What is judged."""

    @property
    def name(self) -> str:
        """Of its row in the table."""
        ...

    @property
    def settings(self) -> str:
        """All that its figures depend on besides the scene: draws kept under other settings are not its own."""
        ...

    def fit_predict(self, scene: LabelledScene, shots: Pixels, labels: Labels, test: Pixels, seed: int) -> Labels:
        """Learn from shots, int (n, 2) with labels (n,) from 1 on, and name the test pixels, int (m, 2): int (m,)."""
        ...


def judge(
    scene: LabelledScene,
    methods: Sequence[Method],
    protocol: Split,
    shots: Sequence[int],
    seeds: Sequence[int],
    progress: Progress,
    folder: Path | None = None,
    most_test_pixels: int | None = MOST_TEST_PIXELS,
    distance: int | None = None,
) -> Record:
    """Judge methods side by side.

    No method is shown a test pixel's label, and none of them is chosen by one.

    Args:
        scene: what they are judged on.
        methods: with different names.
        protocol: ``stored``: the split that comes with the scene; ``blocked``: halves of the scene's places, a new
            halving for each seed; ``random``: shots from all labelled pixels, which leaks from windows that overlap.
        shots: numbers of them a class.
        seeds: of the draws.
        progress: told how far it is.
        folder: keeps each method's draw as it ends, so that a run that was cut off goes on; None keeps nothing.
        most_test_pixels: a fixed random choice of them where there are more; None takes all.
        distance: pixels from a shot within which no pixel of its tile is tested; None is `APART` for ``blocked``, and
            0 for the others.

    Raises:
        UsageError: the scene has no such split, or nothing is left to test.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names) or not (names and shots and seeds):
        raise UsageError("a few-shot run needs methods of different names, numbers of shots, and seeds")
    if distance is None:
        distance = APART if protocol == "blocked" else 0
    asked = FewShotProtocol(
        scene=scene.scene.name,
        scene_sha256=fingerprint(scene),
        split=protocol,
        shots=tuple(shots),
        seeds=tuple(seeds),
        most_test_pixels=most_test_pixels,
        distance=distance,
    )
    subjects = tuple(Subject(method.name, method.settings) for method in methods)
    total, done, draws = len(seeds) * len(shots) * len(methods), 0, []
    for seed in seeds:
        train, test = halves(scene, protocol, seed)
        for k in shots:
            drawn, labels, pixels = few_shot(scene.labels, train, test, k, seed)
            pixels = limited(apart(drawn, pixels, scene.scene.tile, distance), most_test_pixels)
            if not len(pixels):
                raise UsageError(f"no test pixel lies {distance} pixels from {k} shots a class; accepted: less")
            for method, subject in zip(methods, subjects):
                progress(done, total, f"{method.name}, {k} shots, draw {seed}")
                kept = None if folder is None else folder / "draws" / f"{_key(asked, subject, k, seed)}.json"
                draws.append(_draw(scene, method, k, seed, drawn, labels, pixels, kept))
                done += 1
    progress(total, total, "judged")
    return Record(protocol=asked, classes=scene.classes, methods=subjects, draws=tuple(draws))


def halves(scene: LabelledScene, protocol: Split, seed: int) -> tuple[Mask, Mask]:
    """Masks bool (H, W) of labelled pixels to train on and to test on; for ``random`` both are all of them.

    Raises:
        UsageError: the scene has no such split.
    """
    if protocol == "random":
        return scene.labels > 0, scene.labels > 0
    if protocol == "stored":
        if STORED not in scene.splits:
            raise UsageError(f"{scene.scene.name} comes with no split; accepted: blocked, random")
        return scene.splits[STORED]
    if protocol != "blocked":
        raise UsageError(f"no protocol {protocol!r}; accepted: stored, blocked, random")
    if scene.groups is None:
        raise UsageError(f"{scene.scene.name} names no places; accepted: stored, random")
    return blocked(scene.labels, scene.groups, seed)


def fingerprint(scene: LabelledScene) -> str:
    """sha256 of all that a method could see or be judged by."""
    arrays: list[npt.NDArray[Any]] = [
        scene.labels,
        scene.scene.tile,
        *(a for a in (scene.groups, scene.rgb) if a is not None),
    ]
    arrays += [mask for name in sorted(scene.splits) for mask in scene.splits[name]]
    arrays += [array for m in scene.scene.modalities for array in (m.values, m.valid)]
    digest = hashlib.sha256("\n".join(scene.classes).encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _key(asked: FewShotProtocol, subject: Subject, k: int, seed: int) -> str:
    one = msgspec.structs.replace(asked, shots=(k,), seeds=(seed,))  # another seed more changes no draw
    return hashlib.sha256(msgspec.json.encode((one, subject))).hexdigest()[:32]


def _draw(
    scene: LabelledScene,
    method: Method,
    k: int,
    seed: int,
    shots: Pixels,
    labels: Labels,
    test: Pixels,
    kept: Path | None,
) -> Draw:
    if kept is not None and kept.is_file():
        try:
            return msgspec.json.decode(kept.read_bytes(), type=Draw)
        except msgspec.MsgspecError as error:
            raise UsageError(f"{kept} is no draw: {error}; delete it") from None
    predicted = method.fit_predict(scene, shots, labels, test, seed)
    found = score(predicted, scene.labels[tuple(test.T)], len(scene.classes))
    by_class = tuple(share if share == share else None for share in found.by_class)
    draw = Draw(method.name, k, seed, len(shots), len(test), found.overall, found.average, found.kappa, by_class)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as file:
            file.write(msgspec.json.encode(draw))
    return draw
