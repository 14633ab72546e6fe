"""``agriclip-edge teach``: add a label to a pack, or improve one, by a few photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .embedded import embed_listed
from .exits import DONE, SOME_PHOTOS_FAILED, complain
from .photos import list_photos

if TYPE_CHECKING:
    from ..bundle.reader import Bundle
    from ..teaching import Teaching

EXAMPLES = """\b
Examples:
  agriclip-edge teach "frosty pod rot" p1.jpg p2.jpg p3.jpg p4.jpg p5.jpg --pack mine --from cocoa
  agriclip-edge teach "healthy maize leaf" healthy/ --pack maize-leaf-disease
  agriclip-edge teach --undo --pack mine
  agriclip-edge teach --export pods.lessons --pack mine
  agriclip-edge teach --import pods.lessons --pack mine
  agriclip-edge classify pod.jpg --pack mine"""


def teach(
    label: Annotated[
        str | None, typer.Argument(metavar="LABEL", help="What the photos show, in words.", show_default=False)
    ] = None,
    photos: Annotated[
        list[str] | None,
        typer.Argument(metavar="PHOTO...", help="Photos of it, folders or patterns; five do.", show_default=False),
    ] = None,
    pack: Annotated[
        str,
        typer.Option(
            "--pack",
            metavar="NAME",
            help="Your own pack to teach; one of the bundle's is copied first.",
            autocompletion=options.complete_pack,
        ),
    ] = "mine",
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Start a new pack as a copy of this one.")
    ] = None,
    parent: Annotated[str, typer.Option("--parent", metavar="TEXT", help="A new label's broader label.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take back the last lesson of the pack.")] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write what the pack was taught: embeddings, no photo."),
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Teach the pack what another device exported.")
    ] = None,
    bundle: options.BundlePath = None,
    threads: options.Threads = None,
    runtime: options.Runtime = None,
) -> int:
    """Add a label to a pack of your own, or improve one, by a few photos; no training.

    Told is how many of all taught photos are answered rightly, each by a pack that was made without it.
    """
    from ..bundle.reader import Bundle
    from ..errors import LabelError, UsageError
    from ..teaching import open_teaching, read_lessons

    chosen = [name for name, on in (("--undo", undo), ("--export", export), ("--import", import_)) if on]
    if label is not None:
        chosen.insert(0, "LABEL and PHOTO")
    if len(chosen) != 1:
        found = f"{' and '.join(chosen)} together" if chosen else "nothing to teach"
        raise UsageError(f"{found}; accepted: one of LABEL with PHOTO..., --undo, --export and --import")
    if label is not None and not photos:
        raise UsageError(f"no photo of {label!r}; accepted: at least one, five do")
    opened = Bundle.open(bundle)
    opened.for_photos()
    teaching = open_teaching(opened, pack, source)
    if label is not None:
        return _learn(opened, teaching, pack, label, photos or [], parent, threads, runtime)
    if teaching is None:
        raise LabelError(f"no pack named {pack!r}; --from NAME starts one as a copy")
    if undo:
        return _tell(opened, teaching.undo(), teaching)
    if import_ is not None:
        lessons, _ = read_lessons(import_, opened)
        return _tell(opened, teaching.learn(*lessons), teaching)
    assert export is not None
    return _export(opened, teaching, export)


def _learn(
    bundle: Bundle,
    teaching: Teaching | None,
    pack: str,
    label: str,
    photos: list[str],
    parent: str,
    threads: int | None,
    runtime: str | None,
) -> int:
    from ..classifier import Classifier, build_pack
    from ..labels.pack import Label, check_text
    from ..teaching import Teaching

    check_text(label)
    if teaching is None:
        teaching = Teaching(build_pack(bundle, [Label(label, parent)], name=pack))
    classifier = Classifier(bundle, teaching.base, threads=threads, runtime=runtime)
    listed = list_photos(photos)
    vectors, used = embed_listed(listed, lambda path: classifier.embed_views([path]))
    if not used:
        complain(f"no photo could be used; pack {pack} stays as it was")
        return SOME_PHOTOS_FAILED
    _tell(bundle, teaching.learn(classifier.lesson(Label(label, parent), vectors, teaching)), teaching)
    return DONE if len(used) == len(listed) else SOME_PHOTOS_FAILED


def _tell(bundle: Bundle, teaching: Teaching, earlier: Teaching) -> int:
    """Write the pack, and say what has changed."""
    from ..teaching import TeachingStore

    pack, before, after = teaching.pack(bundle, earlier if len(teaching.lessons) > len(earlier.lessons) else None)
    path = TeachingStore(bundle).write(teaching, pack)
    taught: dict[str, int] = {}
    for lesson in teaching.lessons:
        taught[lesson.label.text] = taught.get(lesson.label.text, 0) + len(lesson.photos)
    typer.echo(f"{path}: {len(pack.labels)} labels, {len(taught)} of them taught")
    for text, count in taught.items():
        typer.echo(f"  {text}: {count} photo{'s' * (count > 1)}")
    if len(pack.labels) == 1:
        typer.echo("  a single label is always the answer: teach another, or start with --from a pack")
    elif taught:
        if teaching.base.origin is not None:
            typer.echo("  no longer adapted by photos without labels: those with labels say more")
        typer.echo(f"  right before: {before}; now: {after}, each left out in turn")
    return DONE


def _export(bundle: Bundle, teaching: Teaching, output: Path) -> int:
    from ..errors import LabelError
    from ..files import atomic_write
    from ..teaching import to_bytes

    if not teaching.lessons:
        raise LabelError(f"pack {teaching.base.name!r} has been taught nothing; there is nothing to export")
    with atomic_write(output) as file:
        file.write(to_bytes(teaching, bundle, whole=False))
    photos = sum(len(lesson.photos) for lesson in teaching.lessons)
    typer.echo(f"{output}: {len(teaching.lessons)} lessons, {photos} photos as embeddings")
    return DONE
