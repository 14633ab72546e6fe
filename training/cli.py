"""The commands of ``python -m training``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from agriclip_edge.errors import AgriclipError, UsageError

from .align.command import ABLATION_EXAMPLES, ALIGN_EXAMPLES, ablation, align
from .contrastive.command import CONTRASTIVE_EXAMPLES, EMBED_EXAMPLES, contrastive, embed_shards
from .diffclip.command import app as diffclip
from .dino.command import DINO_EXAMPLES, dino
from .distil.command import ABLATION_EXAMPLES as _DISTIL_ABLATION
from .distil.command import (
    DISTIL_EXAMPLES,
    STORE_EXAMPLES,
    TEXTURE_EXAMPLES,
    distil,
    distil_ablation,
    store_teacher,
    texture,
)
from .prompts_command import app as prompts
from .shards.command import EXAMPLES as _BUILD_SHARDS
from .shards.command import build_shards

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

app.command("build-shards", epilog=_BUILD_SHARDS)(build_shards)
app.add_typer(prompts, name="prompts")
app.command("contrastive", epilog=CONTRASTIVE_EXAMPLES)(contrastive)
app.command("dino", epilog=DINO_EXAMPLES)(dino)
app.command("align", epilog=ALIGN_EXAMPLES)(align)
app.command("ablation", epilog=ABLATION_EXAMPLES)(ablation)
app.command("store-teacher", epilog=STORE_EXAMPLES)(store_teacher)
app.command("distil", epilog=DISTIL_EXAMPLES)(distil)
app.command("texture", epilog=TEXTURE_EXAMPLES)(texture)
app.command("distil-ablation", epilog=_DISTIL_ABLATION)(distil_ablation)
app.add_typer(diffclip, name="diffclip")
app.command("embed-shards", epilog=EMBED_EXAMPLES)(embed_shards)

Data = Annotated[
    Path, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data: the folder that holds alive-mini/.")
]
_WIDTH = 160  # of tables that go into a file or a pipe: no name is cut there

_EVALUATE = """Examples:

python -m training evaluate --data DATA --checkpoint RUN

python -m training evaluate --data DATA --checkpoint RUN --collection downstream --split query --few-shot --probe

python -m training evaluate --checkpoint RUN --everyday

python -m training evaluate --checkpoint imagenet --everyday --output out

python -m training evaluate --bundle BUNDLE --output out --task my-photos/ --prompts facts

python -m training evaluate --open-clip ViT-B-32 --pretrained weights.pt --output out --everyday"""
_COMPARE = """Examples:

python -m training compare A/evaluation-alive-mini-val-names.json B/evaluation-alive-mini-val-names.json

python -m training compare RUN/evaluation-x-names.json RUN/evaluation-x-facts.json --vary prompts"""


@app.command()
def encoder(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint and the log; a cut-off run there goes on.")],
    start: Annotated[
        Path | None,
        typer.Option(help="A finished run to go on from, by the wider recipe: more collections, labels with facts."),
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Another course: the sides of the epochs' views in pixels, as in 192,224.")
    ] = None,
    dev: Annotated[float, typer.Option(help="Share of the training photos to hold out and judge by.")] = 0.0,
    threads: Annotated[int, typer.Option(help="Cores for torch; 0 takes its own choice.")] = 0,
) -> None:
    """Fine-tune the image encoder by the recipes of training/config.py."""
    import torch
    from rich.console import Console

    from .config import EncoderConfig
    from .data import Photos
    from .encoder import load_tower, train_encoder
    from .general import General, imagenet_knowledge
    from .image_tower import ImageTower, lite0_weights, load_imagenet
    from .progress import StatusLine
    from .report import print_table
    from .results import judge_run
    from .text_tower import TextTower, minilm_folder

    if threads > 0:
        torch.set_num_threads(threads)
    config = EncoderConfig() if start is None else EncoderConfig.wider()
    if sizes is not None:
        config = replace(config, sizes=_numbers(sizes))
    text = TextTower(minilm_folder())
    torch.manual_seed(config.seed)
    fresh = True
    if start is None:
        tower = ImageTower(text.dim, config.architecture)
        load_imagenet(tower, lite0_weights())
    else:
        tower, description = load_tower(start, texture=False)
        if tower.looks:
            raise UsageError(f"{start} also says how photos look; go on from it with distil, which teaches that too")
        fresh = float(description["config"].get("symptoms", 0)) != config.symptoms  # the head knew other labels
    console = Console()
    status = StatusLine(console)

    def know(photos: Photos) -> General:
        status.say("what ImageNet's classifier knows of the photos")
        kept = output / "general.safetensors"
        return imagenet_knowledge(lite0_weights(), config.architecture, photos, config.input_size, text, kept)

    train_encoder(data, output, config, tower, text, status, dev, fresh=fresh, know=know)
    if dev == 0:
        for name in config.collections:
            print_table(judge_run(output, data, name, "val", text).table, console)


def _numbers(words: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in words.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 32:
        raise UsageError(f"--sizes {words!r}; accepted: pixels from 32 on with commas between, as in 192,224")
    return numbers


@app.command(epilog="Example: python -m training sample --data DATA --photos 3 --output small")
def sample(
    data: Data,
    output: Annotated[Path, typer.Option(help="Root of the copy.")],
    photos: Annotated[int, typer.Option(min=1, help="Of each class in each split, at most.")] = 3,
) -> None:
    """Copy some photos of every class of every collection, to try a whole chain of commands in minutes."""
    from .sample import write_sample

    typer.echo(f"{write_sample(data, output, photos):,} photos in {output}")


@app.command(epilog=_EVALUATE)
def evaluate(
    data: Annotated[
        Path | None, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data: the folder that holds alive-mini/.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Judge a training run: its folder; imagenet for what is there before training.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Judge a bundle: its folder or zip.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which of the bundle's image encoders, or a runtime.")] = None,
    open_clip: Annotated[str | None, typer.Option(help="Judge a model of open_clip: its name.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Tag or file of its weights.")] = None,
    collection: Annotated[
        str | None, typer.Option(help="A collection under --data; alive-mini if nothing else.")
    ] = None,
    task: Annotated[
        list[Path] | None, typer.Option(help="A task: folder or tar of <label>/<photo> or <split>/<label>/<photo>.")
    ] = None,
    everyday: Annotated[bool, typer.Option(help="The sample photos of scikit-image and scikit-learn.")] = False,
    split: Annotated[
        str | None, typer.Option(help="train, val, query or support; query where there are such photos, else val.")
    ] = None,
    few_shot: Annotated[bool, typer.Option(help="Also k-NN, class means with and without text, adapted.")] = False,
    probe: Annotated[bool, typer.Option(help="Also a linear probe.")] = False,
    support: Annotated[
        str | None, typer.Option(help="Split of the labelled photos; support for query photos, else train.")
    ] = None,
    shots: Annotated[str, typer.Option(help="Photos a class, with commas.")] = "1,5,10",
    draws: Annotated[int, typer.Option(min=20, help="Random draws of them.")] = 20,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    prompts: Annotated[str, typer.Option(help="names, tasks, facts, or a module:function of yours.")] = "names",
    templates: Annotated[Path | None, typer.Option(help="TOML file of templates by task or domain, for tasks.")] = None,
    trained_on: Annotated[
        list[str] | None, typer.Option(help="A collection that the model has seen; a run knows its own.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the records; RUN/evaluation for a run.")] = None,
) -> None:
    """Judge a run, a bundle or an open_clip model on a collection, on any task, or on everyday photos."""
    from rich.console import Console

    from agriclip_edge.errors import UsageError

    from .evaluation.command import START, ask, has_own_text, kept_vectors, open_subject
    from .evaluation.confusion import draw_confusions
    from .evaluation.judge import JudgeConfig, judge_subject
    from .evaluation.prompts import choose
    from .evaluation.record import write_evaluation
    from .progress import StatusLine
    from .report import print_evaluation

    if output is None and (checkpoint is None or checkpoint == START):
        raise UsageError("--output is needed: the folder for the records of a model that is no run")
    if not shots.replace(",", "").isdigit():
        raise UsageError(f"--shots is {shots!r}; accepted: numbers with commas, as in 1,5,10")
    counts = tuple(sorted({int(word) for word in shots.split(",") if word}))
    if counts[0] < 1:
        raise UsageError("--shots holds 0; accepted: at least 1")
    config = JudgeConfig(few_shot=few_shot, probe=probe, shots=counts, draws=draws, seed=seed)
    if collection is None and not task and not everyday:
        collection = "alive-mini"
    subject = open_subject(checkpoint, bundle, open_clip, pretrained, variant)
    prompter = choose(prompts, subject, templates)
    given = ask(subject, data, collection, task or [], everyday, split, support, config.needs_support, trained_on or [])
    folder = output or checkpoint / "evaluation"  # type: ignore[operator]  # one of them is there: checked above
    kept = folder / "embeddings"
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    status = StatusLine(Console(stderr=True))
    evaluation = judge_subject(subject, given, prompter, prompts, config, kept, status.step)
    path = write_evaluation(evaluation, folder)
    draw_confusions(evaluation, folder / f"{evaluation.name}-confusion")
    print_evaluation(evaluation, console)
    console.print(f"record: {path} (protocol {evaluation.protocol_sha256[:16]})", highlight=False, soft_wrap=True)
    known = checkpoint is not None and checkpoint != START and not has_own_text(checkpoint)
    if known and checkpoint is not None and collection is not None and data is not None:
        from .results import judge_run
        from .text_tower import TextTower, minilm_folder

        text = TextTower(minilm_folder())
        judge_run(checkpoint, data, collection, given.split, text, kept_vectors(subject, given, kept))


@app.command(epilog=_COMPARE)
def compare(
    first: Annotated[Path, typer.Argument(help="A record of evaluate.")],
    second: Annotated[Path, typer.Argument(help="Another, to be held against it.")],
    method: Annotated[str, typer.Option(help="Whose figures: zero-shot, 5-shot, knn-5, probe, …")] = "zero-shot",
    vary: Annotated[
        list[str] | None, typer.Option(help="A field of the protocol that is meant to differ; model if none is named.")
    ] = None,
) -> None:
    """Hold two records of one protocol against each other, on the same photos; others are refused."""
    from rich.console import Console

    from .evaluation.compare import compare as hold
    from .evaluation.record import read_evaluation
    from .report import print_differences

    one, other = read_evaluation(first), read_evaluation(second)
    print_differences(one.subject, other.subject, hold(one, other, method, vary or ["model"]), Console())


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app()
    except (AgriclipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
