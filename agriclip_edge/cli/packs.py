"""``agriclip-edge packs``: label packs, the bundle's and the user's own."""

from __future__ import annotations

import json
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .exits import DONE, SOME_PHOTOS_FAILED

if TYPE_CHECKING:
    from ..bundle.reader import Bundle
    from ..labels.pack import Label, LabelPack

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="""\b
Examples:
  agriclip-edge packs list
  agriclip-edge packs build my-beans --labels-file beans.csv
  agriclip-edge packs build coffee --from-facts "crop = coffee, kind = disease | pest"
  agriclip-edge packs adapt my-beans field/
  agriclip-edge packs diff my-beans usb/my-beans.safetensors
  agriclip-edge classify leaf.jpg --pack my-beans""",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The pack's name.", autocompletion=options.complete_pack)]
Replace = Annotated[bool, typer.Option("--replace", help="Overwrite a pack of the same name.")]


@app.callback()
def _packs() -> None:
    """List, show, build, adapt, compare, add and remove label packs; your own lie in $AGRICLIP_EDGE_HOME/packs."""


@app.command("list", epilog="\b\nExamples:\n  agriclip-edge packs list --json")
def list_packs(
    bundle: options.BundlePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """List the bundle's packs and your own."""
    from ..bundle.reader import Bundle
    from ..errors import AgriclipError
    from ..labels.store import PackStore, read_pack_file

    opened = Bundle.open(bundle)
    rows = [
        {"name": entry.name, "labels": entry.labels, "title": entry.title, "from": "bundle", "default": entry.default}
        for entry in opened.manifest.packs
    ]
    store = PackStore()
    for name in store.names():
        try:
            pack = read_pack_file(store.path(name))
            opened.accept(pack)
            labels, title = len(pack.labels), pack.title
        except AgriclipError as error:  # one broken pack must not hide the others
            labels, title = 0, f"unusable: {error}"
        rows.append({"name": name, "labels": labels, "title": title, "from": str(store.folder), "default": False})
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return DONE
    width = max(len(str(row["name"])) for row in rows) if rows else 0
    for row in rows:
        own = "" if row["from"] == "bundle" else "  (yours)"
        typer.echo(f"{row['name']:<{width}}  {row['labels']:>5} labels  {row['title']}{own}")
    return DONE


@app.command(
    "show",
    epilog="""\b
Examples:
  agriclip-edge packs show mango-leaf-disease
  agriclip-edge packs show mango-leaf-disease --language fr""",
)
def show(
    name: Name,
    language: options.Language = None,
    bundle: options.BundlePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show a pack's labels, parents, synonyms and names; NAME may be a .safetensors file."""
    from ..bundle.reader import Bundle
    from ..labels.store import find_pack

    pack = find_pack(Bundle.open(bundle), name)
    names = options.display_names(pack, language)
    if as_json:
        labels = [
            {
                "label": label.text,
                "parent": label.parent,
                "synonyms": list(label.synonyms),
                "names": label.names,
                "facts": label.facts,
            }
            for label in pack.labels
        ]
        facts = {
            "name": pack.name,
            "title": pack.title,
            "templates": list(pack.templates),
            "temperature": pack.temperature,
            "threshold": pack.threshold,
            "text_encoder": pack.text_encoder,
            "centre": pack.centre,
            "adapted": pack.origin.photos if pack.origin is not None else 0,
            "labels": labels,
        }
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return DONE
    place = f"; adapted by {pack.origin.photos} photos" if pack.origin is not None else ""
    typer.echo(f"{pack.name}: {pack.title}; templates: {', '.join(pack.templates)}{place}")
    for label in pack.labels:
        synonyms = f"  = {', '.join(label.synonyms)}" if label.synonyms else ""
        parent = f"  ({label.parent})" if label.parent else ""
        shown = f"  {names[label.text]}" if label.text in names else ""
        typer.echo(f"  {label.text}{shown and ':'}{shown}{parent}{synonyms}")
    return DONE


@app.command(
    "build",
    epilog="""\b
Examples:
  agriclip-edge packs build my-beans --labels "bean rust, healthy bean leaf"
  agriclip-edge packs build my-beans --labels-file beans.csv --output usb/my-beans.safetensors
  agriclip-edge packs build coffee --from-facts "crop = coffee, kind = disease | deficiency"
  agriclip-edge packs build plain --labels "rust, blight" --no-facts
  agriclip-edge packs build my-beans --labels-file beans.csv --adapt field/

What typed labels were taken to mean is said on stderr, one line a label.""",
)
def build(
    name: Name,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    from_facts: Annotated[
        str | None,
        typer.Option(
            "--from-facts",
            metavar="TEXT",
            help="All classes of the facts library that this chooses: crop = coffee, kind = disease | pest; by crop, "
            "animal, host, kind, parent, organ, scientific, label.",
        ),
    ] = None,
    no_facts: options.NoFacts = False,
    centre: Annotated[
        bool,
        typer.Option(
            "--centre", help="Take off what all labels have in common; such packs go together, not with others."
        ),
    ] = False,
    template: options.Templates = None,
    adapt: options.Adapt = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="One line for people.")] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write this .safetensors file; else into your own packs."),
    ] = None,
    replace: Replace = False,
    bundle: options.BundlePath = None,
) -> int:
    """Make a pack of your own labels, on this device."""
    from ..bundle.reader import Bundle
    from ..errors import LabelError, UsageError
    from ..files import atomic_write
    from ..labels.build import Making, make_pack
    from ..labels.lists import parse_labels, read_label_file
    from ..labels.store import SUFFIX, PackStore
    from ..parallel import begin
    from ..text.encoder import TextEncoder
    from .exits import complain

    store = PackStore()
    path = store.path(name)  # refuses an unusable name before any work
    if [labels, labels_file, from_facts].count(None) != 2:
        raise UsageError("give the labels by one of --labels, --labels-file and --from-facts")
    if from_facts is not None and no_facts:
        raise UsageError("--from-facts and --no-facts together; accepted: one of them")
    if output is not None and output.suffix != SUFFIX:
        raise UsageError(f"--output {output}; accepted: a name that ends in {SUFFIX}")
    target = output or path
    if target.exists() and not replace:
        raise LabelError(f"{target} is there already; --replace overwrites it")
    opened = Bundle.open(bundle)
    if adapt is not None:
        opened.for_photos()
    encoder = begin(TextEncoder, opened)  # while the labels are read and matched
    making = Making(name, title, tuple(template or ()), not no_facts, centre)
    if from_facts is not None:
        pack = make_pack(opened, encoder, _selected(opened, from_facts), making)
    else:
        typed = read_label_file(labels_file) if labels_file is not None else parse_labels(labels or "")
        pack = make_pack(opened, encoder, typed, making, tell=lambda match: complain(str(match)))
    whole = True
    if adapt is not None:
        from ..classifier import Classifier

        pack, whole = options.adapt(Classifier(opened, pack), [adapt])
    if output is None:
        store.add(pack, replace=replace)
    else:
        with atomic_write(output) as file:
            file.write(pack.to_bytes())
    typer.echo(f"{target}: {_counts(pack)}")
    return DONE if whole else SOME_PHOTOS_FAILED


@app.command(
    "adapt",
    epilog="""\b
Examples:
  agriclip-edge packs adapt my-beans field/
  agriclip-edge packs adapt mango-leaf-disease "orchard/2026-*/*.jpg"
  agriclip-edge packs adapt my-beans --undo""",
)
def adapt(
    name: Name,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO...",
            help="Photos of your place without labels, folders or patterns; 30 do.",
            show_default=False,
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Answer again as before the pack was adapted.")] = False,
    bundle: options.BundlePath = None,
    threads: options.Threads = None,
    runtime: options.Runtime = None,
) -> int:
    """Set a pack against your place by a few of its photos, without labels; one of the bundle's is copied first.

    Adapting it again takes the new photos in place of the old ones. The photos are not kept, only their mean.
    """
    from ..bundle.reader import Bundle
    from ..classifier import Classifier
    from ..errors import LabelError, UsageError
    from ..labels.store import PackStore, find_pack

    store = PackStore()
    store.path(name)  # refuses an unusable name before any work
    if bool(photos) == undo:
        raise UsageError("photos and --undo together; accepted: one of them" if undo else "no photo; accepted: 30 do")
    opened = Bundle.open(bundle)
    opened.for_photos()
    pack, whole = replaced(find_pack(opened, name, store), name=name), True
    if undo:
        if pack.origin is None:
            raise LabelError(f"pack {name} is not adapted; there is nothing to undo")
        pack = replaced(pack, origin=None)
    else:
        pack, whole = options.adapt(Classifier(opened, pack, threads=threads, runtime=runtime), photos or [])
    typer.echo(f"{store.add(pack, replace=True)}: {_counts(pack)}")
    return DONE if whole else SOME_PHOTOS_FAILED


@app.command(
    "diff",
    epilog="""\b
Examples:
  agriclip-edge packs diff my-beans usb/my-beans.safetensors
  agriclip-edge packs diff mango-leaf-disease my-mangoes --json""",
)
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A pack: a name, or a .safetensors file.")],
    new: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    bundle: options.BundlePath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show what B has otherwise than A: labels, parents, names, embeddings, templates, temperature, adaptation."""
    from ..bundle.reader import Bundle
    from ..labels.differences import compare
    from ..labels.store import find_pack

    opened = Bundle.open(bundle)
    found = compare(find_pack(opened, old, foreign=True), find_pack(opened, new, foreign=True))
    if as_json:
        typer.echo(json.dumps(found.to_record(), indent=2, ensure_ascii=False))
        return DONE
    for line in found.lines() or ["no difference"]:
        typer.echo(line)
    return DONE


@app.command("add", epilog="\b\nExamples:\n  agriclip-edge packs add usb/my-beans.safetensors")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pack made by packs build.")],
    replace: Replace = False,
    bundle: options.BundlePath = None,
) -> int:
    """Check a pack file and put it among your own packs."""
    from ..bundle.reader import Bundle
    from ..labels.store import PackStore, read_pack_file

    pack = read_pack_file(file)
    Bundle.open(bundle).accept(pack)
    path = PackStore().add(pack, replace=replace)
    typer.echo(f"{path}: {len(pack.labels)} labels")
    return DONE


@app.command("remove", epilog="\b\nExamples:\n  agriclip-edge packs remove my-beans")
def remove(name: Name) -> int:
    """Delete one of your own packs."""
    from ..labels.store import PackStore

    typer.echo(f"removed {PackStore().remove(name)}")
    return DONE


def _counts(pack: LabelPack) -> str:
    place = f", adapted by {pack.origin.photos} photos" if pack.origin is not None else ""
    return f"{len(pack.labels)} labels{place}"


def _selected(bundle: Bundle, selection: str) -> tuple[Label, ...]:
    """Labels of the classes that a selection chooses."""
    from ..errors import LabelError
    from ..labels.selection import select

    if bundle.facts is None:
        raise LabelError("this bundle has no facts library; accepted: --labels or --labels-file")
    return select(bundle.facts, selection)
