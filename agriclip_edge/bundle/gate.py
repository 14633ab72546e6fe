"""The gate again on the device: what each image encoder makes of real photos, held against the float32 one's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BundleError, RuntimeUnavailable, UsageError
from ..labels.pack import LabelPack
from ..runtimes import Graph, check_unit
from ..runtimes.choice import open_variant, sift
from .limits import FLOAT, limits_of
from .manifest import Variant
from .reader import Bundle

if TYPE_CHECKING:
    import numpy.typing as npt

_BATCH = 16  # photos a run
_DOUBT = 2.0  # standard deviations of chance that a loss of right answers must exceed: some photos say little


@dataclass(frozen=True)
class Verdict:
    """What one variant does on this device.

    Attributes:
        variant: its name.
        runtime: what ran it.
        precision: what it computes in.
        mean_cosine: of its embeddings to the reference's; None when it gave none.
        p1_cosine: the first percentile of these cosines.
        least_cosine: the smallest.
        agreement: share of photos with the reference's best label; None without labels.
        accuracy: share of photos whose best label is right; None when it is not known what is right.
        refused: the figures that break a limit, or the error that kept it from running; empty when it passes.
    """

    variant: str
    runtime: str
    precision: str
    mean_cosine: float | None = None
    p1_cosine: float | None = None
    least_cosine: float | None = None
    agreement: float | None = None
    accuracy: float | None = None
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What `judge_variants` found.

    Attributes:
        reference: name of the variant that the others were held against.
        photos: how many.
        accuracy: the reference's; None when it is not known what is right.
        verdicts: on the others, in the manifest's order.
        not_run: why the rest cannot run here, by name.
    """

    reference: str
    photos: int
    accuracy: float | None
    verdicts: tuple[Verdict, ...]
    not_run: dict[str, str]


def judge_variants(
    bundle: Bundle,
    squares: Iterable[npt.NDArray[np.uint8]],
    threads: int,
    pack: LabelPack | None = None,
    truth: Sequence[int] | None = None,
) -> Report:
    """Run every image encoder that can run here on the same photos, and hold each against its limits.

    The limits of cosines hold as they are. Right answers that a variant loses count from where they cannot be chance:
    of 50 photos one is 2 points, and the limit is 1.

    Args:
        bundle: an open bundle.
        squares: preprocessed photos, uint8 (S, S, 3) each, that calibrated nothing; read once, some at a time.
        threads: cores to use.
        pack: labels to choose among; None compares embeddings alone.
        truth: the row in ``pack`` of each photo's right label, in order; None when nobody knows.

    Raises:
        UsageError: no photo, or the bundle has no float32 variant that runs here.
        BundleError: the reference itself is broken.
    """
    bundle.for_photos()
    not_run: dict[str, str] = {}
    reference, graphs, broken = _open(bundle, threads, not_run)
    vectors: dict[str, list[npt.NDArray[np.float32]]] = {variant.name: [] for variant, _ in graphs}
    dim = bundle.manifest.embedding_dim
    for batch in _batches(squares):
        for variant, graph in graphs:
            if variant.name in broken:
                continue
            try:
                found = check_unit(graph.run({variant.input.name: batch}), dim, f"image encoder {variant.name}")
            except (BundleError, RuntimeUnavailable) as error:
                if variant is reference:
                    raise
                broken[variant.name] = str(error)
                continue
            vectors[variant.name].append(found)
    if not vectors[reference.name]:
        raise UsageError("no photo could be used; accepted: at least one, better a hundred")
    expected = np.concatenate(vectors[reference.name])
    right = np.asarray(truth) if truth is not None and pack is not None else None
    answers = _answers(expected, pack)
    verdicts = []
    for variant in bundle.manifest.image:
        if variant.name in broken:
            refused = (broken[variant.name],)
            verdicts.append(Verdict(variant.name, variant.runtime, variant.precision, refused=refused))
        elif variant is not reference and variant.name in vectors:
            verdicts.append(_judge(variant, expected, np.concatenate(vectors[variant.name]), answers, pack, right))
    accuracy = None if right is None or answers is None else float((answers == right).mean())
    return Report(reference.name, len(expected), accuracy, tuple(verdicts), not_run)


def _open(
    bundle: Bundle, threads: int, not_run: dict[str, str]
) -> tuple[Variant, list[tuple[Variant, Graph]], dict[str, str]]:
    """The reference, every encoder that runs here, and why others are broken."""
    usable = sift(list(bundle.manifest.image), not_run)
    floats = [variant for variant in usable if variant.precision in FLOAT and variant.runtime != "tensorrt"]
    floats.sort(key=lambda variant: variant.runtime != "onnxruntime")
    if not floats:
        message = f"the bundle {bundle.manifest.name} has no float32 variant that runs here, to hold the others against"
        raise UsageError(message)
    graphs: list[tuple[Variant, Graph]] = []
    broken: dict[str, str] = {}
    for variant in usable:
        try:
            graphs.append((variant, open_variant(bundle, variant, threads)))
        except RuntimeUnavailable as reason:
            if variant is floats[0]:
                raise
            not_run[variant.name] = str(reason)
        except BundleError as error:
            if variant is floats[0]:
                raise
            broken[variant.name] = str(error)
    return floats[0], graphs, broken


def _batches(squares: Iterable[npt.NDArray[np.uint8]]) -> Iterable[npt.NDArray[np.uint8]]:
    some: list[npt.NDArray[np.uint8]] = []
    for square in squares:
        some.append(square)
        if len(some) == _BATCH:
            yield np.stack(some)
            some = []
    if some:
        yield np.stack(some)


def _answers(vectors: npt.NDArray[np.float32], pack: LabelPack | None) -> npt.NDArray[np.intp] | None:
    return None if pack is None else (vectors @ pack.embeddings.T).argmax(axis=1)


def _judge(
    variant: Variant,
    expected: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
    answers: npt.NDArray[np.intp] | None,
    pack: LabelPack | None,
    right: npt.NDArray[np.intp] | None,
) -> Verdict:
    cosines = (expected.astype(np.float64) * vectors).sum(axis=1)
    limits, refused = limits_of(variant), []
    figures = {
        "mean_cosine": float(cosines.mean()),
        "p1_cosine": float(np.percentile(cosines, 1)),
        "least_cosine": float(cosines.min()),
    }
    for name, found in figures.items():
        if name in limits and not found >= limits[name]:  # NaN fails too
            refused.append(f"{name} is {found:.4f}; accepted: at least {limits[name]}")
    own, accuracy = _answers(vectors, pack), None
    if own is not None and answers is not None and right is not None:
        accuracy = float((own == right).mean())
        lost = int(((answers == right) & (own != right)).sum())
        gained = int(((answers != right) & (own == right)).sum())
        beyond = 100 * (lost - gained - _DOUBT * math.sqrt(lost + gained)) / len(right)
        if "drop_task" in limits and beyond > limits["drop_task"]:
            drop = 100 * (lost - gained) / len(right)
            refused.append(f"accuracy drops by {drop:.1f} points; accepted: at most {limits['drop_task']}")
    agreement = float((own == answers).mean()) if own is not None else None
    return Verdict(
        variant=variant.name,
        runtime=variant.runtime,
        precision=variant.precision,
        **figures,
        agreement=agreement,
        accuracy=accuracy,
        refused=tuple(refused),
    )
