"""``agriclip-edge classify``: name what photos show."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .exits import DONE, INTERRUPTED, SOME_PHOTOS_FAILED, WRONG_USE, Interrupted, complain
from .output import Format, Record, Writer, choose_format
from .photos import Listed, list_photos
from .progress import progress

if TYPE_CHECKING:
    from ..classifier import Classifier
    from ..imaging.prepared import Prepared

EXAMPLES = """\b
Examples:
  agriclip-edge classify leaf.jpg
  agriclip-edge classify photos/ --pack mango-leaf-disease --top-k 3
  agriclip-edge classify "field/**/*.jpg" --labels "bean leaf with rust, healthy bean leaf"
  agriclip-edge classify leaf.jpg --labels "frosty pod rot, healthy cocoa pod" --language es
  agriclip-edge classify leaf.jpg --explain why/
  agriclip-edge classify photos/ --labels-file beans.csv --adapt photos/
  agriclip-edge classify photos/ --output answers.csv --resume
  find . -name "*.jpg" | agriclip-edge classify - --format jsonl"""


def classify(
    photos: options.Photos,
    bundle: options.BundlePath = None,
    pack: options.Packs = None,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    template: options.Templates = None,
    no_facts: options.NoFacts = False,
    adapt: options.Adapt = None,
    language: options.Language = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, metavar="K", help="At most so many answers a photo.")] = 5,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", min=0, max=1, metavar="P", help="Leave out answers under this.")
    ] = 0.0,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How to write; by default what --output ends in, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write there, whole or not at all.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run that wrote to the same --output.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option("--explain", metavar="FOLDER", help="Write there, for each photo, what drew its answer."),
    ] = None,
    threads: options.Threads = None,
    runtime: options.Runtime = None,
    log: options.LogPath = None,
) -> int:
    """Name what photos show: the best labels, each with its confidence."""
    from ..bundle.reader import Bundle
    from ..errors import UsageError
    from .runlog import RunLog

    if resume and output is None:
        raise UsageError("--resume without --output; what was printed cannot be taken up")
    run_log = RunLog(log)
    code = WRONG_USE
    try:
        opened = Bundle.open(bundle)
        listed = list_photos(photos)
        ahead = _Ahead(listed, opened.manifest.preprocessing.size)
        # One photo gets all cores for its encoder run; of many, each core takes one photo all the way.
        wanted = threads if len(listed) <= 1 else 1
        classifier = options.open_classifier(
            opened, pack, labels, labels_file, template, wanted, runtime, facts=not no_facts
        )
        if adapt is not None:
            options.adapt(classifier, [adapt])
        run = _Run(classifier, listed, ahead, top_k, min_confidence, threads)
        run_log.facts.update(run.facts())
        if explain is not None:
            run.explain_into(explain)
        run.names.update(options.display_names(classifier.pack, language))
        code = run.to_file(output, choose_format(form, output), resume) if output else run.to_stdout(form)
        return code
    except (KeyboardInterrupt, Interrupted):
        code = INTERRUPTED
        raise
    finally:
        run_log.facts["photos"] = run.counts if "run" in locals() else {}
        run_log.write(code)


class _Ahead:
    """The first photo, made ready in a thread of its own while the encoder loads."""

    def __init__(self, listed: list[Listed], size: int) -> None:
        self._path = next((item.path for item in listed if item.error is None), None)
        self._size = size
        self._ready: Prepared | None = None
        self._thread = threading.Thread(target=self._prepare, daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        from ..imaging.prepared import prepare

        if self._path is not None:
            with suppress(Exception):  # it will fail again in its turn, where a failure is told
                self._ready = prepare(self._path, self._size)

    def take(self, path: str) -> str | Prepared:
        """The photo at ``path``: ready the first time that it is the first one, else its path."""
        if path != self._path:
            return path
        self._path = None
        self._thread.join()
        return self._ready or path


class _Run:
    """One list of photos under one choice of labels."""

    def __init__(
        self,
        classifier: Classifier,
        listed: list[Listed],
        ahead: _Ahead,
        top_k: int,
        min_confidence: float,
        threads: int | None,
    ) -> None:
        from ..runtimes import available_cores

        self._classifier = classifier
        self._listed = listed
        self._ahead = ahead
        self._top_k = top_k
        self._min_confidence = min_confidence
        self._workers = min(threads or available_cores(), max(len(listed), 1))
        self._folder: Path | None = None  # for pictures of what drew the answers
        self.names: dict[str, str] = {}  # what a table shows in place of labels
        self.counts = {"given": len(listed), "answered": 0, "failed": 0, "resumed": 0}

    def explain_into(self, folder: Path) -> None:
        """Write a picture of what drew each answer; the folder is made here, before any work."""
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        self._folder = folder

    def facts(self) -> dict[str, Any]:
        """What the log says about bundle and labels."""
        bundle, pack = self._classifier.bundle, self._classifier.pack
        return {
            "bundle": {"name": bundle.manifest.name, "version": bundle.manifest.version, "sha256": bundle.sha256},
            "variant": self._classifier.variant,
            "labels": {
                "pack": pack.name,
                "count": len(pack.labels),
                "templates": list(pack.templates),
                "adapted": pack.origin.photos if pack.origin is not None else 0,
            },
        }

    def to_stdout(self, form: Format | None) -> int:
        """Print each answer as it comes."""
        stream = sys.stdout.buffer
        writer = Writer(stream, form or Format.table, colour=sys.stdout.isatty(), names=self.names)
        with progress(len(self._listed)) as advance:
            for record in self._answers(self._listed):
                try:
                    writer.write(record)
                except BrokenPipeError:
                    done = self.counts["answered"] + self.counts["failed"]
                    message = f"the reader of the output closed it; stopped after {done} of {len(self._listed)} photos"
                    raise BrokenPipeError(message) from None
                advance()
        writer.finish()
        return self._code()

    def to_file(self, output: Path, form: Format, resume: bool) -> int:
        """Keep a journal beside ``output``, and write ``output`` from it when all photos are done."""
        from ..files import atomic_write
        from .journal import Journal

        if output.exists() and not output.is_file():  # a pipe or a device: nothing can be renamed there
            with open(output, "wb") as stream:
                self._drain(Writer(stream, form, names=self.names))
            return self._code()
        if resume and output.exists() and not output.with_name(output.name + ".partial").exists():
            complain(f"{output} is complete; nothing to resume")
            return DONE
        journal = Journal(output, self._request(), resume=resume)
        self.counts["resumed"] = journal.resumed
        keep = True
        try:
            missing = []
            for item in self._listed:
                known = journal.take(item.path)
                if known is None:
                    missing.append(item)
                else:
                    self._count(known)
            with progress(len(missing)) as advance:
                for record in self._answers(missing):
                    journal.add(record)
                    advance()
            records: dict[str, deque[Record]] = defaultdict(deque)
            for record in journal.records():
                records[record["path"]].append(record)
            with atomic_write(output) as stream:
                writer = Writer(stream, form, names=self.names)
                for item in self._listed:
                    writer.write(records[item.path].popleft())
                writer.finish()
            keep = False
        except KeyboardInterrupt:
            done = self.counts["answered"] + self.counts["failed"]
            message = f"interrupted: {done} of {len(self._listed)} photos are in {journal.path}; --resume goes on"
            raise Interrupted(message) from None
        finally:
            journal.close(keep=keep)
        return self._code()

    def _drain(self, writer: Writer) -> None:
        with progress(len(self._listed)) as advance:
            for record in self._answers(self._listed):
                writer.write(record)
                advance()
        writer.finish()

    def _answers(self, listed: list[Listed]) -> Iterator[Record]:
        """One record an item, in order; each failure is one line on stderr."""
        from ..answer import Answer

        if self._classifier.note is not None:
            complain(self._classifier.note)
        good = (self._ahead.take(item.path) for item in listed if item.error is None)
        answers = self._classifier.classify_many(
            good, top_k=self._top_k, min_confidence=self._min_confidence, workers=self._workers
        )
        for item in listed:
            answer = next(answers) if item.error is None else Answer(item.path, (), item.error)
            record = answer.to_record()
            self._count(record)
            if record["error"] is not None:
                complain(f"{item.path}: {record['error']}")
            elif self._folder is not None:
                self._explain(self._folder, item.path)
            yield record

    def _explain(self, folder: Path, path: str) -> None:
        from PIL import Image

        from ..files import atomic_write

        # Photos of one name in several folders: the path decides, so that --resume writes to the same place.
        stem, same = Path(path).stem, [item.path for item in self._listed if Path(item.path).stem == Path(path).stem]
        number = list(dict.fromkeys(same)).index(path)
        picture = Image.fromarray(self._classifier.explain(path).picture())
        with atomic_write(folder / f"{stem}{f'-{number + 1}' if number else ''}.jpg") as file:
            picture.save(file, "JPEG", quality=90)

    def _count(self, record: Record) -> None:
        self.counts["answered" if record["error"] is None else "failed"] += 1

    def _code(self) -> int:
        return SOME_PHOTOS_FAILED if self.counts["failed"] else DONE

    def _request(self) -> dict[str, Any]:
        """What decides the answers; a run is resumed only under the same."""
        import hashlib

        pack = self._classifier.pack
        return {
            "bundle": self._classifier.bundle.sha256,
            "variant": self._classifier.variant,
            "labels": hashlib.sha256(pack.to_bytes()).hexdigest(),
            "top_k": self._top_k,
            "min_confidence": self._min_confidence,
            "folder": os.getcwd(),  # paths are relative to it
        }
