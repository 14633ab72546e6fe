"""The whole way of a photo, from a path to an answer: the only module that knows all of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .answer import THRESHOLD, Answer, Prediction, Timing, Verdict, decide, rank
from .bundle.reader import Bundle
from .errors import BundleError, BundleFault, LabelError, PhotoError, RuntimeUnavailable, UsageError
from .imaging.decode import RGB, Photo
from .imaging.prepared import Prepared, path_of, prepare
from .labels.pack import Label, LabelPack, merge
from .labels.store import find_pack
from .runtimes import Graph, available_cores, check_unit
from .runtimes.choice import open_image_encoder, open_variant
from .text.encoder import TextEncoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from .explain import Explanation
    from .imaging.quality import Complaint
    from .teaching import Lesson, Taught, Teaching

_BATCH = 16  # photos an encoder run in `classify_batch` and `embed`: bounds the memory of the activations


class Classifier:
    """Names what photos show, for one bundle and one choice of labels.

    Attributes:
        bundle: the bundle that it was loaded from.
        threads: cores that it uses.
        variant: name of the image encoder that runs.
        runtime: what runs it: ``onnxruntime``, ``openvino`` or ``tensorrt``.
        passed_over: why the bundle's other image encoders do not run, by name; those that ran slower are not in it.
        note: why this machine's GPU does not run it, in one line; None when it does, or there is none.

    Every method may be called from several threads at once. A change of labels is atomic: each photo is answered
    wholly under the old labels or wholly under the new ones.

    Example:
        >>> import agriclip_edge
        >>> classifier = agriclip_edge.load(labels=["a cow", "a lemon"])
        >>> classifier.classify("examples/photos/cow.jpg").best.label
        'a cow'
    """

    def __init__(
        self,
        bundle: Bundle,
        pack: LabelPack,
        *,
        threads: int | None = None,
        runtime: str | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        """Load the image encoder of ``bundle``; most callers want `agriclip_edge.load`.

        Args:
            bundle: an open bundle.
            pack: the labels to choose among; it must belong to the bundle.
            threads: cores to use; None takes all that this process may run on.
            runtime: as in `agriclip_edge.load`.
            text_encoder: the bundle's text encoder, if the caller has loaded it; else it is loaded when first needed.

        Raises:
            BundleError: the bundle is broken, or the pack belongs to another one.
        """
        bundle.accept(pack)
        self.bundle = bundle
        self.threads = threads or available_cores()
        self._pack = pack
        self._size = bundle.manifest.preprocessing.size
        encoder = open_image_encoder(bundle, runtime, self.threads)
        variant = encoder.variant
        self.variant = variant.name
        self.runtime = variant.runtime
        self.passed_over = encoder.passed_over
        self.note = encoder.note
        self._variant = variant
        self._graph = encoder.graph
        self._worker_graph: Graph | None = None
        self._worker_lock = threading.Lock()
        self._input = variant.input.name
        expected = [None, self._size, self._size, 3], [None, bundle.manifest.embedding_dim]
        if (variant.input.shape, variant.output.shape) != expected or variant.input.dtype != "uint8":
            message = f"variant {variant.name} does not take uint8 (N, {self._size}, {self._size}, 3) to (N, D)"
            raise BundleError(BundleFault.GRAPH_MISMATCH, message)
        self._text = text_encoder
        self._text_lock = threading.Lock()
        self._taught: Taught | None = None

    @property
    def pack(self) -> LabelPack:
        """The labels in use."""
        return self._pack

    def use_packs(self, *names: str) -> LabelPack:
        """Choose among the labels of packs from now on.

        Args:
            names: names of the bundle's or the user's packs, or paths of pack files; none takes the default packs.

        Raises:
            LabelError: no such pack.
            BundleError: a pack is broken or belongs to another bundle.

        Example:
            >>> import agriclip_edge
            >>> len(agriclip_edge.load().use_packs("maize-leaf-disease", "apple-leaf-disease").labels)
            8
        """
        return self.use(open_packs(self.bundle, names))

    def use_labels(
        self, labels: Iterable[str | Label], *, templates: Sequence[str] | None = None, facts: bool = True
    ) -> LabelPack:
        """Choose among labels in the caller's own words from now on.

        Args:
            labels: words, or `Label` objects with parent and synonyms.
            templates: prompts with one ``{}`` for the label; None takes the bundle's own.
            facts: as in `build_pack`.

        Returns:
            the pack in use, C labels with unit embeddings float32 (C, D).

        Raises:
            LabelError: as `build_pack`.

        Example:
            >>> import agriclip_edge
            >>> [label.text for label in agriclip_edge.load().use_labels(["rust", "blight"]).labels]
            ['rust', 'blight']
        """
        return self.use(self.build_pack(labels, templates=templates, facts=facts))

    def use(self, pack: LabelPack) -> LabelPack:
        """Choose among the labels of an open pack from now on; photos under way keep the labels that they have.

        Raises:
            BundleError: the pack belongs to another bundle.

        Example:
            >>> import agriclip_edge
            >>> classifier = agriclip_edge.load()
            >>> classifier.use(classifier.build_pack(["rust", "blight"])).name
            'typed'
        """
        self.bundle.accept(pack)
        self._pack = pack  # one reference: photos under way keep the one that they took
        return pack

    def build_pack(
        self,
        labels: Iterable[str | Label],
        *,
        name: str = "typed",
        title: str = "",
        templates: Sequence[str] | None = None,
        facts: bool = True,
        centre: bool = False,
    ) -> LabelPack:
        """Embed labels with the bundle's text encoder; nothing is written and the labels in use stay.

        Args:
            labels: words, or `Label` objects with parent and synonyms.
            name: name of the pack.
            title: one line for people; the name when empty.
            templates: prompts with one ``{}`` for the label; None takes the bundle's own.
            facts: match labels to the bundle's facts library (other names, spellings, languages), and let what it says
                is seen into the embeddings; `Label.facts` of the pack's labels says which class was meant.
            centre: take the mean of the facts' embeddings off (``docs/bundle-format.md``); such packs go together.

        Raises:
            LabelError: no label, two alike, a template without ``{}``, or the bundle has no text encoder.

        Example:
            >>> import agriclip_edge
            >>> agriclip_edge.load().build_pack(["rust", "blight"]).embeddings.shape
            (2, 768)
        """
        from .labels.build import Making, make_pack
        from .parallel import begin

        making = Making(name, title, tuple(templates or ()), facts, centre)
        return make_pack(self.bundle, begin(self._text_encoder), labels, making)

    def classify(self, photo: Photo, *, top_k: int = 5, min_confidence: float = 0.0) -> Answer:
        """Name what one photo shows.

        Args:
            photo: a path, the bytes of a picture file, a Pillow image or an RGB ``uint8`` array ``(H, W, 3)``.
            top_k: at most so many predictions, at least 1.
            min_confidence: leave out predictions under this, 0 to 1.

        Returns:
            the answer; its ``error`` is always None.

        Raises:
            PhotoError: the photo cannot be used.
            UsageError: ``top_k`` or ``min_confidence`` is out of range.

        Example:
            >>> import agriclip_edge, numpy
            >>> frame = numpy.zeros((720, 1280, 3), numpy.uint8)  # a camera's RGB frame
            >>> len(agriclip_edge.load().classify(frame, top_k=3).predictions)
            3
        """
        _check_choice(top_k, min_confidence)
        return self._classify(photo, self._pack, top_k, min_confidence)

    def classify_batch(
        self, photos: Sequence[Photo] | RGB, *, top_k: int = 5, min_confidence: float = 0.0
    ) -> list[Answer]:
        """Name what several photos show, with the encoder run on many at a time.

        Args:
            photos: a sequence of anything that `classify` takes, or an RGB ``uint8`` array ``(N, H, W, 3)``.
            top_k: at most so many predictions a photo.
            min_confidence: leave out predictions under this.

        Returns:
            one answer a photo, in order; a photo that cannot be used has ``error`` set, the others go on.

        Raises:
            UsageError: an argument is out of range, or ``photos`` is a single photo.

        Example:
            >>> import agriclip_edge, numpy
            >>> frames = numpy.zeros((4, 480, 640, 3), numpy.uint8)
            >>> len(agriclip_edge.load().classify_batch(frames))
            4
        """
        _check_choice(top_k, min_confidence)
        _check_several(photos)
        pack = self._pack
        answers: list[Answer] = []
        for start in range(0, len(photos), _BATCH):
            answers += self._classify_together(list(photos[start : start + _BATCH]), pack, top_k, min_confidence)
        return answers

    def classify_many(
        self,
        photos: Iterable[Photo | Prepared],
        *,
        top_k: int = 5,
        min_confidence: float = 0.0,
        workers: int | None = None,
    ) -> Iterator[Answer]:
        """Name what any number of photos show, in flat memory: decoding and encoding overlap in several threads.

        Args:
            photos: an iterable of anything that `classify` takes, or of photos that are ready for the encoder; it is
                read a few items ahead.
            top_k: at most so many predictions a photo.
            min_confidence: leave out predictions under this.
            workers: photos under way at once; None takes the classifier's threads.

        Yields:
            one answer a photo, in order; a photo that cannot be used has ``error`` set, the others go on.

        Raises:
            UsageError: an argument is out of range.

        Example:
            >>> import agriclip_edge
            >>> paths = ["examples/photos/cow.jpg", "no-such-file.jpg"]
            >>> [answer.error for answer in agriclip_edge.load().classify_many(paths)]
            [None, 'no such file']
        """
        _check_choice(top_k, min_confidence)
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers}; accepted: at least 1")

        workers = workers or self.threads
        graph = self._graph if workers == 1 else self._open_worker_graph()

        def answer(photo: Photo | Prepared) -> Answer:
            try:
                return self._classify(photo, self._pack, top_k, min_confidence, graph)
            except (PhotoError, RuntimeUnavailable) as error:
                return self._failed(photo, error)

        if workers == 1:
            return map(answer, photos)
        from .parallel import ordered_map  # a single photo does not wait for the import of thread pools

        return ordered_map(answer, photos, workers)

    def embed(self, photos: Photo | Sequence[Photo]) -> npt.NDArray[np.float32]:
        """Image embeddings.

        Args:
            photos: one photo, a sequence of photos, or an RGB ``uint8`` array ``(N, H, W, 3)``.

        Returns:
            unit vectors, float32 (N, D); N is 1 for one photo.

        Raises:
            PhotoError: a photo cannot be used.

        Example:
            >>> import agriclip_edge
            >>> agriclip_edge.load().embed("examples/photos/cow.jpg").shape
            (1, 768)
        """
        if isinstance(photos, np.ndarray) and photos.ndim == 4:
            several: list[Photo] = list(photos)
        elif isinstance(photos, (list, tuple)):
            several = list(photos)
        else:
            several = [photos]  # type: ignore[list-item]  # a Sequence that is no list holds no photos: str, bytes
        vectors = np.empty((len(several), self.bundle.manifest.embedding_dim), np.float32)
        for start in range(0, len(several), _BATCH):
            inputs = [prepare(photo, self._size).square for photo in several[start : start + _BATCH]]
            vectors[start : start + len(inputs)] = self._encode(np.stack(inputs))
        return vectors

    def adapt(self, photos: Sequence[Photo] | RGB) -> LabelPack:
        """Set the labels in use against a place by a few of its photos, which need no labels, and go on with these.

        What all photos of a place have in common draws some labels nearer and others farther, whatever a photo shows;
        half of it is taken off (`agriclip_edge.adaptation.origin_of`, Zhou et al. 2023). Labels that nobody
        trained on may gain (``docs/teach.md``). Adapting again takes the new photos in place of the old ones.

        Args:
            photos: of the place, whatever they show, best of all labels; 30 do. Those that cannot be used are passed
                over; of more than 100, 100 are looked at, at even steps.

        Returns:
            the pack in use; ``origin.photos`` says how many photos could be used.

        Raises:
            UsageError: under 4 photos could be used; the first one's fault is its cause.
            LabelError: the labels in use were taught by photos with labels, which say more.

        Example:
            >>> import agriclip_edge, numpy
            >>> classifier = agriclip_edge.load(labels=["a cow", "a lemon"])
            >>> frames = numpy.random.default_rng(0).integers(0, 256, (4, 240, 320, 3), numpy.uint8)
            >>> classifier.adapt(frames).origin.photos
            4
        """
        from .adaptation import adapted, spread

        _check_several(photos)
        pack, fault = self._pack, None
        vectors: list[npt.NDArray[np.float32]] = []
        for photo in spread(list(photos)):
            try:
                vectors.append(self.embed([photo])[0])
            except (PhotoError, RuntimeUnavailable) as error:
                fault = fault or error
        try:
            return self.use(adapted(pack, np.array(vectors, np.float32), self.bundle.image_encoder_id))
        except UsageError as error:
            raise error from fault

    def teach(self, label: str | Label, photos: Sequence[Photo], *, pack: str | None = None) -> Taught:
        """Add a label to those in use or to a pack of your own, or improve one, from a few photos.

        Args:
            label: words, or a `Label` with parent and synonyms.
            photos: photos of it, at least one; five do.
            pack: name of the user's own pack to teach and to write, as ``agriclip-edge teach --pack`` does: one of the
                bundle's is copied first, and a new one begins with this label. None teaches the labels in use, and
                nothing is written.

        Returns:
            the pack, now in use, with how many of the photos are answered rightly before and after, and what was
            taught (`agriclip_edge.teaching.Teaching`).

        Raises:
            LabelError: the label's words or the pack's name cannot be used, or too many photos.
            BundleError: the pack or what it was taught is broken or foreign.
            PhotoError: a photo cannot be used.
            UsageError: no photo.
            OSError: the pack cannot be written.

        Example:
            >>> import agriclip_edge
            >>> classifier = agriclip_edge.load(labels=["a cow", "a lemon"])
            >>> taught = classifier.teach("a Jersey cow", ["examples/photos/cow.jpg"])
            >>> [label.text for label in taught.pack.labels]
            ['a cow', 'a lemon', 'a Jersey cow']
        """
        from .teaching import Taught, Teaching, TeachingStore, open_teaching

        if not len(photos):
            raise UsageError("no photo to teach by; accepted: at least one")
        if pack is not None:
            earlier = open_teaching(self.bundle, pack) or Teaching(self.build_pack([label], name=pack))
        elif self._taught is not None and self._taught.pack is self._pack:
            earlier = self._taught.teaching
        else:
            earlier = Teaching(self._pack)
        teaching = earlier.learn(self.lesson(label, self.embed_views(photos), earlier))
        taught = Taught(teaching, *teaching.pack(self.bundle, earlier))
        if pack is not None:
            TeachingStore(self.bundle).write(teaching, taught.pack)
        self._taught = taught
        self.use(taught.pack)
        return taught

    def embed_views(self, photos: Sequence[Photo]) -> npt.NDArray[np.float32]:
        """Embeddings to teach by: of each photo the mean over itself, its middle and their mirror images.

        With five photos a label this brought 1.1 points, 70.7 to 71.8 %: mean over nine tasks that the encoder was not
        trained on and eight draws. Mirror images alone brought 0.1.

        Returns:
            unit vectors, float32 (N, D), N at least 1.

        Raises:
            PhotoError: a photo cannot be used.

        Example:
            >>> import agriclip_edge
            >>> agriclip_edge.load().embed_views(["examples/photos/cow.jpg"]).shape
            (1, 768)
        """
        from .teaching import views_of

        squares = (prepare(photo, self._size).square for photo in photos)
        means = np.stack([self._encode(views_of(square)).mean(axis=0) for square in squares])
        vectors: npt.NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    def lesson(self, label: str | Label, vectors: npt.NDArray[np.float32], teaching: Teaching) -> Lesson:
        """One label's photos, as embeddings float32 (n, D), for a pack that is being taught.

        Raises:
            LabelError: the label's words cannot be used.
        """
        from .teaching import Lesson

        vectors = vectors.astype(np.float16).astype(np.float32)  # as it is kept: the same pack comes of a file
        known = {entry.text.casefold(): row for row, entry in enumerate(teaching.labels)}
        wanted = label if isinstance(label, Label) else Label(label)
        row = known.get(wanted.text.casefold())
        if row is not None:
            return Lesson(teaching.labels[row], teaching.texts()[row], vectors)
        if self.bundle.manifest.text is None:  # words say nothing to this bundle: those of the pack on average
            text = teaching.texts().mean(axis=0)
            return Lesson(wanted, (text / np.linalg.norm(text)).astype(np.float16).astype(np.float32), vectors)
        words = self.build_pack([wanted], facts=True, centre=bool(teaching.base.centre))
        return Lesson(words.labels[0], words.embeddings[0], vectors)

    def explain(self, photo: Photo, *, label: str | None = None) -> Explanation:
        """Find the patches of a photo that drew an answer, by covering them; some 220 encoder runs.

        Args:
            photo: as for `classify`.
            label: which answer to explain, one of the labels in use; None takes the best one.

        Raises:
            LabelError: no such label.
            PhotoError: the photo cannot be used.

        Example:
            >>> import agriclip_edge
            >>> explanation = agriclip_edge.load(labels=["a cow", "a lemon"]).explain("examples/photos/cow.jpg")
            >>> explanation.label, explanation.picture().ndim
            ('a cow', 3)
        """
        from .explain import explain

        pack = self._pack
        temperature = pack.temperature or self.bundle.manifest.temperature

        def probabilities(squares: RGB) -> npt.NDArray[np.float64]:
            logits = (self._encode(squares) @ pack.embeddings.T - pack.offsets).astype(np.float64) / temperature
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
            return shares

        return explain(photo, self._size, [entry.text for entry in pack.labels], probabilities, label)

    def _text_encoder(self) -> TextEncoder:
        with self._text_lock:  # loaded when the first label is typed; most photos never need it
            if self._text is None:
                self._text = TextEncoder(self.bundle, self.threads)
            return self._text

    def _open_worker_graph(self) -> Graph:
        """The encoder on one core, for several photos at once: a core that takes a photo all the way waits for none."""
        if self.threads == 1 or self.runtime == "tensorrt":
            return self._graph
        with self._worker_lock:
            if self._worker_graph is None:
                self._worker_graph = open_variant(self.bundle, self._variant, 1)
            return self._worker_graph

    def _encode(self, squares: RGB, graph: Graph | None = None) -> npt.NDArray[np.float32]:
        """Unit vectors (N, D) of N inputs (N, S, S, 3)."""
        vectors = (graph or self._graph).run({self._input: squares})
        return check_unit(vectors, self.bundle.manifest.embedding_dim, "image encoder")

    def _classify(
        self,
        photo: Photo | Prepared,
        pack: LabelPack,
        top_k: int,
        min_confidence: float,
        graph: Graph | None = None,
    ) -> Answer:
        ready = prepare(photo, self._size)
        start = time.perf_counter()
        vector = self._encode(ready.square[np.newaxis], graph)
        encoded = time.perf_counter()
        predictions, verdict = self._judge(vector, [ready], pack, top_k, min_confidence)[0]
        ranked = time.perf_counter()
        timing = Timing(ready.decode_ms, ready.preprocess_ms, (encoded - start) * 1e3, (ranked - encoded) * 1e3)
        return Answer(ready.path, predictions, None, timing, self.runtime, self.note, verdict)

    def _classify_together(
        self, photos: list[Photo], pack: LabelPack, top_k: int, min_confidence: float
    ) -> list[Answer]:
        answers = [Answer(path_of(photo), (), runtime=self.runtime, note=self.note) for photo in photos]
        prepared, rows = [], []
        for row, photo in enumerate(photos):
            try:
                prepared.append(prepare(photo, self._size))
            except (PhotoError, RuntimeUnavailable) as error:
                answers[row] = self._failed(photo, error)
                continue
            rows.append(row)
        if not prepared:
            return answers
        start = time.perf_counter()
        vectors = self._encode(np.stack([ready.square for ready in prepared]))
        encoded = time.perf_counter()
        judged = self._judge(vectors, prepared, pack, top_k, min_confidence)
        share = 1e3 / len(rows)  # a photo's share of what its batch spent
        encode_ms, rank_ms = (encoded - start) * share, (time.perf_counter() - encoded) * share
        for row, (predictions, verdict), ready in zip(rows, judged, prepared):
            timing = Timing(ready.decode_ms, ready.preprocess_ms, encode_ms, rank_ms)
            answers[row] = replace(answers[row], predictions=predictions, timing_ms=timing, verdict=verdict)
        return answers

    def _failed(self, photo: Photo | Prepared, error: Exception) -> Answer:
        return Answer(path_of(photo), (), str(error), runtime=self.runtime, note=self.note)

    def _judge(
        self,
        vectors: npt.NDArray[np.float32],
        photos: Sequence[Prepared],
        pack: LabelPack,
        top_k: int,
        min_confidence: float,
    ) -> list[tuple[tuple[Prediction, ...], Verdict]]:
        """Predictions of N photos, and what to make of them: a pack's own temperature and thresholds go first."""
        bundle = self.bundle.manifest
        temperature = pack.temperature or bundle.temperature
        threshold = max(pack.threshold or bundle.threshold or THRESHOLD, min_confidence)
        # The bundle's least cosine is of plain label embeddings: with a centre taken off, cosines are others.
        own = pack.centre or pack.image_encoder  # cosines of another kind than those of the bundle's figure
        unknown = pack.unknown if pack.unknown is not None or own else bundle.unknown
        return [
            (
                rank(
                    cosines,
                    pack.labels,
                    temperature=temperature,
                    top_k=top_k,
                    min_confidence=min_confidence,
                    offsets=pack.offsets,
                ),
                decide(
                    cosines,
                    pack.labels,
                    temperature=temperature,
                    threshold=threshold,
                    unknown=unknown,
                    title=pack.title,
                    complaint=partial(_complaint, photo.square),
                    offsets=pack.offsets,
                ),
            )
            for cosines, photo in zip(vectors @ pack.embeddings.T, photos)
        ]


def load(
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    packs: Sequence[str] | None = None,
    labels: Iterable[str | Label] | None = None,
    templates: Sequence[str] | None = None,
    facts: bool = True,
    threads: int | None = None,
    runtime: str | None = None,
) -> Classifier:
    """Load a classifier; nothing is read but the bundle (and packs named in ``packs``), and no network is used.

    Args:
        bundle: a bundle's folder or zip file, or an open `Bundle`; None takes the one that ships in the package.
        packs: label packs by name or file; None takes the bundle's default packs.
        labels: labels in the caller's own words, in place of packs.
        templates: prompts with one ``{}`` for ``labels``.
        facts: let what the bundle's facts library knows of ``labels`` into them, as in `Classifier.build_pack`.
        threads: cores to use; None takes all that this process may run on.
        runtime: a runtime (``onnxruntime``, ``openvino``, ``tensorrt``) or the name of one of the bundle's variants;
            None takes the fastest that can run here, measured the first time and remembered in the user's data folder.

    Returns:
        a classifier, ready to answer.

    Raises:
        BundleError: the bundle or a pack is broken, hostile or foreign.
        LabelError: no such pack, or labels that cannot be used.
        UsageError: both packs and labels, templates without labels, no thread, or a runtime that the bundle is not for.
        RuntimeUnavailable: the runtime that was named cannot run here; the message has the line that helps.

    Example:
        >>> import agriclip_edge
        >>> answer = agriclip_edge.load().classify("examples/photos/cow.jpg")
        >>> answer.best.label
        'cow'
    """
    if packs is not None and labels is not None:
        raise UsageError("both packs and labels; accepted: one of them")
    if templates is not None and labels is None:
        raise UsageError("templates without labels; packs carry their own templates")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; accepted: at least 1")
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    opened.for_photos()
    if labels is None:
        return Classifier(opened, open_packs(opened, packs or ()), threads=threads, runtime=runtime)
    from .labels.build import Making, make_pack
    from .parallel import begin

    encoder = begin(TextEncoder, opened, threads)
    pack = make_pack(opened, encoder, labels, Making(templates=tuple(templates or ()), facts=facts))
    return Classifier(opened, pack, threads=threads, runtime=runtime, text_encoder=encoder())


def build_pack(
    bundle: Bundle,
    labels: Iterable[str | Label],
    *,
    name: str = "typed",
    title: str = "",
    templates: Sequence[str] | None = None,
    facts: bool = True,
    centre: bool = False,
) -> LabelPack:
    """Embed labels with a bundle's text encoder, without loading its image encoder; see `Classifier.build_pack`."""
    from .labels.build import Making, make_pack
    from .parallel import begin

    making = Making(name, title, tuple(templates or ()), facts, centre)
    return make_pack(bundle, begin(TextEncoder, bundle), labels, making)


def open_packs(bundle: Bundle, names: Sequence[str]) -> LabelPack:
    """The packs of these names as one; the bundle's default packs when there is no name."""
    if names:
        return merge([find_pack(bundle, name) for name in names])
    entries = bundle.manifest.packs
    defaults = [bundle.pack(entry.name) for entry in entries if entry.default]
    if not defaults:
        raise LabelError("this bundle has no default pack; name packs or labels")
    return merge(defaults)


def _check_choice(top_k: int, min_confidence: float) -> None:
    if top_k < 1:
        raise UsageError(f"top_k is {top_k}; accepted: at least 1")
    if not 0 <= min_confidence <= 1:
        raise UsageError(f"min_confidence is {min_confidence}; accepted: 0 to 1")


def _check_several(photos: Sequence[Photo] | RGB) -> None:
    single = isinstance(photos, (str, bytes, bytearray, memoryview, os.PathLike))
    if single or not hasattr(photos, "__len__"):
        raise UsageError(f"one {type(photos).__name__}; accepted: a list of photos")


def _complaint(square: RGB) -> Complaint | None:
    from .imaging.quality import complaint  # most photos never need it

    return complaint(square)
