"""The commands ``python -m training diffclip …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .mapping_command import MAP_EXAMPLES, STUDENT_EXAMPLES, map_, student

app = typer.Typer(no_args_is_help=True, help="Few labels, many bands: scenes of hyperspectral and LiDAR sensors.")

PRETRAIN_EXAMPLES = """Examples:

python -m training diffclip pretrain --scene synthetic --recipe tiny --output runs/scene

python -m training diffclip pretrain --scene DATA/scenes/idtrees --level 0.5 --output runs/idtrees"""
BIND_EXAMPLES = """Examples:

python -m training diffclip bind --run runs/scene --scene synthetic --shots 10 --output runs/scene-classes"""
FEWSHOT_EXAMPLES = """Examples:

python -m training diffclip fewshot --run runs/scene --scene synthetic --shots 1,5 --draws 3 --output out

python -m training diffclip fewshot --run runs/idtrees --scene DATA/scenes/idtrees --shots 1,2,5,10,40 --draws 20 \
--baselines --checkpoint runs/student --output out"""

Scene = Annotated[str, typer.Option(help="synthetic, a scene's folder, or the name of one under AGRICLIP_DATA.")]
Run = Annotated[Path, typer.Option("--run", help="Folder of a finished pre-training.")]
Threads = Annotated[int, typer.Option(help="Cores for torch; 0 takes its own choice.")]
Split = Annotated[
    Literal["stored", "blocked", "random"],
    typer.Option(
        help="stored: the scene's own split; blocked: halves of its places; random: it leaks, for comparison."
    ),
]


@app.callback()
def _diffclip() -> None:
    """Few labels, many bands: scenes of hyperspectral and LiDAR sensors."""


app.command("student", epilog=STUDENT_EXAMPLES)(student)
app.command("map", epilog=MAP_EXAMPLES)(map_)


@app.command(epilog=PRETRAIN_EXAMPLES)
def pretrain(
    scene: Scene,
    output: Annotated[Path, typer.Option(help="Folder for the encoder and the log; a cut-off run there goes on.")],
    recipe: Annotated[Literal["default", "tiny"], typer.Option(help="tiny takes seconds.")] = "default",
    steps: Annotated[int, typer.Option(min=0, help="In place of the recipe's; 0 keeps those.")] = 0,
    window: Annotated[int, typer.Option(min=0, help="Pixels along a window's side, odd; 0 keeps the recipe's.")] = 0,
    level: Annotated[
        float, typer.Option(min=0, max=1, help="Share of its tile's mean that a spectrum loses; for many small tiles.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
    threads: Threads = 0,
) -> None:
    """Learn a scene's encoder from all its pixels by masked diffusion; no label is looked at."""
    from dataclasses import replace

    import torch
    from rich.console import Console

    from ..progress import StatusLine
    from .config import DiffclipConfig
    from .recipes import read_scene
    from .run import pretrain as train

    if threads > 0:
        torch.set_num_threads(threads)
    config = DiffclipConfig.tiny() if recipe == "tiny" else DiffclipConfig()
    config = replace(config, level_share=level, seed=seed)
    config = replace(config, steps=steps or config.steps, window=window or config.window)
    train(read_scene(scene).scene, output, config, StatusLine(Console()))


@app.command(epilog=BIND_EXAMPLES)
def bind(
    run: Run,
    scene: Scene,
    output: Annotated[Path, typer.Option(help="Folder for the classifier.")],
    shots: Annotated[int, typer.Option(min=1, help="Labelled pixels a class, of those to train on.")] = 40,
    split: Split = "stored",
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    threads: Threads = 0,
) -> None:
    """Bind a pre-trained encoder to a scene's class texts: a classifier for maps and students."""
    import torch
    from rich.console import Console

    from ..text_tower import TextTower, minilm_folder
    from .config import BindingConfig
    from .methods import FULL, Diffclip, Features
    from .protocol import halves
    from .recipes import read_scene
    from .run import load_encoder, write_classifier
    from .scores import score
    from .splits import few_shot

    if threads > 0:
        torch.set_num_threads(threads)
    labelled = read_scene(scene)
    encoder, _ = load_encoder(run)
    method = Diffclip(FULL, Features(encoder), TextTower(minilm_folder()).embed, BindingConfig())
    train, test = halves(labelled, split, seed)
    drawn, labels, pixels = few_shot(labelled.labels, train, test, shots, seed)
    write_classifier(method.classifier(labelled, drawn, labels), output)
    named = method.fit_predict(labelled, drawn, labels, pixels, seed)
    found = score(named, labelled.labels[tuple(pixels.T)], len(labelled.classes))
    Console().print(
        f"bound {len(labelled.classes)} classes by {len(drawn)} shots; on {len(pixels):,} test pixels "
        f"OA {100 * found.overall:.1f}, AA {100 * found.average:.1f}, kappa {100 * found.kappa:.1f}",
        highlight=False,
        soft_wrap=True,
    )


@app.command(epilog=FEWSHOT_EXAMPLES)
def fewshot(
    run: Run,
    scene: Scene,
    output: Annotated[Path, typer.Option(help="Folder for the record and its table; a cut-off run there goes on.")],
    shots: Annotated[str, typer.Option(help="Labelled pixels a class, with commas.")] = "1,2,5,10,40",
    draws: Annotated[int, typer.Option(min=1, help="Random draws of them.")] = 20,
    split: Split = "stored",
    distance: Annotated[
        int | None, typer.Option(min=0, help="Pixels from a shot within which none is tested; else the split's own.")
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also SVM, random forest, nearest means.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Also the RGB baselines, by a training run's image encoder.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Also those of them that train no encoder, by a bundle's.")
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Also each class by its text alone, without a shot.")
    ] = False,
    threads: Threads = 0,
) -> None:
    """Judge the bound encoder, its controls and baselines on the same shots; writes a record and a table."""
    import torch
    from rich.console import Console

    from ..progress import StatusLine
    from ..text_tower import TextTower, minilm_folder
    from .baselines import baselines as simple
    from .config import BindingConfig
    from .methods import CODE, FULL, WithChannels, diffclip_methods, pairs
    from .protocol import Method, judge
    from .recipes import read_scene
    from .record import markdown, read_record, write_record
    from .run import load_encoder
    from .unseen import judge_unseen

    if threads > 0:
        torch.set_num_threads(threads)
    counts = _counts(shots)
    labelled = read_scene(scene)
    encoder, _ = load_encoder(run)
    own = diffclip_methods(encoder, labelled.scene, TextTower(minilm_folder()).embed, BindingConfig(), output)
    methods: list[Method] = [*own, WithChannels(own[0])]
    if baselines:
        methods += simple(labelled)
    if checkpoint is not None or bundle is not None:
        from ..evaluation.command import open_subject
        from .rgb import rgb_methods

        methods += rgb_methods(open_subject(checkpoint, bundle, None, None, None), output)
    console, status = Console(), StatusLine(Console(stderr=True))
    record = judge(labelled, methods, split, counts, range(draws), status.step, output, distance=distance)
    path = write_record(record, output, pairs(methods))
    console.print(markdown(read_record(path)), markup=False, highlight=False, soft_wrap=True)
    if unseen:
        by_name = {method.name: method for method in own}
        told = judge_unseen(labelled, (by_name[FULL], by_name[CODE]), split, counts, range(draws), output)
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    console.print(f"record: {path}", highlight=False, soft_wrap=True)


def _counts(words: str) -> tuple[int, ...]:
    from agriclip_edge.errors import UsageError

    if not words.replace(",", "").isdigit() or min(int(word) for word in words.split(",") if word) < 1:
        raise UsageError(f"--shots is {words!r}; accepted: numbers from 1 on with commas, as in 1,2,5")
    return tuple(sorted({int(word) for word in words.split(",") if word}))
