"""A complete bundle of some kilobytes that tells colours apart: what fast tests and attacks work on.

Its image encoder sees a photo's mean colour and a few edges; its text encoder knows some sixty words, among them
the colours, in the same space. So a red photo is nearest to "red apple", and every part does its real work.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import parser

from agriclip_edge.bundle.manifest import FORMAT, FORMAT_VERSION, LicenceEntry, Manifest, Preprocessing
from agriclip_edge.imaging.preprocess import PREPROCESSING_VERSION, preprocessing_id
from agriclip_edge.labels.pack import Label

from .graphs import EMBEDDINGS, IMAGES, graph_bytes, image_variant, text_entry
from .licences import APACHE, licence_files
from .packs import PackPlan, with_packs
from .writer import write_bundle

SIZE = 32  # pixels
DIM = 16
MAX_TOKENS = 16
TEMPERATURE = 0.1
TEMPLATES = ("{}", "a photo of {}")
_SEED = 0
_EDGES = DIM - 4  # dimensions 0 to 2 are red, green and blue, 3 is a constant, the others are edges
_EDGE_WEIGHT = 0.05  # small, so that colour decides
_WORD_WEIGHT = 0.05  # of words that name no colour

# Red, green and blue from -1 (none) to 1 (full).
COLOURS = {
    "red": (1.0, -1.0, -1.0),
    "green": (-0.7, 0.6, -0.8),
    "blue": (-0.8, -0.3, 0.9),
    "yellow": (0.9, 0.8, -0.9),
    "brown": (-0.1, -0.45, -0.7),
    "white": (1.0, 1.0, 1.0),
    "black": (-1.0, -1.0, -1.0),
}
WORDS = (
    "a an the of photo picture leaf plant crop weed soil field sky water apple banana tomato lemon grape berry fruit "
    "vegetable root seed flower tree grass straw wheat maize rice cow pig sheep goat horse hen fish bee insect healthy "
    "diseased spot rust rot ripe unripe ##s ##es ##y"
).split()
PACKS = (
    PackPlan(
        name="fruit-colour",
        title="fruit by colour",
        labels=(
            Label("red apple", "apple"),
            Label("green apple", "apple", ("unripe apple",)),
            Label("yellow banana", "banana"),
        ),
    ),
    PackPlan(
        name="field-cover",
        title="what covers a field",
        labels=(
            Label("green leaf", "plant"),
            Label("brown soil"),
            Label("blue water"),
            Label("yellow straw", "plant"),
            Label("white flower", "plant"),
        ),
    ),
)

_IMAGE_GRAPH = f"""
<ir_version: 8, opset_import: ["": 17]>
image_encoder (uint8[N, {SIZE}, {SIZE}, 3] {IMAGES}) => (float[N, {DIM}] {EMBEDDINGS}) {{
    values = Cast <to = 1> ({IMAGES})
    scaled = Div (values, half_range)
    centred = Sub (scaled, one)
    pixels = Transpose <perm = [0, 3, 1, 2]> (centred)
    colour = ReduceMean <axes = [2, 3], keepdims = 0> (pixels)
    filtered = Conv <strides = [2, 2]> (pixels, kernels)
    lit = Relu (filtered)
    edges = ReduceMean <axes = [2, 3], keepdims = 0> (lit)
    features = Concat <axis = 1> (colour, edges)
    projected = MatMul (features, projection)
    biased = Add (projected, bias)
    {EMBEDDINGS} = LpNormalization <axis = 1, p = 2> (biased)
}}
"""

_TEXT_GRAPH = f"""
<ir_version: 8, opset_import: ["": 17]>
text_encoder (int64[N, T] input_ids, int64[N, T] attention_mask) => (float[N, {DIM}] {EMBEDDINGS}) {{
    words = Gather <axis = 0> (table, input_ids)
    real = Cast <to = 1> (attention_mask)
    weights = Unsqueeze (real, last)
    weighted = Mul (words, weights)
    sums = ReduceSum <keepdims = 0> (weighted, second)
    {EMBEDDINGS} = LpNormalization <axis = 1, p = 2> (sums)
}}
"""


def write_tiny(output: Path, *, zipped: bool = False) -> None:
    """Write the bundle: the same bytes on every machine.

    Raises:
        UsageError: ``output`` is something else than a bundle.
    """
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *WORDS]
    generator = np.random.default_rng(_SEED)
    metadata = {"preprocessing": preprocessing_id(SIZE), "licence": "Apache-2.0"}
    files = {
        "image/encoder.onnx": graph_bytes(parser.parse_model(_IMAGE_GRAPH), _image_weights(generator), metadata),
        "text/encoder.onnx": graph_bytes(
            parser.parse_model(_TEXT_GRAPH), _text_weights(generator, vocabulary), metadata
        ),
        "text/vocab.txt": ("\n".join(vocabulary) + "\n").encode(),
        "card.md": (f"# agriclip-tiny\n\n{__doc__}\nIt is made for tests and answers nothing of use.\n").encode(),
        **licence_files(),
    }
    manifest = Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        name="agriclip-tiny",
        version="1",
        description="tells colours apart; for tests",
        embedding_dim=DIM,
        temperature=TEMPERATURE,
        preprocessing=Preprocessing(PREPROCESSING_VERSION, SIZE),
        image=[image_variant("fp32", "fp32", "image/encoder.onnx", SIZE, DIM)],
        packs=[],
        card="card.md",
        licences=[LicenceEntry("Apache-2.0", "everything in this bundle", APACHE)],
        files=[],
        text=text_entry("text/encoder.onnx", "text/vocab.txt", MAX_TOKENS, DIM, TEMPLATES),
    )
    write_bundle(output, *with_packs(manifest, files, PACKS), zipped=zipped)


def _image_weights(generator: np.random.Generator) -> dict[str, npt.NDArray[np.generic]]:
    projection = np.zeros((3 + _EDGES, DIM), np.float32)
    projection[:3, :3] = np.eye(3)
    projection[3:, 4:] = _EDGE_WEIGHT * np.eye(_EDGES)
    return {
        "half_range": np.array(127.5, np.float32),
        "one": np.array(1, np.float32),
        "kernels": generator.uniform(-0.5, 0.5, (_EDGES, 3, 3, 3)).astype(np.float32),
        "projection": projection,
        "bias": _constant(1.0),
    }


def _text_weights(generator: np.random.Generator, vocabulary: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    table = _WORD_WEIGHT * generator.uniform(-1, 1, (len(vocabulary), DIM)).astype(np.float32)
    for word, colour in COLOURS.items():
        table[vocabulary.index(word)] = _constant(1.0)
        table[vocabulary.index(word), :3] = colour
    return {"table": table, "last": np.array([-1]), "second": np.array([1])}


def _constant(value: float) -> npt.NDArray[np.float32]:
    """A vector whose only value stands in the dimension that photos and words share whatever their colour."""
    vector = np.zeros(DIM, np.float32)
    vector[3] = value
    return vector
