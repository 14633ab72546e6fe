"""Throughput on a folder of 12-megapixel JPEGs, beside a plain Pillow and ONNX Runtime loop over the same model."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import agriclip_edge
from agriclip_edge import Answer
from agriclip_edge.imaging.decode import decode
from agriclip_edge.parallel import ordered_map

from .camera import CAMERA_SIZE, HOW, make_folder, sizes_in_bytes
from .environment import describe, versions
from .plain import PlainClassifier
from .record import Detail, Measurement
from .rounds import Step, interleave, ratios

_OURS, _PLAIN, _PLAIN_2 = "agriclip-edge, 2 workers", "plain loop", "plain loop in 2 threads"
_DECODE, _DECODE_FULL = "reduced decode alone, 2 threads", "full decode alone, 2 threads"
_WORKERS = 2


@dataclass(frozen=True)
class ThroughputConfig:
    """How many photos, and how often."""

    photos: int = 60
    rounds: int = 7
    seed: int = 0
    size: tuple[int, int] = CAMERA_SIZE

    @classmethod
    def tiny(cls) -> ThroughputConfig:
        """Four photos, once."""
        return cls(photos=4, rounds=1)


def measure(bundle: Path | None, step: Step, config: ThroughputConfig = ThroughputConfig()) -> Measurement:
    """Measure both in one process, after loading.

    Args:
        bundle: the bundle; None takes the shipped one.
        step: tells how far it is.
        config: how many and how often.

    Raises:
        BundleError: the bundle cannot be used.
    """
    classifier = agriclip_edge.load(bundle, threads=1)  # as the command does when there are many photos
    plain = PlainClassifier(classifier.bundle, classifier.pack)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_folder(Path(folder), [config.size] * config.photos, config.seed, step)
        megabytes = sizes_in_bytes(paths)

        def ours() -> list[Answer]:
            return list(classifier.classify_many(paths, workers=_WORKERS))

        sides: dict[str, Callable[[], float]] = {
            _OURS: _timed(ours),
            _PLAIN: _timed(lambda: [plain.classify(path) for path in paths]),
            _PLAIN_2: _timed(lambda: _in_threads(plain, paths)),
            _DECODE: _timed(lambda: _decode(paths, plain.size)),
            _DECODE_FULL: _timed(lambda: _decode(paths, None)),
        }
        spent = interleave(sides, config.rounds, step)
        answers = ours()
        alone = [classifier.classify(path) for path in paths]
        theirs = [plain.classify(path) for path in paths]
    rates = {name: [config.photos / seconds for seconds in values] for name, values in spent.items()}
    named = [answer.best.label if answer.best else "" for answer in answers]
    return Measurement(
        method=f"One process, after loading, {config.photos} different photos of {config.size[0]}×{config.size[1]}, "
        f"{megabytes[0]:.1f} to {megabytes[1]:.1f} MB ({HOW}), from the page cache; rounds in turn after a warm-up, "
        "ratios within a round. agriclip-edge: classify_many with 2 workers. Plain loop: Pillow open and convert to "
        "RGB in full, bicubic resize, centre crop, one ONNX Runtime session of the same graph with default settings, "
        "nearest label.",
        samples={
            "times_faster": ratios(spent[_PLAIN], spent[_OURS]),
            "times_faster_than_2_threads": ratios(spent[_PLAIN_2], spent[_OURS]),
            "share_of_decode_limit": ratios(spent[_DECODE], spent[_OURS]),
            "ours_photos_per_s": rates[_OURS],
            "plain_photos_per_s": rates[_PLAIN],
            "plain_2_threads_photos_per_s": rates[_PLAIN_2],
            "reduced_decode_photos_per_s": rates[_DECODE],
            "full_decode_photos_per_s": rates[_DECODE_FULL],
            "same_best_label": [statistics.mean(a == b.label for a, b in zip(named, theirs))],
        },
        seeds={"photos": config.seed},
        subject=describe(classifier.bundle),
        packages=versions("numpy", "onnxruntime", "pillow"),
        details=(
            _stages("agriclip-edge, one photo at a time, one thread", [_ours_ms(answer) for answer in alone]),
            _stages("plain loop", [answer.milliseconds for answer in theirs]),
        ),
    )


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def measured() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return measured


def _in_threads(plain: PlainClassifier, paths: Sequence[Path]) -> None:
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(plain.classify, paths))


def _decode(paths: Sequence[Path], size: int | None) -> None:
    for _ in ordered_map(partial(decode, input_size=size), paths, _WORKERS):
        pass


def _ours_ms(answer: Answer) -> dict[str, float]:
    timing = answer.timing_ms
    return {"decode": timing.decode, "preprocess": timing.preprocess, "encode": timing.encode, "rank": timing.rank}


def _stages(title: str, photos: Sequence[dict[str, float]]) -> Detail:
    rows = tuple((name, statistics.median(photo[name] for photo in photos)) for name in photos[0])
    return Detail(f"Where a photo's time goes: {title}", (("step", ""), ("ms, median", ".1f")), rows)
