"""The commands ``store-teacher``, ``distil``, ``texture`` and ``distil-ablation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import Data, Threads, use_threads

if TYPE_CHECKING:
    from ..evaluation.subjects import Subject
    from ..image_tower import ImageTower
    from .config import DistilConfig

STORE_EXAMPLES = """Examples:

python -m training store-teacher --data DATA --teacher runs/wider --output reinforced

python -m training store-teacher --data DATA --collection alive-mini --teacher runs/wider --teacher runs/aligned \
--teacher open_clip:ViT-B-16:b16.pt --views 8 --output reinforced"""
DISTIL_EXAMPLES = """Examples:

python -m training distil --data DATA --reinforced reinforced --architecture efficientnet_lite0 --output runs/student

python -m training distil --data DATA --reinforced reinforced --start runs/wider --loss interactive=0 \
--sizes 160,192,224 --output runs/student

python -m training distil --data DATA --reinforced reinforced --architecture mobilenetv4_conv_small --photos 1000 \
--sizes 128,128 --output runs/short

python -m training distil --data DATA --reinforced reinforced --start runs/student --quantisation-aware --sizes 224 \
--rate 5e-5 --output runs/student-int8"""
TEXTURE_EXAMPLES = """Examples:

python -m training texture --data DATA --checkpoint runs/student

python -m training texture --data DATA --checkpoint runs/teacher"""
ABLATION_EXAMPLES = """Examples:

python -m training distil-ablation --data DATA --reinforced reinforced --photos 1500 --epochs 2 --output runs/losses

python -m training distil-ablation --data DATA --reinforced reinforced --photos 1500 --epochs 2 --seeds 3 \
--size 128 --output runs/losses"""

_Reinforced = Annotated[Path, typer.Option(help="Folder that store-teacher wrote.")]
_Recheck = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the views that is computed again; 0 opens no teacher.")
]
_Architecture = Annotated[
    str | None, typer.Option(help="Any timm name; efficientnet_lite0 if none is given, or that of --start.")
]
_Start = Annotated[Path | None, typer.Option(help="A finished run to begin with, in place of ImageNet's weights.")]
_Config = Annotated[Path | None, typer.Option(help="TOML file with what differs from the recipe.")]
_Loss = Annotated[
    list[str] | None,
    typer.Option(help="NAME=WEIGHT of feature, affinity, interactive, task, whole or looks; 0 switches it off."),
]
_Rate = Annotated[float | None, typer.Option(min=0, help="Learning rate of the backbone; the head's is twice as high.")]
_DEFAULT = "efficientnet_lite0"
_EVERY = 3  # of the photos: main directions need no more


def store_teacher(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for the views; a cut-off run there goes on.")],
    teacher: Annotated[
        list[str], typer.Option(help="Folder of a run, a bundle, or open_clip:NAME:WEIGHTS; may be repeated.")
    ],
    collection: Annotated[
        list[str] | None, typer.Option(help="Folder under --data; alive-mini and alive-plus if none is given.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, help="Views of each photo.")] = 4,
    size: Annotated[int, typer.Option(min=8, help="Pixels along a view's side.")] = 224,
    corrupted: Annotated[float, typer.Option(min=0, max=1, help="Share of views that the field has spoilt.")] = 0.3,
    as_spoilt: Annotated[
        bool, typer.Option("--as-spoilt", help="Show the teacher spoilt views as they are, not as they were before.")
    ] = False,
    looks: Annotated[
        int, typer.Option(min=0, help="Also teach how a photo looks, in so many numbers of ImageNet's features.")
    ] = 0,
    captions: Annotated[int, typer.Option(min=0, help="Captions of a class, from its facts.")] = 2,
    general: Annotated[bool, typer.Option(help="Also embed ImageNet's class names, for the affinities.")] = True,
    seed: Annotated[int, typer.Option(help="Of the views.")] = 0,
    threads: Threads = 0,
) -> None:
    """Store what teachers say of views of every training photo, once for all students."""
    from rich.console import Console

    from ..evaluation.subjects import text_sha256
    from ..progress import StatusLine
    from ..symptoms import with_codes
    from ..text_tower import TextTower, minilm_folder
    from .config import StoreConfig
    from .store import store_teacher as store
    from .teachers import open_teacher

    use_threads(threads)
    folder = minilm_folder()
    text, space = TextTower(folder), text_sha256(folder)
    opened = [(spec, open_teacher(spec)) for spec in teacher]
    collections = tuple(collection or StoreConfig().collections)
    if looks > 0:
        opened.append(_looks_teacher(data, collections, looks, output))
    config = StoreConfig(
        views=views,
        size=size,
        collections=collections,
        symptoms=max((subject.symptoms for _, subject in opened if subject.text_encoder == space), default=0.0),
        captions=captions,
        general=general,
        corrupted=corrupted,
        clean=not as_spoilt,
        seed=seed,
    )
    store(data, output, config, opened, (space, with_codes(text.embed, text)), StatusLine(Console()))


def distil(
    data: Data,
    reinforced: _Reinforced,
    output: Annotated[Path, typer.Option(help="Folder of the run; a cut-off run there goes on.")],
    architecture: _Architecture = None,
    start: _Start = None,
    config: _Config = None,
    loss: _Loss = None,
    sizes: Annotated[
        str | None, typer.Option(help="Pixels along a view's side, one an epoch; the last is that of use.")
    ] = None,
    rate: _Rate = None,
    quantisation_aware: Annotated[
        bool, typer.Option("--quantisation-aware", help="Round weights and activations as INT8 will; needs --start.")
    ] = False,
    photos: Annotated[int, typer.Option(min=0, help="Photos to train on, of all classes; 0 takes all.")] = 0,
    dev: Annotated[float, typer.Option(help="Share of the training photos to hold out and judge by.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Of the training.")] = None,
    recheck: _Recheck = 0.01,
    threads: Threads = 0,
) -> None:
    """Train a student on stored views; its run is judged and exported like that of encoder."""
    from dataclasses import replace

    from rich.console import Console

    from ..evaluation.subjects import text_sha256
    from ..progress import StatusLine
    from ..report import print_table
    from ..results import judge_run
    from ..text_tower import TextTower, minilm_folder
    from .config import DistilConfig, QuantisationAware, read_recipe
    from .run import distil as train
    from .run import fitting, read_lesson
    from .start import with_looks
    from .teachers import open_teacher

    use_threads(threads)
    recipe = _recipe(read_recipe(DistilConfig(), config, loss or []), sizes, rate, seed)
    if quantisation_aware:
        recipe = replace(recipe, quantisation=QuantisationAware())
    folder, console = minilm_folder(), Console()
    text, status = TextTower(folder), StatusLine(console)
    tower, recipe, pretrained = _begin(recipe, architecture, start, text.dim)
    lesson = read_lesson(data, reinforced, text_sha256(folder), recheck, open_teacher, status, dev, recipe.seed)
    recipe = fitting(recipe, lesson, pretrained=pretrained)
    tower = with_looks(tower, recipe.architecture, lesson.stored, lesson.photos.label)
    train(lesson.some(photos), output, recipe, tower, StatusLine(console), fresh=start is None)
    if dev <= 0:
        for name in recipe.collections:
            print_table(judge_run(output, data, name, "val", text).table, console)


def texture(
    data: Data,
    checkpoint: Annotated[Path, typer.Option(help="A finished run of encoder or distil.")],
    numbers: Annotated[int, typer.Option(min=1, help="Of the embedding's further part.")] = 128,
    threads: Threads = 0,
) -> None:
    """Add to a run's embedding, in closed form, of which texture a photo is; what it had is as before."""
    from rich.console import Console

    from ..data import read_joined
    from ..encoder import COLLECTION, load_tower
    from ..progress import StatusLine
    from ..report import print_table
    from ..results import judge_run
    from ..text_tower import TextTower, minilm_folder
    from .run import add_texture

    use_threads(threads)
    console = Console()
    status = StatusLine(console)
    collections = load_tower(checkpoint)[1]["config"].get("collections", (COLLECTION,))
    photos = read_joined(data, collections, "train", status.say)[1].rgb[::_EVERY]
    status.say(f"statistics of the maps of {len(photos)} photos")
    add_texture(checkpoint, photos, numbers)
    text = TextTower(minilm_folder())
    for name in collections:
        print_table(judge_run(checkpoint, data, name, "val", text).table, console)


def distil_ablation(
    data: Data,
    reinforced: _Reinforced,
    output: Annotated[Path, typer.Option(help="Folder for the record; a cut-off run there goes on.")],
    architecture: _Architecture = None,
    start: _Start = None,
    config: _Config = None,
    loss: _Loss = None,
    photos: Annotated[int, typer.Option(min=0, help="Photos to train on, of all classes; 0 takes all.")] = 1500,
    epochs: Annotated[int, typer.Option(min=1, help="Of each student.")] = 2,
    size: Annotated[int, typer.Option(min=8, help="Pixels along a view's side.")] = 160,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0.")] = 1,
    rate: _Rate = None,
    recheck: _Recheck = 0.01,
    threads: Threads = 0,
) -> None:
    """What each loss brings: students with all losses, with each left out, and with each alone."""
    from rich.console import Console

    from ..evaluation.subjects import text_sha256
    from ..progress import StatusLine
    from ..text_tower import TextTower, minilm_folder
    from .ablation import run_ablation
    from .config import DistilConfig, read_recipe
    from .run import fitting, read_lesson
    from .start import with_looks
    from .teachers import open_teacher

    use_threads(threads)
    recipe = _recipe(read_recipe(DistilConfig(), config, loss or []), ",".join([str(size)] * epochs), rate, None)
    folder, console = minilm_folder(), Console()
    dim, status = TextTower(folder).dim, StatusLine(console)
    _, recipe, pretrained = _begin(recipe, architecture, start, dim)
    lesson = read_lesson(data, reinforced, text_sha256(folder), recheck, open_teacher, status)
    recipe = fitting(recipe, lesson, pretrained=pretrained)

    def begin(seed: int) -> tuple[ImageTower, bool]:
        from dataclasses import replace

        tower = _begin(replace(recipe, seed=seed), architecture, start, dim)[0]
        return with_looks(tower, recipe.architecture, lesson.stored, lesson.photos.label), start is None

    record = run_ablation(lesson, output, recipe, begin, range(seeds), photos, status)
    console.print(record.markdown(), markup=False, highlight=False, soft_wrap=True)


def _recipe(recipe: DistilConfig, sizes: str | None, rate: float | None, seed: int | None) -> DistilConfig:
    """The recipe with what the command line says otherwise."""
    from dataclasses import replace

    from agriclip_edge.errors import UsageError

    if sizes is not None:
        if not all(word.strip().isdigit() and int(word) > 0 for word in sizes.split(",")):
            raise UsageError(f"--sizes is {sizes!r}; accepted: numbers with commas, as in 160,192,224")
        course = tuple(int(word) for word in sizes.split(","))
        recipe = replace(recipe, sizes=course, input_size=course[-1])  # used at the size that it learnt at last
    if rate is not None:
        recipe = replace(recipe, backbone_rate=rate, head_rate=2 * rate)
    return recipe if seed is None else replace(recipe, seed=seed)


def _looks_teacher(data: Path, collections: tuple[str, ...], looks: int, output: Path) -> tuple[str, Subject]:
    """The teacher that says how photos look, as a cut-off run in ``output`` made it or from the photos."""
    from ..data import read_joined
    from ..image_tower import lite0_weights
    from ..looks import fit_looks
    from .teachers import open_teacher

    run = output / "looks"
    if not run.exists():
        fit_looks(read_joined(data, collections, "train")[1].rgb[::_EVERY], looks, lite0_weights(), run)
    return str(run), open_teacher(str(run))


def _begin(
    recipe: DistilConfig, architecture: str | None, start: Path | None, dim: int
) -> tuple[ImageTower, DistilConfig, bool]:
    """The tower to begin with, the recipe for it, and whether its backbone has learnt anything yet.

    Raises:
        UsageError: the run to start from is of another architecture or size, or there are no weights.
    """
    from dataclasses import replace

    from agriclip_edge.errors import UsageError

    from ..encoder import load_tower
    from .start import architecture_of, new_student

    if start is None:
        name = architecture_of(architecture or _DEFAULT)
        tower, pretrained = new_student(name, dim, recipe.seed)
        return tower, replace(recipe, architecture=name), pretrained
    tower, description = load_tower(start, texture=False)  # which was of the net as it is now
    name = str(description["config"]["architecture"])
    if architecture is not None and architecture_of(architecture) != name:
        raise UsageError(f"{start} is a run of {name}; accepted: --architecture {name}, or none")
    if tower.dim != dim:
        raise UsageError(f"{start} gives vectors of {tower.dim} values; the text encoder {dim}")
    recipe = replace(recipe, architecture=name, input_size=int(description["config"]["input_size"]))
    return tower, recipe, "frozen_blocks" in description["config"] and description["config"]["frozen_blocks"] > 0
