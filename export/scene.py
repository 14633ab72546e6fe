"""A distilled student of a scene's classifier becomes a bundle: its graph, INT8 behind the gate, and its classes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import torch

from agriclip_edge.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    LicenceEntry,
    Manifest,
    PackEntry,
    Preprocessing,
    SceneEncoder,
    SceneModality,
    SceneText,
    SceneVariant,
)
from agriclip_edge.bundle.reader import Bundle
from agriclip_edge.errors import LabelError, UsageError
from agriclip_edge.imaging.preprocess import PREPROCESSING_VERSION
from agriclip_edge.labels.pack import Label, LabelPack
from agriclip_edge.runtimes import available_cores
from agriclip_edge.scene.words import Meaning, TextMap
from agriclip_edge.text.encoder import TextEncoder
from training.diffclip.labelled import LabelledScene
from training.diffclip.student import StudentRun, load_student
from training.diffclip.texts import TEMPLATE, class_means, read_class_texts, text_centre

from .budget import BUDGET
from .gate import Figures, failures, measure, read_budget, speed_ratio
from .graphs import graph_bytes
from .licences import APACHE, licence_files
from .parity import compare, open_session, require
from .quantise import QuantiseConfig, quantise
from .tracing import trace
from .writer import write_bundle

FLOAT_FILE = "scene/encoder.onnx"
INT8_FILE = "scene/encoder-int8.onnx"
TEXT_FILE = "text/map.safetensors"
PACK = "classes"
CARD_FILE = "card.md"
_OUTPUT = "embedding"
_FREE = {2: "H", 3: "W"}
_TRACING_DIFFERENCE = 1e-4  # largest difference of a value to PyTorch that float32 arithmetic explains
_TRACED = 32  # pixels of the example that the graph is traced on; height and width are free
_MOST_CROPS = 48  # to calibrate on, and as many to judge by
_ROUNDS = 64  # timed runs
_LEAST_TEXT_COSINE = 0.99  # of a class's vector by the bundle's text encoder to the one that was bound


@dataclass(frozen=True)
class SceneConfig:
    """What a student does not say about its bundle."""

    name: str = "agriclip-scene"
    version: str = "0.1.0"
    description: str = "classes of a scene, named on the device"
    tile: int = 128  # pixels along a side that the graph is run on at most
    text_bundle: Path | None = None  # whose text encoder reads other words than the classes'; None: the shipped one
    budget: Path = BUDGET
    licence: str = "Apache-2.0"
    licence_file: Path | None = None


@dataclass(frozen=True)
class _Crop:
    """A part of one tile of the scene, as the graph takes it, and its labels (H, W), 0 for none."""

    feed: Mapping[str, npt.NDArray[np.float32]]
    labels: npt.NDArray[np.int16]
    seen: npt.NDArray[np.bool_]


def export_scene(
    run: Path,
    output: Path,
    config: SceneConfig,
    scene: LabelledScene | None = None,
    *,
    zipped: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Make the bundle of a student.

    Args:
        run: folder that ``python -m training diffclip student`` wrote.
        output: folder, or with ``zipped`` the file, to be made.
        config: name, version and so on.
        scene: every second of its crops calibrates INT8, the others judge it; None leaves INT8 out.
        zipped: one zip file instead of a folder.
        say: is told what was measured.

    Raises:
        GateError: the graph differs from PyTorch; nothing is written.
        UsageError: there is no student, or the scene lacks one of its modalities.
    """
    student = load_student(run)
    metadata = {"licence": config.licence}
    exact = export_student(student, metadata)
    files = {FLOAT_FILE: exact, **_licences(config)}
    variants = [SceneVariant("float", "onnxruntime", "fp32", FLOAT_FILE)]
    if scene is None:
        say("int8     left out: no scene to calibrate on")
    else:
        crops = _crops(student, student.view(scene), config.tile)
        for what, scopes in _rounded(student).items():
            recipe = QuantiseConfig(float_convolutions=0, scopes=scopes)
            rounded = onnx.load_from_string(quantise(exact, [crop.feed for crop in crops[::2]], recipe))
            data = graph_bytes(rounded, {}, metadata)
            figures = _judge(student, exact, data, crops[1::2])
            broken = failures(figures, read_budget("scene-int8", config.budget))
            say(f"int8     of {what}: {_said(figures)}{'; left out: ' + '; '.join(broken) if broken else ''}")
            if not broken:
                files[INT8_FILE] = data
                variants.insert(0, SceneVariant("int8", "onnxruntime", "int8", INT8_FILE, figures.to_manifest()))
                break
    files[CARD_FILE] = _card(student, config, variants).encode()
    text: SceneText | None = None
    try:
        text, files[TEXT_FILE] = _text_map(student, Bundle.open(config.text_bundle))
    except (LabelError, UsageError) as reason:
        say(f"words    left out: {reason}")
    manifest = _manifest(student, config, variants, text)
    write_bundle(output, *_with_classes(manifest, files, student), zipped=zipped)


def _rounded(run: StudentRun) -> dict[str, tuple[str, ...]]:
    """What INT8 may round, by what it is called: beginnings of nodes' names. The first that passes the gate is taken.

    All that follows the components, which are the teacher's own, in the sensor's units; or the nets inside the blocks
    alone, which add little to what passes them by.
    """
    nets = tuple(f"/blocks/blocks.{number}/mix" for number in range(len(run.student.blocks)))
    return {"all layers": ("/enter", "/blocks", "/leave"), "the blocks' nets": nets}


def export_student(run: StudentRun, metadata: Mapping[str, str]) -> bytes:
    """The student as a graph with float32 weights, height and width free, held against PyTorch on other sizes.

    Raises:
        GateError: it differs from PyTorch.
    """
    side = max(_TRACED, run.student.receptive_field + 1)
    example = _noise(run, side, side + 3)
    free = dict.fromkeys([*example, _OUTPUT], _FREE)
    model = trace(run.student, {name: torch.from_numpy(value) for name, value in example.items()}, free, _OUTPUT)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1  # the tracer does not see through its last steps
    graph = graph_bytes(model, {}, metadata)
    for height, width in ((side, side + 3), (run.student.receptive_field, side + 8)):
        feed = _noise(run, height, width)
        with torch.inference_mode():
            wanted = run.student(*[torch.from_numpy(value) for value in feed.values()]).numpy()
        found = open_session(graph, 1).run(None, dict(feed))[0]
        parity = compare(*(np.moveaxis(vectors[0], 0, -1).reshape(-1, wanted.shape[1]) for vectors in (wanted, found)))
        require("scene encoder, float32", parity, difference=_TRACING_DIFFERENCE)
    return graph


def _noise(run: StudentRun, height: int, width: int) -> dict[str, npt.NDArray[np.float32]]:
    """Pixels made of chance, about as large as the sensor's; some carry no data."""
    generator = np.random.default_rng(height * width)
    feed = {}
    for name, part in run.student.components.items():
        centre, spread = (tensor.numpy()[:, None, None] for tensor in (part.centre, part.spread))
        values = centre + spread * generator.normal(size=(part.channels, height, width))
        mask = generator.random((height, width)) < 0.9
        feed[name] = np.where(mask, values, 0)[np.newaxis].astype(np.float32)
        feed[f"{name}_valid"] = mask[np.newaxis, np.newaxis].astype(np.float32)
    return feed


def _crops(run: StudentRun, scene: LabelledScene, side: int) -> list[_Crop]:
    """Parts of the scene's tiles, in an order of chance; of every third one a modality is missing."""
    from scipy.ndimage import find_objects

    sensors = {m.name: m for m in scene.scene.modalities}
    names = run.student.modalities
    lacking = [name for name in names if name not in sensors]
    if lacking:
        raise UsageError(f"the scene {scene.scene.name} lacks {', '.join(lacking)}; it has: {', '.join(sensors)}")
    least = run.student.receptive_field // 2 + 1
    places = []
    for number, box in enumerate(find_objects(scene.scene.tile + 1)):
        if box is None:
            continue
        rows, columns = box
        step = min(side, max(2 * least, -(-max(rows.stop - rows.start, columns.stop - columns.start) // 2)))
        for top in range(rows.start, rows.stop - least, step):
            for left in range(columns.start, columns.stop - least, step):
                part = slice(top, min(top + step, rows.stop)), slice(left, min(left + step, columns.stop))
                places.append((number, part))
    crops: list[_Crop] = []
    for place in np.random.default_rng(0).permutation(len(places)):
        number, part = places[place]
        inside = scene.scene.tile[part] == number
        absent = names[len(crops) // 3 % len(names)] if len(crops) % 3 == 2 and len(names) > 1 else None
        feed, seen = {}, np.zeros(inside.shape, bool)
        for name in names:
            mask = sensors[name].valid[part] & inside & (name != absent)
            values = np.where(mask[..., np.newaxis], sensors[name].values[part], np.float32(0))
            feed[name] = np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])
            feed[f"{name}_valid"] = mask[np.newaxis, np.newaxis].astype(np.float32)
            seen |= mask
        if seen.any():
            crops.append(_Crop(feed, scene.labels[part], seen))
        if len(crops) == 2 * _MOST_CROPS:
            break
    if len(crops) < 2:
        raise UsageError(f"the scene {scene.scene.name} is too small to calibrate on and to judge by")
    return crops


def _judge(run: StudentRun, exact: bytes, data: bytes, crops: list[_Crop]) -> Figures:
    """What INT8 loses on crops that did not calibrate it: right classes of labelled pixels, float32's of all."""
    vectors, labels = [], np.concatenate([crop.labels[crop.seen] for crop in crops])
    for graph in (exact, data):
        session = open_session(graph, available_cores())
        found = [np.moveaxis(session.run(None, dict(crop.feed))[0][0], 0, -1)[crop.seen] for crop in crops]
        vectors.append(np.concatenate(found))
    reference, variant = ((found @ run.class_vectors.T).argmax(axis=1) + 1 for found in vectors)
    before, after = {"agreement": 1.0}, {"agreement": float((reference == variant).mean())}
    known = labels > 0
    if known.any():
        before["labelled"] = float((reference == labels)[known].mean())
        after["labelled"] = float((variant == labels)[known].mean())
    largest = max((crop.feed for crop in crops), key=lambda feed: next(iter(feed.values())).size)
    speed = speed_ratio(_runner(exact), _runner(data), largest, _ROUNDS)
    return measure(vectors[0], vectors[1], before, after, speed=speed)


def _runner(graph: bytes) -> Callable[[Mapping[str, npt.NDArray[np.float32]]], Any]:
    session = open_session(graph, available_cores())
    return lambda feed: session.run(None, dict(feed))


def _said(figures: Figures) -> str:
    drops = ", ".join(f"{task} drops by {drop:.2f} points" for task, drop in figures.drops.items())
    return f"{drops}; mean cosine {figures.mean_cosine:.4f}; {figures.speed:.2f} times as fast as float32"


def _manifest(run: StudentRun, config: SceneConfig, variants: list[SceneVariant], text: SceneText | None) -> Manifest:
    modalities = [
        SceneModality(name, entry["unit"], entry["channels"], list(entry["wavelengths"] or []), run.levels.get(name))
        for name, entry in run.modalities.items()
    ]
    licence = APACHE if config.licence_file is None else f"LICENSES/{config.licence}.txt"
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        name=config.name,
        version=config.version,
        description=config.description,
        embedding_dim=run.student.dim,
        temperature=round(run.temperature, 5),
        preprocessing=Preprocessing(PREPROCESSING_VERSION, config.tile),
        image=[],
        packs=[],
        card=CARD_FILE,
        licences=[LicenceEntry(config.licence, "scene encoder, classes and model card", licence)],
        files=[],
        scene=SceneEncoder(modalities, variants, run.student.receptive_field, run.ground_sampling, text),
    )


def _text_map(run: StudentRun, texts: Bundle) -> tuple[SceneText, bytes]:
    """The map that bound the classes, for words that are none of them.

    The texts of the classes themselves go through the bundle's text encoder and the map: both are right when that
    gives the classes' own vectors.

    Raises:
        UsageError: they are not, or there is none.
        LabelError: the text encoder takes no texts as long.
    """
    if run.text_map is None:
        raise UsageError("the student does not say how its classes were bound")
    weight, bias = (tensor.numpy() for tensor in run.text_map)
    means = class_means(run.classes, Meaning(TextEncoder(texts), weight.shape[1]).embed, read_class_texts())
    turn = TextMap(text_centre(means), weight, bias)
    cosine = float((turn(means) * run.class_vectors).sum(axis=1).min())
    if cosine < _LEAST_TEXT_COSINE:
        what = "its classes were bound by codes, or by another text encoder than that of"
        raise UsageError(f"{what} {texts.manifest.name}: a cosine of {cosine:.4f}; accepted: {_LEAST_TEXT_COSINE}")
    return SceneText(texts.text_encoder_id, TEXT_FILE, [TEMPLATE]), turn.to_bytes()


def _licences(config: SceneConfig) -> dict[str, bytes]:
    if config.licence_file is None:
        return licence_files()
    return {f"LICENSES/{config.licence}.txt": config.licence_file.read_bytes()}


def _with_classes(manifest: Manifest, files: Mapping[str, bytes], run: StudentRun) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and files with the pack of the run's classes, which names the bundle's own spaces."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft"
        write_bundle(draft, manifest, files)
        bundle = Bundle.open(draft)
        pack = LabelPack(
            name=PACK,
            title=", ".join(run.classes) if len(run.classes) < 4 else f"{len(run.classes)} classes",
            labels=tuple(Label(name) for name in run.classes),
            embeddings=np.array(run.class_vectors, np.float32),
            templates=("{}",),
            text_encoder=bundle.text_encoder_id,
            preprocessing=bundle.preprocessing_id,
            threshold=round(run.figures.confidence, 4),
            unknown=round(run.figures.cosine, 4),
        )
    path = f"packs/{PACK}.safetensors"
    entry = PackEntry(PACK, pack.title, path, len(pack.labels))
    return msgspec.structs.replace(manifest, packs=[entry]), {**files, path: pack.to_bytes()}


def _card(run: StudentRun, config: SceneConfig, variants: list[SceneVariant]) -> str:
    figures = run.figures
    apart = (
        f" ({100 * figures.agreement_held_out:.2f} % of those that taught nothing)"
        if figures.agreement_held_out is not None
        else ""
    )
    lines = [
        f"# {config.name} {config.version}",
        "",
        f"{config.description}. A convolutional student of a per-pixel transformer, whose answer it gives for",
        f"{100 * figures.agreement:.2f} % of {figures.pixels:,} pixels{apart}, {figures.speed_up:.0f} times as fast.",
        "",
        "| modality | unit | channels | wavelengths, nm |",
        "|---|---|---|---|",
    ]
    for name, entry in run.modalities.items():
        waves = ", ".join(f"{wave:g}" for wave in entry["wavelengths"] or []) or "–"
        lines.append(f"| {name} | {entry['unit']} | {entry['channels']} | {waves} |")
    lines += ["", f"Classes: {', '.join(run.classes)}.", ""]
    for variant in variants:
        said = ", ".join(f"{name} {value:g}" for name, value in variant.figures.items())
        lines.append(f"- {variant.name}: {variant.precision} for {variant.runtime}{f'; {said}' if said else ''}")
    lines += [
        "",
        "Trained on one scene: on other ground, in another season or by another sensor its answers mean little.",
    ]
    return "\n".join(lines) + "\n"
