"""The commands of ``python -m export``."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from agriclip_edge.errors import AgriclipError, UsageError

from .budget import BUDGET

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Output = Annotated[Path, typer.Option(help="The bundle's folder, or with --zip its file; a bundle there is replaced.")]
Zip = Annotated[bool, typer.Option("--zip", help="One zip file instead of a folder.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", "--variant", help="Only image encoders of this runtime, or the one of this name; repeatable."
    ),
]
BundlePath = Annotated[Path, typer.Option("--bundle", help="A bundle's folder or zip.")]
OpenClip = Annotated[
    str | None,
    typer.Option(help="A model of open_clip: its name, a JSON file that describes it, hf-hub:…, or a folder."),
]
Pretrained = Annotated[str | None, typer.Option(help="With --open-clip: open_clip's tag of weights, or their file.")]
EXAMPLE_PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"


class Tower(str, Enum):
    """The towers of a CLIP."""

    image = "image"
    text = "text"


@app.command(epilog="Example: python -m export bundle --open-clip MobileCLIP2-S0 --pretrained w.pt --output clip")
def bundle(
    output: Output,
    checkpoint: Annotated[Path | None, typer.Option(help="Folder of a finished training run.")] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="AGRICLIP_DATA", help="Root of the data that it was trained on.")
    ] = None,
    open_clip: OpenClip = None,
    pretrained: Pretrained = None,
    labels_file: Annotated[
        list[Path] | None, typer.Option(help="With --open-clip: labels for a pack, as text or CSV; repeatable.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="With --open-clip: a prompt with {} for the label; repeatable.")
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="With --open-clip: photos to calibrate on and judge by, as wanted in a folder a label."),
    ] = None,
    licence: Annotated[str, typer.Option(help="With --open-clip: SPDX identifier of the model's licence.")] = "",
    licence_file: Annotated[Path | None, typer.Option(help="With --open-clip: the licence's text.")] = None,
    facts: Annotated[
        bool, typer.Option("--facts/--no-facts", help="With --open-clip: carry the facts library, for typed labels.")
    ] = True,
    zip_: Zip = False,
    budget: Annotated[Path, typer.Option(help="What each variant may lose, as TOML.")] = BUDGET,
    only: Only = None,
    name: Annotated[str, typer.Option(help="Name of the bundle; agriclip-lite0, or the CLIP's.")] = "",
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
) -> None:
    """Make the bundle of a training run, or of any CLIP."""
    if open_clip is not None and checkpoint is None:
        from training.captions import FACTS

        from .open_clip_bundle import TEMPLATES, ClipConfig, export_open_clip

        lists, templates, variants = tuple(labels_file or ()), tuple(template or TEMPLATES), tuple(only or ())
        library = FACTS if facts else None
        clip = ClipConfig(name, version, lists, templates, photos, variants, budget, licence, licence_file, library)
        export_open_clip(open_clip, pretrained, output, clip, zipped=zip_, say=typer.echo)
        return
    if checkpoint is None or data is None or open_clip is not None or labels_file or template or photos:
        raise UsageError("accepted: --checkpoint with --data, or --open-clip with its options")
    from training.text_tower import TextTower, minilm_folder

    from .bundle import BundleConfig, export_bundle
    from .taxonomy import read_parents
    from .variants import choose

    config = BundleConfig(name=name or "agriclip-lite0", version=version, variants=choose(only or []), budget=budget)
    text = TextTower(minilm_folder())
    export_bundle(checkpoint, data, output, text, read_parents(), config, zipped=zip_, say=typer.echo)


@app.command(epilog="Example: python -m export onnx --checkpoint runs/lite0 --photos my-photos --output encoder.onnx")
def onnx(
    output: Annotated[Path, typer.Option(help="The ONNX file.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Folder of a finished training run.")] = None,
    open_clip: OpenClip = None,
    pretrained: Pretrained = None,
    tower: Annotated[Tower, typer.Option(help="With --open-clip: which of its towers.")] = Tower.image,
    photos: Annotated[Path, typer.Option(help="A folder of photos to compare with PyTorch on.")] = EXAMPLE_PHOTOS,
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16: half the size.")] = False,
) -> None:
    """Write a run's image encoder, or a tower of any CLIP, as one ONNX file, held against PyTorch on real photos."""
    if (checkpoint is None) == (open_clip is None):
        raise UsageError("accepted: one of --checkpoint and --open-clip")
    if open_clip is not None:
        from .open_clip_bundle import export_tower

        typer.echo(export_tower(open_clip, pretrained, tower.value, photos, output, half=half))
        return
    assert checkpoint is not None
    from .onnx_file import export_onnx

    typer.echo(export_onnx(checkpoint, photos, output, half=half))


@app.command(epilog="Example: python -m export slim --bundle full.zip --only tensorrt --output jetson.zip --zip")
def slim(bundle: BundlePath, output: Output, only: Only = None, zip_: Zip = False) -> None:
    """Make a smaller bundle that keeps the image encoders of some runtimes."""
    from agriclip_edge.bundle.reader import Bundle

    from .slim import slim as write_slim

    write_slim(Bundle.open(bundle), only or [], output, zipped=zip_)


@app.command(epilog="Example: python -m export family --bundle agriclip_edge/default_bundle --output dist")
def family(
    bundle: BundlePath,
    output: Annotated[Path, typer.Option(help="Folder for one zip a device: cpu, arm, openvino, jetson.")],
) -> None:
    """Make the bundles of a family of devices from one that holds all variants."""
    from agriclip_edge.bundle.reader import Bundle

    from .slim import write_family

    for line in write_family(Bundle.open(bundle), output):
        typer.echo(line)


@app.command()
def tiny(output: Output, zip_: Zip = False) -> None:
    """Write the bundle of some kilobytes that the tests use."""
    from .tiny import write_tiny

    write_tiny(output, zipped=zip_)


@app.command(epilog="Example: python -m export scene --checkpoint runs/scene-student --scene synthetic --output scenes")
def scene(
    checkpoint: Annotated[Path, typer.Option(help="Folder of a student: python -m training diffclip student.")],
    output: Output,
    scene_: Annotated[
        str | None,
        typer.Option(
            "--scene", help="A scene to calibrate INT8 on and to judge it by, as for the student; none leaves it out."
        ),
    ] = None,
    zip_: Zip = False,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "agriclip-scene",
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "0.1.0",
    tile: Annotated[int, typer.Option(help="Pixels along a side that a device takes at a time.")] = 128,
    budget: Annotated[Path, typer.Option(help="What INT8 may lose, as TOML.")] = BUDGET,
    text_bundle: Annotated[
        Path | None, typer.Option(help="Bundle whose text encoder reads words that are no class; else the shipped one.")
    ] = None,
    licence: Annotated[str, typer.Option(help="SPDX identifier of the model's licence.")] = "Apache-2.0",
    licence_file: Annotated[Path | None, typer.Option(help="Its text, when it is another.")] = None,
) -> None:
    """Make a bundle for rasters of many bands out of a student."""
    from training.diffclip.recipes import read_scene

    from .scene import SceneConfig, export_scene

    if (licence != "Apache-2.0") != (licence_file is not None):
        raise UsageError("--licence and --licence-file go together")
    config = SceneConfig(
        name, version, tile=tile, text_bundle=text_bundle, budget=budget, licence=licence, licence_file=licence_file
    )
    found = read_scene(scene_) if scene_ is not None else None
    export_scene(checkpoint, output, config, found, zipped=zip_, say=typer.echo)


@app.command(name="tiny-scene")
def tiny_scene(
    output: Annotated[Path, typer.Option(help="Folder for bundle/ and a field: scene.npy, dsm.npy, classes.npy.")],
) -> None:
    """Train and write the bundle for scenes of some ten kilobytes that the tests use, with a field (a minute)."""
    from .tiny_scene import write_tiny_scene

    write_tiny_scene(output, typer.echo)


@app.command()
def tensorrt(
    bundle: BundlePath,
    prove: Annotated[
        bool, typer.Option("--prove", help="Run the engines too: parity, gate, latency. Needs a GPU.")
    ] = False,
    photos: Annotated[Path | None, typer.Option(help="With --prove: a folder of photos to compare on.")] = None,
    record: Annotated[Path | None, typer.Option(help="With --prove: the JSON file to write.")] = None,
) -> None:
    """Build a bundle's TensorRT variants, without a GPU; with --prove, run them on one."""
    from agriclip_edge.bundle.reader import Bundle

    from .tensorrt import lint
    from .tensorrt_proof import prove as proofs

    opened = Bundle.open(bundle)
    if prove and photos is not None and record is not None:
        lines = proofs(opened, photos, record)
    elif not prove and photos is None and record is None:
        lines = lint(opened)
    else:
        raise UsageError("--prove, --photos and --record go together; accepted: all of them, or none")
    for line in lines:
        typer.echo(line)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    try:
        app()
    except (AgriclipError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
