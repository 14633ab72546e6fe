"""``agriclip-edge classify-scene``: a map of what grows where, out of a raster of many bands."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .exits import DONE, complain
from .progress import progress

EXAMPLES = """\b
Examples:
  agriclip-edge classify-scene scene.tif --lidar dsm.tif --bundle my-scenes --output map.tif
  agriclip-edge classify-scene scene.hdr --bundle my-scenes --output map.png
  agriclip-edge classify-scene drone.tif --camera rededge-mx.json --bundle my-scenes --output map.tif
  agriclip-edge classify-scene scene.tif --labels "maize, bare soil" --bundle my-scenes --output map.tif
  agriclip-edge classify-scene scene.tif --scale 0.0001 --unit reflectance --bundle my-scenes --output map.tif --json"""


def classify_scene(
    scene: Annotated[
        Path,
        typer.Argument(
            metavar="SCENE",
            help="The spectral raster: GeoTIFF, ENVI (its .hdr or data), MATLAB or NumPy.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            metavar="FILE",
            help="The map: .tif (with pictures beside it) or .png; each has its confidence in -confidence.",
            show_default=False,
        ),
    ],
    bundle: options.BundlePath = None,
    lidar: Annotated[
        Path | None, typer.Option("--lidar", metavar="FILE", help="Heights in metres on the same grid of pixels.")
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option("--modality", metavar="NAME=FILE", help="A further sensor of the bundle, as sar=s1.tif."),
    ] = None,
    camera: Annotated[
        Path | None,
        typer.Option("--camera", metavar="FILE", help="JSON with a camera's bands, unit and scale (docs/diffclip.md)."),
    ] = None,
    wavelengths: Annotated[
        str | None,
        typer.Option("--wavelengths", metavar="NM,NM…", help="Of SCENE's bands in order, where it does not say them."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", metavar="UNIT", help="Of SCENE: reflectance, radiance or dn.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", metavar="X", help="Multiply SCENE's stored numbers by this.")
    ] = None,
    nodata: Annotated[
        float | None, typer.Option("--nodata", metavar="X", help="Stored number of SCENE that means no data.")
    ] = None,
    variable: Annotated[
        str | None, typer.Option("--variable", metavar="NAME", help="Which array of a .mat or .npz file SCENE is.")
    ] = None,
    pack: options.Packs = None,
    words: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="TEXT",
            help="Classes to tell apart, with commas: known ones, or others in your own words (docs/diffclip.md).",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=1, metavar="P", help="Least confidence of a class; below it: none of these."
        ),
    ] = None,
    threads: options.Threads = None,
    runtime: options.Runtime = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the map shows as JSON.")] = False,
) -> int:
    """Make a map of a scene: the class of every pixel, its confidence, and the area of each class.

    Works offline, tile by tile, in memory that does not grow with the raster. A sensor that is missing is said.
    """
    from ..bundle.reader import Bundle
    from ..classifier import open_packs
    from ..errors import UsageError
    from ..labels.lists import parse_labels
    from ..scene.camera import read_camera
    from ..scene.classify import classify_strips, count_tiles, judge_of
    from ..scene.model import SceneModel
    from ..scene.read import open_raster
    from ..scene.sources import Sources
    from ..scene.words import typed_pack
    from ..scene.write import Ground, check_output, write_map

    if camera is not None and (wavelengths or unit or scale is not None):
        raise UsageError("--camera says wavelengths, unit and scale; accepted: it, or --wavelengths, --unit, --scale")
    check_output(output)
    opened = Bundle.open(bundle)
    encoder = opened.for_scenes()
    labels = open_packs(opened, pack or ())
    if words is not None:
        labels = typed_pack(opened, labels, parse_labels(words), Bundle.open())
    model = SceneModel(opened, threads=threads, runtime=runtime)
    further = dict(_pair(words) for words in modality or [])
    further |= {"lidar": lidar} if lidar is not None else {}
    known = read_camera(camera) if camera is not None else None
    with ExitStack() as stack:
        rasters = [
            stack.enter_context(
                open_raster(
                    scene,
                    next(iter(model.modalities)),
                    unit=known.unit if known is not None else unit,
                    wavelengths=known.wavelengths if known is not None else _numbers(wavelengths),
                    nodata=nodata,
                    scale=known.scale if known is not None else 1.0 if scale is None else scale,
                    variable=variable,
                )
            )
        ]
        rasters += [stack.enter_context(open_raster(path, name)) for name, path in further.items()]
        sources = Sources(rasters, model.modalities, encoder.ground_sampling)
        for note in sources.notes:
            complain(note)
        first = sources.first
        judge = judge_of(labels, opened.manifest, threshold)
        ground = Ground(first.height, first.width, first.crs, first.transform, first.ground_sampling)
        with progress(count_tiles(first.height, first.width, model), "tiles") as step:
            strips = classify_strips(sources, first.height, first.width, model, judge, step)
            names = [label.text for label in labels.labels]
            summary = write_map(strips, ground, names, output, labels.title)
    record = {
        "scene": str(scene),
        "map": str(output),
        "bundle": {"name": opened.manifest.name, "version": opened.manifest.version, "sha256": opened.sha256},
        "variant": model.variant,
        "modalities": sources.names,
        "notes": sources.notes,
        "ground_sampling": first.ground_sampling,
        "threshold": judge.threshold,
        **summary.to_record(),
    }
    typer.echo(json.dumps(record, indent=2, ensure_ascii=False) if as_json else _table(record))
    return DONE


def _table(record: dict[str, Any]) -> str:
    """Classes by their share, the largest first; those that occur nowhere are left out."""
    lines = [record["map"]]
    shown = [entry for entry in record["classes"] if entry["pixels"]]
    for entry in [*sorted(shown, key=lambda entry: -entry["pixels"]), record["none_of_these"]]:
        area = f"{entry['hectares']:12.4f} ha" if "hectares" in entry else f"{entry['pixels']:12,} pixels"
        lines.append(f"  {100 * entry['share']:5.1f} %  {area}  {entry['label']}")
    return "\n".join(lines)


def _pair(words: str) -> tuple[str, Path]:
    from ..errors import UsageError

    name, separator, path = words.partition("=")
    if not (separator and name and path):
        raise UsageError(f"--modality {words!r}; accepted: NAME=FILE, as sar=s1.tif")
    return name, Path(path)


def _numbers(words: str | None) -> list[float] | None:
    from ..errors import UsageError

    if words is None:
        return None
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        raise UsageError(f"--wavelengths {words!r}; accepted: nm with commas between, as 475,560,668") from None
