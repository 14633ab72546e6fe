"""Options that several commands share, so that their words and defaults cannot drift apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..bundle.reader import Bundle
    from ..classifier import Classifier
    from ..labels.pack import Label, LabelPack


def complete_pack(incomplete: str) -> list[str]:
    """Names of packs that begin with what was typed, for the shell's completion."""
    from ..bundle.reader import Bundle
    from ..errors import AgriclipError
    from ..labels.store import PackStore

    try:
        names = [entry.name for entry in Bundle.open().manifest.packs] + PackStore().names()
    except (AgriclipError, OSError):
        return []
    return sorted(name for name in set(names) if name.startswith(incomplete))


Photos = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTO...",
        help="Photos, folders (searched through), glob patterns, or - for a list of paths on stdin.",
        show_default=False,
    ),
]
BundlePath = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="PATH",
        envvar="AGRICLIP_EDGE_BUNDLE",
        help="A bundle's folder or zip; else the shipped one.",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, metavar="N", help="Cores to use; all by default.")
]
Runtime = Annotated[
    str | None,
    typer.Option("--runtime", metavar="NAME", help="A runtime or variant of the bundle; the fastest by default."),
]
LogPath = Annotated[
    Path | None,
    typer.Option("--log", metavar="FILE", help="Write versions, bundle hash, arguments and counts there, as JSON."),
]
Packs = Annotated[
    list[str] | None,
    typer.Option(
        "--pack",
        metavar="NAME",
        help="Labels of this pack (a name or a .safetensors file); repeatable; the default packs otherwise.",
        autocompletion=complete_pack,
    ),
]
Labels = Annotated[
    str | None, typer.Option("--labels", metavar="TEXT", help="Labels in your own words, with commas between them.")
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels-file",
        metavar="FILE",
        help="Labels one a line, or a CSV with columns label, parent, synonyms (;), names.es, names.fr …",
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option("--template", metavar="TEXT", help="Prompt for typed labels, {} being the label; repeatable."),
]

NoFacts = Annotated[
    bool, typer.Option("--no-facts", help="Take typed labels as words alone; do not look them up in the facts library.")
]
Adapt = Annotated[
    str | None,
    typer.Option(
        "--adapt",
        metavar="FOLDER",
        help="Photos of your place, without labels, that the labels are set against; 30 do.",
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="CODE",
        help="Show labels in this language where they have names in it (es, fr, pt, hi …).",
    ),
]


def display_names(pack: LabelPack, language: str | None) -> dict[str, str]:
    """What labels are called in a language, by label; those without a name in it keep their own words.

    Raises:
        UsageError: no label has one.
    """
    from ..errors import UsageError

    if language is None:
        return {}
    names = {label.text: label.names[language] for label in pack.labels if language in label.names}
    if not names:
        known = sorted({code for label in pack.labels for code in label.names})
        raise UsageError(f"--language {language}; these labels have names in: {', '.join(known) or 'none'}")
    return names


def tell_matches(bundle: Bundle, labels: Iterable[Label]) -> None:
    """Say on stderr what typed labels were taken to mean, one line a label."""
    from ..labels.build import match_labels
    from .exits import complain

    for match in match_labels(bundle, labels):
        complain(str(match))


def adapt(classifier: Classifier, photos: Sequence[str]) -> tuple[LabelPack, bool]:
    """The labels in use, set against the photos of a place and used from now on; bad photos are named on stderr.

    Returns:
        the labels, and whether all photos could be used.

    Raises:
        UsageError: too few could.
        LabelError: the labels were taught.
    """
    from ..adaptation import adapted, spread
    from .embedded import embed_listed
    from .photos import list_photos

    listed = spread(list_photos(photos))
    vectors, used = embed_listed(listed, classifier.embed)
    pack = classifier.use(adapted(classifier.pack, vectors, classifier.bundle.image_encoder_id))
    return pack, len(used) == len(listed)


def open_classifier(
    bundle: Bundle,
    packs: Sequence[str] | None,
    labels: str | None,
    labels_file: Path | None,
    templates: Sequence[str] | None,
    threads: int | None,
    runtime: str | None,
    *,
    facts: bool = True,
) -> Classifier:
    """A classifier for the labels that the options choose.

    Raises:
        UsageError: more than one of ``--pack``, ``--labels`` and ``--labels-file``, or ``--template`` alone.
    """
    from ..classifier import load
    from ..errors import UsageError
    from ..labels.lists import parse_labels, read_label_file

    chosen = [
        name
        for name, value in (("--pack", packs), ("--labels", labels), ("--labels-file", labels_file))
        if value is not None and value != []
    ]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} together; accepted: one of them")
    if templates and chosen not in (["--labels"], ["--labels-file"]):
        raise UsageError("--template goes with --labels or --labels-file; packs carry their own templates")
    typed = None
    if labels is not None:
        typed = parse_labels(labels)
    elif labels_file is not None:
        typed = read_label_file(labels_file)
    if not facts and typed is None:
        raise UsageError("--no-facts goes with --labels or --labels-file; packs are as they were built")
    if facts and typed is not None:
        tell_matches(bundle, typed)
    return load(
        bundle,
        packs=packs or None,
        labels=typed,
        templates=templates or None,
        facts=facts,
        threads=threads,
        runtime=runtime,
    )
