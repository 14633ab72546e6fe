"""The commands ``python -m training diffclip student`` and ``map``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

STUDENT_EXAMPLES = """Examples:

python -m training diffclip student --run runs/scene --scene synthetic --output runs/scene-student

python -m training diffclip student --run runs/scene --scene synthetic --camera examples/cameras/rededge-mx.json
--output runs/drone-student

python -m training diffclip student --run runs/scene --scene synthetic --output runs/scene-student --time"""
MAP_EXAMPLES = """Examples:

python -m training diffclip map --run runs/scene-student --scene synthetic --output map.tif

python -m training diffclip map --run runs/scene --scene scene.tif --lidar dsm.tif --output map.tif"""

Run = Annotated[Path, typer.Option("--run", help="Folder of a run; of a student, or of the transformer.")]
SceneName = Annotated[
    str, typer.Option("--scene", help="synthetic, a scene's folder, or the name of one under AGRICLIP_DATA.")
]
Threads = Annotated[int, typer.Option(help="Cores for torch; 0 takes its own choice.")]


def student(
    run: Annotated[Path, typer.Option("--run", help="Folder of the transformer's run, with its classes.")],
    scene: SceneName,
    output: Annotated[Path, typer.Option(help="Folder for the student.")],
    camera: Annotated[
        Path | None, typer.Option(help="JSON of a camera: the student gets its bands in place of the scene's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of distillation.")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Channels of the student.")] = None,
    time: Annotated[
        bool, typer.Option("--time", help="Only time the student that is there again; figures want a quiet machine.")
    ] = False,
    threads: Threads = 0,
) -> None:
    """Distil the per-pixel transformer into a convolutional student that maps a scene in one pass."""
    import torch
    from rich.console import Console

    from agriclip_edge.errors import UsageError
    from agriclip_edge.scene.camera import read_camera

    from ..progress import StatusLine
    from .recipes import read_scene
    from .run import load_run
    from .student import StudentConfig, distil, time_again

    if threads > 0:
        torch.set_num_threads(threads)
    if time and any(option is not None for option in (camera, steps, width)):
        raise UsageError("--time measures a finished student as it is; accepted: no --camera, --steps or --width")
    if time:
        speed_up = time_again(load_run(run), read_scene(scene), output).figures.speed_up
        Console().print(f"student  {speed_up:.0f} times as fast as the per-pixel classifier", highlight=False)
        return
    changes = {name: value for name, value in (("steps", steps), ("width", width)) if value is not None}
    status = StatusLine(Console())
    distil(
        load_run(run),
        read_scene(scene),
        output,
        replace(StudentConfig(), **changes),
        status.say,
        status.step,
        read_camera(camera) if camera is not None else None,
    )


def map_(
    run: Run,
    scene: Annotated[str, typer.Option("--scene", help="A raster file, or a scene as for student.")],
    output: Annotated[Path, typer.Option(help="The map: .tif with pictures beside it, or .png.")],
    lidar: Annotated[Path | None, typer.Option(help="With a raster file: heights on the same grid.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of a raster file: reflectance, radiance or dn.")] = None,
    scale: Annotated[float, typer.Option(help="Multiply a raster file's stored numbers by this.")] = 1.0,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Confidence below which a pixel is none of the classes.")
    ] = None,
    threads: Threads = 0,
) -> None:
    """Write the class map and the confidence map of a scene, in bounded memory, and print what they show."""
    import torch
    from rich.console import Console

    from agriclip_edge.errors import UsageError
    from agriclip_edge.scene.read import open_raster
    from agriclip_edge.scene.sources import Sources
    from agriclip_edge.scene.write import check_output

    from ..progress import StatusLine
    from .mapping import map_rasters, map_scene, open_mapper
    from .recipes import read_scene

    if threads > 0:
        torch.set_num_threads(threads)
    check_output(output)
    mapper = open_mapper(run, threshold)
    status = StatusLine(Console(stderr=True))
    if Path(scene).is_file():
        with ExitStack() as stack:
            name = next(iter(mapper.modalities))
            rasters = [stack.enter_context(open_raster(scene, name, unit=unit, scale=scale))]
            rasters += [stack.enter_context(open_raster(lidar, "lidar"))] if lidar is not None else []
            sources = Sources(rasters, mapper.modalities, mapper.ground_sampling)
            for note in sources.notes:
                status.say(note)
            summary = map_rasters(mapper, sources, output, status.step)
    else:
        if lidar is not None:
            raise UsageError("--lidar goes with a raster file; a scene's folder has its own")
        summary = map_scene(mapper, read_scene(scene), output, status.step)
    typer.echo(json.dumps({"map": str(output), **summary.to_record()}, indent=2, ensure_ascii=False))
