"""The commands of ``python -m benchmarks``: one a figure, and ``all``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agriclip_edge.errors import AgriclipError
from agriclip_edge.runtimes import available_cores
from training.progress import StatusLine

from . import environment
from .record import RECORDS, Measurement, Record, complete, write_record
from .rounds import Step
from .targets import TARGETS

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Data = Annotated[
    Path, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data: the folder that holds alive-mini/.")
]
BundlePath = Annotated[Path | None, typer.Option("--bundle", help="Measure this bundle in place of the shipped one.")]
Records = Annotated[Path, typer.Option("--records", help="Folder for the record.")]
Quick = Annotated[bool, typer.Option("--quick", help="See in seconds that it runs; writes no record.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of the peers' graphs; else the user's cache.")]

_ARGUMENTS = {
    "ablation": " --ablation RUN/ablation.json",
    "evaluations": " --record RECORD --record RECORD ...",
    "facts": " --data DATA --cache FOLDER",
    "fewshot": " --record RECORD --record RECORD ...",
    "accuracy": " --data DATA",
    "answers": " --data DATA",
    "corruptions": " --data DATA",
    "drift": " --data DATA",
    "label-packs": " --data DATA",
    "quantisation": " --data DATA --checkpoint RUN",
    "architectures": " --run RUN --data DATA",
    "distil-ablation": " --ablation RUN/distil-ablation.json",
}
ORDER = (
    "size",
    "help-latency",
    "cold-start",
    "typed-labels",
    "throughput",
    "memory",
    "peers",
    "accuracy",
    "answers",
    "corruptions",
)  # `all`: quickest first


@app.command()
def accuracy(data: Data, bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """Accuracy of the bundle by task, with bootstrap intervals."""
    from . import accuracy as figure

    config = figure.AccuracyConfig.tiny() if quick else figure.AccuracyConfig()
    _measure("accuracy", lambda step: figure.measure(data, bundle, step, config), records, quick)


@app.command()
def answers(data: Data, bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """How far answers can be trusted: calibration, none of these, and what is called a bad photo."""
    from . import answers as figure

    config = figure.AnswersConfig(typed=(), every=64) if quick else figure.AnswersConfig()
    _measure("answers", lambda step: figure.measure(data, bundle, step, config), records, quick)


@app.command()
def corruptions(data: Data, bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """Accuracy of the bundle on photos that the field has spoilt, over the same photos as they are."""
    from . import corruptions as figure

    config = figure.CorruptionsConfig.tiny() if quick else figure.CorruptionsConfig()
    _measure("corruptions", lambda step: figure.measure(data, bundle, step, config), records, quick)


@app.command()
def drift(data: Data, bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """What `agriclip-edge drift` says of known photos, of other tasks' and of spoilt ones; `all` leaves it out."""
    from . import drift as figure

    config = figure.DriftConfig.tiny() if quick else figure.DriftConfig()
    _measure("drift", lambda step: figure.measure(data, bundle, step, config), records, quick)


@app.command()
def label_packs(data: Data, bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """What facts and a centre do to typed labels; `all` leaves it out."""
    from . import label_packs as figure

    collections = figure.COLLECTIONS[:1] if quick else figure.COLLECTIONS
    _measure("label-packs", lambda step: figure.measure(data, bundle, step, collections), records, quick)


@app.command()
def cold_start(bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """Whole process of `classify one.jpg`, time and memory, beside open_clip's."""
    from . import cold_start as figure

    config = figure.ColdStartConfig.tiny() if quick else figure.ColdStartConfig()
    _measure("cold-start", lambda step: figure.measure(bundle, step, config), records, quick)


@app.command()
def typed_labels(bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """Whole process of `packs build` with 100 typed labels, and the same in the SDK."""
    from . import typed_labels as figure

    config = figure.TypedConfig.tiny() if quick else figure.TypedConfig()
    _measure("typed-labels", lambda step: figure.measure(bundle, step, config), records, quick)


@app.command()
def size(records: Records = RECORDS, quick: Quick = False) -> None:
    """Size of the wheel and of what it installs."""
    from . import size as figure

    _measure("size", figure.measure, records, quick)


@app.command()
def throughput(bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """Photos a second from 12-megapixel JPEGs, beside a plain loop."""
    from . import throughput as figure

    config = figure.ThroughputConfig.tiny() if quick else figure.ThroughputConfig()
    _measure("throughput", lambda step: figure.measure(bundle, step, config), records, quick)


@app.command()
def memory(bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False) -> None:
    """Memory after 20,000 photos over memory after 200."""
    from . import memory as figure

    config = figure.MemoryConfig.tiny() if quick else figure.MemoryConfig()
    _measure("memory", lambda step: figure.measure(bundle, step, config), records, quick)


@app.command()
def help_latency(records: Records = RECORDS, quick: Quick = False) -> None:
    """Whole process of `agriclip-edge --help`."""
    from . import help_latency as figure

    config = figure.HelpConfig.tiny() if quick else figure.HelpConfig()
    _measure("help-latency", lambda step: figure.measure(step, config), records, quick)


@app.command()
def peers(bundle: BundlePath = None, records: Records = RECORDS, quick: Quick = False, cache: Cache = None) -> None:
    """The bundle's encoders beside CLIP, MobileCLIP and EfficientNet in PyTorch, ONNX Runtime and OpenVINO."""
    from . import peers as figure

    config = figure.PeersConfig.tiny() if quick else figure.PeersConfig()
    _measure("peers", lambda step: figure.measure(bundle, step, config, cache), records, quick)


@app.command()
def quantisation(
    data: Data,
    checkpoint: Annotated[Path, typer.Option(help="Folder of a finished training run.")],
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """What each way of quantising a run's image encoder gives; needs the checkpoint, so `all` leaves it out."""
    from . import quantisation as figure

    config = figure.QuantisationConfig.tiny() if quick else figure.QuantisationConfig()
    _measure("quantisation", lambda step: figure.measure(checkpoint, data, step, config), records, quick)


@app.command()
def architectures(
    run: Annotated[
        list[Path] | None, typer.Option(help="Folder of a finished and judged training run; may be repeated.")
    ] = None,
    architecture: Annotated[
        list[str] | None, typer.Option(help="timm's name of one without a run, in place of the usual alternatives.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data: judges the runs' INT8, too.")
    ] = None,
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """Latency of architectures for the student, and accuracy of those with a run; `all` leaves it out."""
    from . import architectures as figure

    config = figure.ArchitecturesConfig.tiny() if quick else figure.ArchitecturesConfig()
    names = tuple(architecture) if architecture else config.names
    _measure("architectures", lambda step: figure.measure(run or [], data, step, config, names), records, quick)


@app.command()
def distil_ablation(
    ablation: Annotated[Path, typer.Option(help="The record that `python -m training distil-ablation` left.")],
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """What each loss of distillation brings, as trained before; `all` leaves it out."""
    from . import distil_ablation as figure

    _measure("distil-ablation", lambda step: figure.measure(ablation), records, quick)


@app.command()
def facts(
    data: Data,
    cache: Annotated[Path, typer.Option(help="Folder that keeps the features.")],
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """What facts, looks and photos of the place buy where nobody trained on a label; `all` leaves it out."""
    from training.align.encoders import imagenet_backbone
    from training.align.features import FeatureStore
    from training.config import EncoderConfig
    from training.image_tower import lite0_weights
    from training.looks import imagenet_classes
    from training.text_tower import TextTower, minilm_folder

    from . import facts as figure

    config = figure.FactsConfig.tiny() if quick else figure.FactsConfig()
    backbone, text = imagenet_backbone(EncoderConfig().input_size), TextTower(minilm_folder())
    store = FeatureStore(cache, StatusLine(Console(stderr=True)))
    classifier = imagenet_classes(lite0_weights())
    _measure(
        "facts", lambda step: figure.measure(data, backbone, text, store, step, config, classifier), records, quick
    )


@app.command()
def fewshot(
    record: Annotated[list[Path], typer.Option(help="A record that `training diffclip fewshot` left; repeated.")],
    student: Annotated[
        list[Path] | None, typer.Option(help="Folder that `training diffclip student` wrote; repeated.")
    ] = None,
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """Scenes by few labelled pixels, DiffCLIP beside simpler methods; `all` leaves it out."""
    from . import fewshot as figure

    _measure("fewshot", lambda step: figure.measure(record, student or []), records, quick)


@app.command()
def ablation(
    ablation: Annotated[Path, typer.Option(help="The record that `python -m training ablation` left.")],
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """What each stage of the teacher brings, as trained before; `all` leaves it out."""
    from . import ablation as figure

    _measure("ablation", lambda step: figure.measure(ablation), records, quick)


@app.command()
def evaluations(
    record: Annotated[list[Path], typer.Option(help="A record that `python -m training evaluate` left; repeated.")],
    records: Records = RECORDS,
    quick: Quick = False,
) -> None:
    """What encoders were judged to be worth on whole collections; `all` leaves it out."""
    from . import evaluations as figure

    _measure("evaluations", lambda step: figure.measure(record), records, quick)


@app.command(name="all")
def all_(data: Data, records: Records = RECORDS, quick: Quick = False) -> None:
    """Every figure that needs no checkpoint, each in a process of its own, the quickest first."""
    failed = []
    for what in ORDER:
        command = [sys.executable, "-m", "benchmarks", what, "--records", str(records.resolve())]
        command += ["--data", str(data.resolve())] if "--data" in _ARGUMENTS.get(what, "") else []
        command += ["--quick"] if quick else []
        if subprocess.run(command, cwd=environment.ROOT).returncode != 0:
            failed.append(what)
    if failed:
        print(f"error: not measured: {', '.join(failed)}; each can be run by itself", file=sys.stderr)
        raise typer.Exit(1)


def _measure(what: str, measure: Callable[[Step], Measurement], records: Path, quick: bool) -> None:
    """Measure one figure, print it, and keep its record."""
    load, date, commit = environment.load(), environment.now(), environment.commit()  # before: the code may change
    console = Console(stderr=True)
    console.print(f"{what}: load average {load} on {available_cores()} cores", highlight=False)
    measured = measure(_Phases(console).step)
    data = _ARGUMENTS.get(what, "")
    record = complete(
        measured,
        what=what,
        command=f"python -m benchmarks {what}{data}",
        commit=commit,
        date=date,
        load=load,
        machine=environment.machine(dict(measured.packages)),
    )
    _print(record)
    if not quick:
        print(f"written: {write_record(record, records).name}; make docs puts it into docs/results.md")


class _Phases:
    """One status line a phase of the work; a phase begins with nothing done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = StatusLine(console)

    def step(self, done: float, total: float, text: str) -> None:
        """Tell the state; see `StatusLine.step`."""
        if done == 0:
            self._line = StatusLine(self._console)
        self._line.step(done, total, text)


def _print(record: Record) -> None:
    for target in TARGETS:
        if target.what == record.what and target.quantity in record.medians:
            bounds = f"floor {target.write(target.floor)}, aim {target.write(target.aim)}"
            print(f"{target.title}: {target.write(record.medians[target.quantity])} ({bounds})")
    for name, median in record.medians.items():
        low, high = record.spread[name]
        print(f"  {name}: {median:g} ({low:g} to {high:g})")


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app()
    except AgriclipError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
