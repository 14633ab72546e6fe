"""From any CLIP to a bundle: graphs, packs, temperature, card and licences, in one go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agriclip_edge.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    LicenceEntry,
    Manifest,
    Preprocessing,
    TensorSpec,
    TextEncoder,
    Variant,
)
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.cli.photos import list_photos
from agriclip_edge.errors import PhotoError, RuntimeUnavailable, UsageError
from agriclip_edge.imaging.decode import decode
from agriclip_edge.imaging.preprocess import PREPROCESSING_VERSION, preprocess, preprocessing_id
from agriclip_edge.labels.lists import read_label_file
from agriclip_edge.labels.pack import Label
from agriclip_edge.labels.prompts import check_templates, embed_labels
from training.captions import read_facts

from .budget import BUDGET
from .gate import Squares
from .graphs import EMBEDDINGS, image_variant
from .licences import APACHE, licence_files
from .open_clip_graphs import ClipImageGraph, ClipTextGraph, export_image_tower, export_text_tower
from .open_clip_model import ClipModel, open_model
from .packs import PackPlan, with_packs
from .parity import GateError, Vectors, run_graph
from .photos import read_squares
from .variants import FLOAT_FILE, GatePhotos, Plan, choose, make_variants, views_of
from .writer import write_bundle

TEXT_FILE, MERGES_FILE, CARD_FILE = "text/encoder.onnx", "text/merges.txt", "card.md"
TEMPLATES = ("a photo of a {}.",)  # the one that CLIP's authors give for a start (Radford et al. 2021, section 3.1.4)
_LICENCE_FILE, _OPENAI_FILE = "LICENSES/model.txt", "LICENSES/CLIP-MIT.txt"
_ANSWERS = 200  # that judge a variant, where there are fewer photos: in further views of them
_LEAST_PHOTOS, _MOST_PHOTOS = 16, 256  # to calibrate on, and as many to judge by
_COMPARED = 16  # of the photos, to hold the graph against PyTorch on
_FOLDERS = "folders"  # the task of telling the folders of the given photos apart
_VARIANTS = ("cpu-int8", "cpu-float", "openvino-int8", "openvino-bf16")  # those that need no other device
_OPENAI = """MIT License

Copyright (c) 2021 OpenAI

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclass(frozen=True)
class ClipConfig:
    """What a model does not say about its bundle.

    Attributes:
        name: of the bundle; empty for one made of the model's.
        version: of the bundle.
        label_files: lists of labels, a pack each; none for the packs of the bundle that ships with the package.
        templates: prompts with one ``{}``.
        photos: a folder of photos to calibrate on and to judge by; photos in folders inside it are of the label that
            their folder is called. None makes no quantised variant.
        variants: names of image variants, or runtimes; none for those that need no other device.
        budget: what a variant may lose.
        licence: SPDX identifier of the model's licence.
        licence_file: its text.
        library: folder of class facts, whose statements are embedded by the model's own text tower; labels that are
            typed on a device are matched to them. None leaves them out.
    """

    name: str = ""
    version: str = "0.1.0"
    label_files: tuple[Path, ...] = ()
    templates: tuple[str, ...] = TEMPLATES
    photos: Path | None = None
    variants: tuple[str, ...] = ()
    budget: Path = BUDGET
    licence: str = ""
    licence_file: Path | None = None
    library: Path | None = None


def export_open_clip(
    name: str,
    pretrained: str | None,
    output: Path,
    config: ClipConfig,
    *,
    zipped: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Make the bundle of a CLIP.

    Args:
        name: as in `open_model`.
        pretrained: as in `open_model`.
        output: folder, or with ``zipped`` the file, to be made.
        config: labels, photos, licence.
        zipped: one zip file instead of a folder.
        say: is told what was measured.

    Raises:
        GateError: a graph differs too much from its model; nothing is written.
        FactsError: the library cannot be read.
        LabelError: a list of labels or a template cannot be used.
        UsageError: no such model or weights, or too few photos.
    """
    check_templates(config.templates)
    licences, licence_texts = _licences(config)
    plans = plan_packs(config.label_files)
    library = tuple(read_facts(config.library).values()) if config.library is not None else ()
    if config.variants and config.photos is None:
        raise UsageError("variants are judged on photos; accepted with --only: --photos FOLDER")
    model = open_model(name, pretrained)
    say(f"{model.name}: {model.weights}, {model.size} px, {model.dim} values, temperature {model.temperature:.5f}")
    for note in model.notes:
        say(f"preprocessing: {note}")
    facts = {"checkpoint": model.sha256, "licence": licences[0].spdx, "preprocessing": preprocessing_id(model.size)}
    words = export_text_tower(model, _prompts(plans, config.templates), {"licence": licences[0].spdx})
    say(f"text encoder: {words.precision}, {len(words.data) / 1e6:.1f} MB, {_cosines(words)}")
    texts = _Texts(model, words)
    photos = None
    if config.photos is not None:
        photos = _read_photos(
            config.photos,
            model.size,
            lambda labels: embed_labels([Label(label) for label in labels], config.templates, texts),
        )
    image = export_image_tower(model, facts, photos.judged[:_COMPARED] if photos else None)
    say(f"image encoder: {image.precision}, {len(image.data) / 1e6:.1f} MB, {_cosines(image)}")
    files = {TEXT_FILE: words.data, MERGES_FILE: model.merges, **licence_texts}
    variants: list[Variant] = []
    left_out: list[str] = []
    if photos is None:
        files[FLOAT_FILE] = image.data
        variants.append(_float_variant(model, image))
        left_out.append("no photos were given, so nothing was quantised: the image encoder runs in float")
        say(left_out[0])
    else:
        for plan in choose(config.variants or _VARIANTS):
            try:
                variant, made = _make_variant(plan, model, image, photos, config.budget, facts, say)
            except (GateError, RuntimeUnavailable) as error:
                if plan.name in config.variants or (plan.file == FLOAT_FILE and plan.runtime == "onnxruntime"):
                    raise
                left_out.append(f"{plan.name} was left out: {error}")
                say(left_out[-1])
            else:
                variants.append(variant)
                files |= made
    files[CARD_FILE] = _card(model, image, words, plans, variants, left_out, licences[0], photos, len(library)).encode()
    manifest = Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        name=config.name or _slug(model.name),
        version=config.version,
        description=f"{model.name}, exported with its text encoder",
        embedding_dim=model.dim,
        temperature=round(model.temperature, 7),
        preprocessing=Preprocessing(PREPROCESSING_VERSION, model.size),
        image=variants,
        packs=[],
        card=CARD_FILE,
        licences=licences,
        files=[],
        text=TextEncoder(
            file=TEXT_FILE,
            vocabulary=MERGES_FILE,
            max_tokens=model.text.context,
            inputs=words.inputs,
            output=TensorSpec(EMBEDDINGS, "float32", [None, model.dim]),
            templates=list(config.templates),
            tokenizer="clip-bpe",
        ),
        sources={"model": model.name, "weights": model.weights, **({"sha256": model.sha256} if model.sha256 else {})},
    )
    if library:
        say(f"facts: {sum(len(facts.visible) for facts in library):,} statements on {len(library):,} classes")
    write_bundle(output, *with_packs(manifest, files, plans, library), zipped=zipped)


def export_tower(
    name: str, pretrained: str | None, tower: str, photos: Path, output: Path, *, half: bool = False
) -> str:
    """Write one tower as an ONNX file, and say in one line what was measured.

    Args:
        name: as in `open_model`.
        pretrained: as in `open_model`.
        tower: ``image`` or ``text``.
        photos: a folder of photos to hold the image tower against PyTorch on.
        half: store weights smaller where that keeps the embeddings: float16, and INT8 by row in the text tower.
        output: the file to be made.

    Raises:
        GateError: the graph differs from the tower; nothing is written.
        UsageError: no such model or weights.
    """
    from agriclip_edge.files import atomic_write

    model = open_model(name, pretrained)
    facts = {"model": model.name, "weights": model.weights, "checkpoint": model.sha256}
    if tower == "image":
        squares = read_squares(photos, model.size)
        image = export_image_tower(model, {**facts, "preprocessing": preprocessing_id(model.size)}, squares)
        data, parity = (image.data, image.parity) if half else (image.exact, image.traced)
    else:
        words = export_text_tower(model, _prompts(plan_packs(()), TEMPLATES), {**facts, "tokenizer": "clip-bpe"})
        data, parity = (words.data, words.parity) if half else (words.exact, words.traced)
    with atomic_write(output) as file:
        file.write(data)
    compared = f"values differ from PyTorch by at most {parity.difference:.1e}, least cosine {parity.least:.7f}"
    return f"{output.name}  {len(data) / 1e6:.1f} MB  {compared}"


def plan_packs(label_files: Sequence[Path]) -> tuple[PackPlan, ...]:
    """A pack for each list of labels; without lists, the packs of the bundle that ships with the package.

    Raises:
        LabelError: a list cannot be used.
        UsageError: two lists give packs of the same name.
    """
    if not label_files:
        shipped = Bundle.open()
        packs = [(entry, shipped.pack(entry.name)) for entry in shipped.manifest.packs]
        return tuple(PackPlan(entry.name, entry.title, pack.labels, entry.default) for entry, pack in packs)
    plans = tuple(PackPlan(_slug(path.stem), path.stem, read_label_file(path)) for path in label_files)
    names = [plan.name for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two lists of labels would make the pack {name!r}; accepted: files of different names")
    return plans


def _prompts(plans: Sequence[PackPlan], templates: Sequence[str]) -> list[str]:
    labels = [label for plan in plans for label in plan.labels]
    wordings = sorted({wording for label in labels for wording in (label.text, *label.synonyms)})
    return [template.replace("{}", wording) for wording in wordings for template in templates]


def _float_variant(model: ClipModel, image: ClipImageGraph) -> Variant:
    figures = {"mean_cosine": round(image.parity.mean, 6), "least_cosine": round(image.parity.least, 6)}
    return image_variant("cpu-float", image.precision, FLOAT_FILE, model.size, model.dim, figures)


def _make_variant(
    plan: Plan,
    model: ClipModel,
    image: ClipImageGraph,
    photos: GatePhotos,
    budget: Path,
    facts: Mapping[str, str],
    say: Callable[[str], None],
) -> tuple[Variant, dict[str, bytes]]:
    """One variant through its gate, and its file.

    Raises:
        GateError: it does not pass.
        RuntimeUnavailable: its runtime is not here.
    """
    made = make_variants(image.exact, image.data, model.size, model.dim, photos, [plan], budget, facts, say)
    if not made.variants:
        raise RuntimeUnavailable("its runtime is not here")
    (variant,) = made.variants
    known = {name: value for name, value in variant.figures.items() if photos.labelled or name.endswith("_cosine")}
    precision = image.precision if plan.file == FLOAT_FILE and plan.runtime == "onnxruntime" else variant.precision
    return msgspec.structs.replace(variant, figures=known, precision=precision), made.files


@dataclass(frozen=True)
class _Texts:
    """The text encoder before it is in a bundle."""

    model: ClipModel
    words: ClipTextGraph

    def embed(self, prompts: Sequence[str]) -> Vectors:
        """Unit vectors float32 (N, D)."""
        return run_graph(self.words.data, {"input_ids": self.model.tokens(prompts).numpy()})


def _read_photos(folder: Path, size: int, embed: Callable[[Sequence[str]], Vectors]) -> GatePhotos:
    """Photos of a folder, every second one of each label to calibrate on, the others to judge by.

    Args:
        folder: with photos, or with a folder of photos for each label.
        size: S in pixels.
        embed: gives unit vectors of labels.

    Raises:
        UsageError: too few photos.
        PhotoError: one cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; accepted with --photos: a folder of photos")
    listed = [Path(one.path) for one in list_photos([str(folder)]) if one.error is None]
    labels = {path: path.relative_to(folder).parts[0] for path in listed if path.parent != folder}
    names = sorted(set(labels.values()))
    labelled = len(labels) == len(listed) and len(names) > 1
    halves: tuple[list[Path], list[Path]] = ([], [])
    seen: dict[str, int] = {}
    for path in listed:
        label = labels.get(path, "")
        seen[label] = seen.get(label, -1) + 1
        halves[seen[label] % 2].append(path)
    if min(map(len, halves)) < _LEAST_PHOTOS:
        raise UsageError(f"{folder} holds {len(listed)} photos; accepted: at least {2 * _LEAST_PHOTOS}")
    calibration, judged = (half[:: -(-len(half) // _MOST_PHOTOS)] for half in halves)
    squares = np.stack([*_squares(calibration, size)])
    hashes = hashlib.sha256(squares.tobytes()).hexdigest()
    judges = np.stack([*_squares(judged, size)])
    if not labelled:
        nothing = {"no labels were given": 0.0}
        return GatePhotos(squares, hashes, judges, lambda vectors: nothing, len(judges), labelled=False)
    truth = np.array([names.index(labels[path]) for path in judged])
    units = embed([name.replace("_", " ").replace("-", " ") for name in names])

    def accuracies(vectors: Vectors) -> dict[str, float]:
        shown = truth[views.owners[: len(vectors)]]
        right = (vectors @ units.T).argmax(axis=1) == shown
        return {_FOLDERS: float(np.mean([right[shown == label].mean() for label in np.unique(truth)]))}

    views = views_of(judges, np.zeros(len(judges), np.int64), _ANSWERS)
    return GatePhotos(squares, hashes, views, accuracies, len(judges))


def _squares(paths: Sequence[Path], size: int) -> Iterator[Squares]:
    for path in paths:
        try:
            yield preprocess(decode(path, input_size=size), size)
        except PhotoError as error:
            raise PhotoError(f"{path}: {error}") from None


def _licences(config: ClipConfig) -> tuple[list[LicenceEntry], dict[str, bytes]]:
    if config.licence_file is not None and not config.licence:
        raise UsageError("--licence-file needs --licence with its SPDX identifier, such as MIT")
    spdx = config.licence or "LicenseRef-not-stated"
    text = f"The model's licence is {spdx}; its text was not given when this bundle was made.\n"
    if not config.licence:
        text = "Nobody stated the model's licence when this bundle was made. Find it before you pass the bundle on.\n"
    data = config.licence_file.read_bytes() if config.licence_file is not None else text.encode()
    entries = [
        LicenceEntry(spdx, "image and text encoder", _LICENCE_FILE),
        LicenceEntry("MIT", "merges of CLIP's tokenizer (OpenAI)", _OPENAI_FILE),
        LicenceEntry("Apache-2.0", "label packs, facts library and model card", APACHE),
    ]
    return entries, {_LICENCE_FILE: data, _OPENAI_FILE: _OPENAI.encode(), **licence_files()}


def _card(
    model: ClipModel,
    image: ClipImageGraph,
    words: ClipTextGraph,
    plans: Sequence[PackPlan],
    variants: Sequence[Variant],
    left_out: Sequence[str],
    licence: LicenceEntry,
    photos: GatePhotos | None,
    facts: int,
) -> str:
    labels = sum(len(plan.labels) for plan in plans)
    accuracy = "No accuracy was measured: judge it on photos of your own before you rely on it."
    if photos is not None and photos.labelled:
        count = photos.plain
        accuracy = f"Accuracy is the mean over classes, on {count} photos that the bundle's maker gave."
    lines = [
        f"# {model.name}",
        "",
        f"A CLIP with weights from {model.weights}" + (f" (sha256 `{model.sha256}`)" if model.sha256 else "") + ",",
        f"photos of {model.size} pixels and texts of up to {model.text.context} tokens as unit vectors of {model.dim}",
        f"values. Licence of the model: {licence.spdx}.",
        "",
        "| variant | runtime | precision | mean cosine | least cosine | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for variant in variants:
        figures = [f"{variant.figures[k]:g}" if k in variant.figures else "–" for k in _SHOWN]
        lines.append(f"| {variant.name} | {variant.runtime} | {variant.precision} | {' | '.join(figures)} |")
    lines += ["", f"Text encoder: {words.precision}, cosine to PyTorch {words.parity.least:.5f} or more.", ""]
    lines += [f"- {line}" for line in left_out]
    lines += ["", "## Preprocessing", "", *[f"- {note}" for note in model.notes]]
    known = f" Typed labels are looked up in a library of facts on {facts:,} classes." if facts else ""
    lines += [
        "",
        "## Labels",
        "",
        f"{len(plans)} packs with {labels} labels.{known}",
        "",
        "## Limits",
        "",
        accuracy,
        "",
    ]
    lines += [
        "## Calibration",
        "",
        f"The temperature, {model.temperature:.7f}, is the model's own (1 / logit scale).",
        "",
    ]
    return "\n".join(lines)


_SHOWN = ("mean_cosine", "least_cosine", "accuracy")


def _cosines(graph: ClipImageGraph | ClipTextGraph) -> str:
    return (
        f"cosine to PyTorch mean {graph.parity.mean:.6f}, least {graph.parity.least:.6f} "
        f"(float32: values differ by {graph.traced.difference:.1e})"
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "clip"
