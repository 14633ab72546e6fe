"""Cold start: the whole process that answers one 12-megapixel photo, beside one that uses open_clip."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agriclip_edge.bundle.reader import Bundle

from .camera import HOW, make_photo, sizes_in_bytes
from .environment import describe, runtime, runtime_versions, versions
from .process import Usage, run_process
from .record import BenchmarkError, Detail, Measurement
from .rounds import Step, interleave, ratios

_HERE = Path(__file__).parent
# The same for all: no spinning threads, no download, no bundle but the one that is named.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "AGRICLIP_EDGE_BUNDLE": ""}
_OURS, _OPEN_CLIP, _BARE = "agriclip-edge", "open_clip ViT-B-32", "bare ONNX Runtime script"


@dataclass(frozen=True)
class ColdStartConfig:
    """How often."""

    rounds: int = 9
    stage_runs: int = 9
    seed: int = 0

    @classmethod
    def tiny(cls) -> ColdStartConfig:
        """One round."""
        return cls(rounds=1, stage_runs=1)


def measure(bundle: Path | None, step: Step, config: ColdStartConfig = ColdStartConfig()) -> Measurement:
    """Measure the installed command beside open_clip, interleaved.

    Args:
        bundle: the bundle; None takes the one in the installed wheel.
        step: tells how far it is.
        config: how often.

    Raises:
        BenchmarkError: the runtime environment is missing, or a process fails.
    """
    packages = versions("torch", "torchvision", "open_clip_torch")
    if "open_clip_torch" not in packages:
        raise BenchmarkError('open_clip is not installed; install it with: pip install -e ".[training]"')
    opened = Bundle.open(bundle)
    with tempfile.TemporaryDirectory() as folder:
        photo, graph = Path(folder) / "photo.jpg", Path(folder) / "encoder.onnx"
        make_photo(photo, config.seed)
        megabytes = sizes_in_bytes([photo])[0]
        graph.write_bytes(opened.read(opened.manifest.image[0].file))
        sides = {
            _OURS: _process(
                runtime("agriclip-edge"), "classify", photo, *(["--bundle", str(bundle)] if bundle else [])
            ),
            _OPEN_CLIP: _process(sys.executable, "-I", _HERE / "open_clip_photo.py", photo),
            _BARE: _process(runtime("python"), "-I", _HERE / "bare_photo.py", graph, photo),
        }
        used = interleave(sides, config.rounds, step)
        stages = _process(runtime("python"), "-I", _HERE / "stages.py", photo, *([bundle] if bundle else []))
        ours = [json.loads(stages().output) for _ in range(config.stage_runs)]
        empty = [run_process(runtime("python"), "-I", "-c", "pass").wall_s for _ in range(config.stage_runs)]
    start = {"start and end of the interpreter": statistics.median(empty) * 1e3}
    theirs = [json.loads(usage.output) for usage in used[_OPEN_CLIP]]
    ours_s, theirs_s = _walls(used[_OURS]), _walls(used[_OPEN_CLIP])
    ours_mb, theirs_mb = _peaks(used[_OURS]), _peaks(used[_OPEN_CLIP])
    return Measurement(
        method="Whole processes in turn, wall time and peak resident memory from wait4 of a small parent, after one "
        "warm-up round (files in the page cache on all sides); ratios are those of one round's two sides. The photo: "
        f"4000×3000, {megabytes:.1f} MB: {HOW}. agriclip-edge: the installed wheel. open_clip: import, ViT-B-32 with "
        "random weights, its own transform, one encoding, in PyTorch.",
        samples={
            "times_faster": ratios(theirs_s, ours_s),
            "times_smaller": ratios(theirs_mb, ours_mb),
            "times_faster_without_building": ratios(
                [wall - stages["build ViT-B-32"] / 1e3 for wall, stages in zip(theirs_s, theirs)], ours_s
            ),
            "times_of_bare_script": ratios(ours_s, _walls(used[_BARE])),
            "ours_s": ours_s,
            "open_clip_s": theirs_s,
            "bare_script_s": _walls(used[_BARE]),
            "ours_peak_mb": ours_mb,
            "open_clip_peak_mb": theirs_mb,
            "bare_script_peak_mb": _peaks(used[_BARE]),
            "ours_cpu_s": [usage.cpu_s for usage in used[_OURS]],
            "open_clip_cpu_s": [usage.cpu_s for usage in used[_OPEN_CLIP]],
        },
        seeds={"photo": config.seed},
        subject=describe(opened),
        packages=runtime_versions(("agriclip-edge", "numpy", "onnxruntime", "pillow", "typer")) | packages,
        details=(
            _stage_table("Where the time of agriclip-edge goes (a separate run, step by step)", start, ours),
            _stage_table("Where the time of open_clip goes", {}, theirs),
        ),
    )


def _process(*command: str | Path) -> Callable[[], Usage]:
    return lambda: run_process(*command, environment=_ENVIRONMENT)


def _walls(used: Sequence[Usage]) -> list[float]:
    return [usage.wall_s for usage in used]


def _peaks(used: Sequence[Usage]) -> list[float]:
    return [usage.peak_mb for usage in used]


def _stage_table(title: str, first: dict[str, float], runs: Sequence[dict[str, float]]) -> Detail:
    medians = first | {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    rows = tuple((name, round(value, 3)) for name, value in medians.items())
    return Detail(title, (("step", ""), ("ms, median", ".1f")), rows)
