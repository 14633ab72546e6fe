"""The typed form of ``bundle.json``, read without trust."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import msgspec

from ..errors import BundleError, BundleFault

FORMAT = "agriclip-bundle"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 4 << 20
MAX_FILES = 4096
MAX_FILE_BYTES = 2 << 30  # ONNX files end at 2 GiB

MAX_TILE_VALUES = 1 << 26  # values of a scene's tile, channels in and embedding out: 256 MiB

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SHA256 = r"^[0-9a-f]{64}$"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all records of the manifest: immutable, and an unknown field is an error."""


class FileEntry(Record, frozen=True):
    """One file of the bundle: where it lies and what its bytes must be."""

    path: str
    size: int
    sha256: str


class TensorSpec(Record, frozen=True):
    """An input or output of a graph; None in ``shape`` is any size (the batch, the length of a text)."""

    name: str
    dtype: str
    shape: list[int | None]


class Variant(Record, frozen=True):
    """One image encoder graph: uint8 (N, S, S, 3) in, unit float32 (N, D) out.

    ``figures`` were measured by the export; ``limits`` are what a device may measure (``agriclip-edge verify``).
    """

    name: str
    runtime: str
    precision: str
    file: str
    input: TensorSpec
    output: TensorSpec
    figures: dict[str, float] = {}
    limits: dict[str, float] = {}


class Preprocessing(Record, frozen=True):
    """The picture that the image encoder wants: the version of our one preprocessing, and its size S in pixels."""

    version: int
    size: int


class TextEncoder(Record, frozen=True):
    """The text encoder for labels typed in the field: token ids in, unit float32 (N, D) out.

    ``tokenizer`` says what ``vocabulary`` holds: WordPiece's tokens, or the merges of CLIP's byte pairs.
    """

    file: str
    vocabulary: str
    max_tokens: int
    inputs: list[TensorSpec]
    output: TensorSpec
    templates: list[str]
    tokenizer: Literal["wordpiece", "clip-bpe"] = "wordpiece"


class FactsEntry(Record, frozen=True):
    """The facts library: its classes as JSON in gzip, and the INT8 vectors (classes, D) of what is seen of them.

    ``share`` of the embedding of a label that means a class is its symptoms; the rest is its names.
    """

    file: str
    symptoms: str
    share: float = 0.5


class PackEntry(Record, frozen=True):
    """One label pack of the bundle; the default packs are used when nobody chooses."""

    name: str
    title: str
    file: str
    labels: int
    default: bool = True


class LicenceEntry(Record, frozen=True):
    """A licence text in the bundle, its SPDX identifier and what it covers."""

    spdx: str
    covers: str
    file: str


class SceneLevel(Record, frozen=True):
    """What every pixel loses before a graph sees it: ``share`` of the mean over all pixels of its raster with data.

    With ``unit_length`` a pixel's channels, as one vector, are brought to length 1 before.
    """

    share: float
    unit_length: bool = False


class SceneModality(Record, frozen=True):
    """One sensor of a scene: C channels in ``unit``; wavelengths in nm, one a channel, or none (heights).

    The graph takes it as ``name``, float32 (1, C, H, W), with ``name_valid``, float32 (1, 1, H, W), 1 where there is
    data; levelled before, where ``level`` says so.
    """

    name: str
    unit: Literal["reflectance", "radiance", "dn", "metres", "intensity"]
    channels: int
    wavelengths: list[float] = []
    level: SceneLevel | None = None


class SceneVariant(Record, frozen=True):
    """One graph of a scene encoder; ``figures`` were measured by the export."""

    name: str
    runtime: str
    precision: str
    file: str
    figures: dict[str, float] = {}


class SceneText(Record, frozen=True):
    """How words become a class of a scene: through another bundle's text encoder, and the map that bound the classes.

    ``encoder`` names that text encoder (`Bundle.text_encoder_id`), of whose vectors the first values count, as many as
    the map in ``file`` takes (`scene.words.TextMap`).
    """

    encoder: str
    file: str
    templates: list[str]


class SceneEncoder(Record, frozen=True):
    """A fully convolutional encoder of rasters: unit vectors ``embedding``, float32 (1, D, H, W), one a pixel.

    A pixel's embedding depends on the ``receptive_field`` pixels by as many around it; ``ground_sampling`` is the
    metres a pixel that it was trained at. Without ``text`` only the classes of its packs can be asked for.
    """

    modalities: list[SceneModality]
    variants: list[SceneVariant]
    receptive_field: int
    ground_sampling: float | None = None
    text: SceneText | None = None

    @property
    def modality(self) -> str:
        """What the bundle is for, as ``hyperspectral+lidar``."""
        return "+".join(modality.name for modality in self.modalities)

    def inputs(self) -> list[TensorSpec]:
        """What every graph asks for."""
        return [
            TensorSpec(name, "float32", [1, channels, None, None])
            for modality in self.modalities
            for name, channels in ((modality.name, modality.channels), (f"{modality.name}_valid", 1))
        ]

    def output(self, dim: int) -> TensorSpec:
        """What every graph gives."""
        return TensorSpec("embedding", "float32", [1, dim, None, None])


class Manifest(Record, frozen=True):
    """Everything that a reader must know before it opens any other file of the bundle."""

    format: str
    format_version: int
    name: str
    version: str
    description: str
    embedding_dim: int
    temperature: float
    preprocessing: Preprocessing
    image: list[Variant]
    packs: list[PackEntry]
    card: str
    licences: list[LicenceEntry]
    files: list[FileEntry]
    text: TextEncoder | None = None
    sources: dict[str, str] = {}
    facts: FactsEntry | None = None
    reference: str = ""
    threshold: float | None = None
    unknown: float | None = None
    scene: SceneEncoder | None = None

    def check(self) -> None:
        """Hold the rules that types alone cannot say.

        Raises:
            BundleError: a rule of ``docs/bundle-format.md`` is broken.
        """
        _require(len(self.files) <= MAX_FILES, f"lists {len(self.files)} files; at most {MAX_FILES} are accepted")
        paths = [entry.path for entry in self.files]
        for path in paths:
            check_path(path)
        _require(len({path.lower() for path in paths}) == len(paths), "lists a file twice")
        for entry in self.files:
            _require(entry.size >= 0, f"gives {entry.path} the size {entry.size}")
            _require(re.fullmatch(SHA256, entry.sha256) is not None, f"gives {entry.path} no sha256 of 64 hex digits")
            if entry.size > MAX_FILE_BYTES:
                message = f"{entry.path} says it has {entry.size:,} bytes; at most {MAX_FILE_BYTES:,} are accepted"
                raise BundleError(BundleFault.TOO_LARGE, message)
        used = [variant.file for variant in self.image] + [pack.file for pack in self.packs]
        used += [self.card] + [licence.file for licence in self.licences]
        if self.text is not None:
            used += [self.text.file, self.text.vocabulary]
        if self.facts is not None:
            _require(self.text is not None, "has facts without a text encoder: nothing could be matched to them")
            _require(0 <= self.facts.share <= 1, f"gives facts the share {self.facts.share}; accepted: 0 to 1")
            used += [self.facts.file, self.facts.symptoms]
        used += [self.reference] if self.reference else []
        if self.scene is not None:
            used += [variant.file for variant in self.scene.variants]
            used += [self.scene.text.file] if self.scene.text is not None else []
        for path in used:
            _require(path in paths, f"uses {path!r}, which it does not list under files")
        if self.scene is not None:
            self._check_scene(self.scene)
        _require(len(self.image) > 0 or self.scene is not None, "has no image encoder")
        _unique("image variants", [variant.name for variant in self.image])
        _unique("packs", [pack.name for pack in self.packs])
        _require(1 <= self.embedding_dim <= 16384, f"gives embedding_dim {self.embedding_dim}; accepted: 1 to 16384")
        _require(0 < self.temperature < 1e3, f"gives temperature {self.temperature}; accepted: above 0, below 1000")
        threshold, unknown = self.threshold, self.unknown
        _require(threshold is None or 0 < threshold <= 1, f"gives threshold {threshold}; accepted: above 0, at most 1")
        _require(unknown is None or -1 <= unknown <= 1, f"gives unknown {unknown}; accepted: -1 to 1, a cosine")
        self._check_words()
        size = self.preprocessing.size
        _require(8 <= size <= 2048, f"gives preprocessing size {size}; accepted: 8 to 2048 pixels")
        if self.text is not None:
            _require(3 <= self.text.max_tokens <= 8192, f"gives max_tokens {self.text.max_tokens}; accepted: 3 to 8192")
            _check_templates(self.text.templates)

    def _check_scene(self, scene: SceneEncoder) -> None:
        _require(not self.image and not self.reference, "is for photos and for scenes; accepted: one of them")
        _require(1 <= len(scene.modalities) <= 8, f"gives a scene {len(scene.modalities)} modalities; accepted: 1 to 8")
        _require(len(scene.variants) > 0, "has no scene encoder")
        _unique("scene variants", [variant.name for variant in scene.variants])
        _unique("modalities and their masks", [spec.name for spec in scene.inputs()])
        for modality in scene.modalities:
            what, waves = f"gives {modality.name}", modality.wavelengths
            _require(1 <= modality.channels <= 4096, f"{what} {modality.channels} channels; accepted: 1 to 4096")
            _require(len(waves) in (0, modality.channels), f"{what} {len(waves)} wavelengths; accepted: one a channel")
            for wave in waves:
                _require(100 <= wave <= 50_000, f"{what} the wavelength {wave:g}; accepted: 100 to 50,000 nm")
            share = modality.level.share if modality.level is not None else 1.0
            _require(0 < share <= 1, f"{what} the level {share:g}; accepted: above 0, at most 1")
        if scene.text is not None:
            known = re.fullmatch(SHA256, scene.text.encoder) is not None
            _require(known, f"gives text encoder {scene.text.encoder[:40]!r}; accepted: a sha256")
            _check_templates(scene.text.templates)
        field, sampling, side = scene.receptive_field, scene.ground_sampling, self.preprocessing.size
        _require(1 <= field <= 255 and field % 2 == 1, f"gives receptive_field {field}; accepted: 1 to 255, odd")
        _require(side > field, f"gives tiles of {side} pixels and receptive_field {field}; accepted: larger tiles")
        _require(sampling is None or 0 < sampling <= 1e5, f"gives ground_sampling {sampling}; accepted: 0 to 100 km")
        values = side * side * (sum(modality.channels for modality in scene.modalities) + self.embedding_dim)
        _require(values <= MAX_TILE_VALUES, f"gives tiles of {values:,} values; accepted: up to {MAX_TILE_VALUES:,}")

    def _check_words(self) -> None:
        """What is printed for people must not be able to steer their terminal."""
        words = [self.name, self.version, self.description, *self.sources.values()]
        words += [pack.title for pack in self.packs] + [variant.precision for variant in self.image]
        words += [variant.precision for variant in self.scene.variants] if self.scene is not None else []
        words += [word for licence in self.licences for word in (licence.spdx, licence.covers)]
        words += self.text.templates if self.text is not None else []
        words += self.scene.text.templates if self.scene is not None and self.scene.text is not None else []
        for word in words:
            _require(word.isprintable(), f"holds control characters: {word[:40]!r}")


def check_path(path: str) -> None:
    """Accept only plain relative paths: ``folder/file.ext`` in letters, digits, ``.``, ``_`` and ``-``.

    Raises:
        BundleError: anything else (absolute, ``..``, backslash, drive, control character, hidden file).
    """
    segments = path.split("/")
    if len(path) > 255 or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        message = f"unsafe path {path[:80]!r}; accepted: relative, letters, digits, '.', '_' and '-', no '..'"
        raise BundleError(BundleFault.PATH_UNSAFE, message)


def parse_manifest(data: bytes) -> Manifest:
    """Read ``bundle.json``.

    Raises:
        BundleError: not JSON, a duplicate key, a field missing, unknown or of another type, another version.
    """
    document = parse_json(data, "bundle.json", BundleFault.MANIFEST_UNREADABLE)
    found = (document.get("format"), document.get("format_version")) if isinstance(document, dict) else (None, None)
    if found != (FORMAT, FORMAT_VERSION):
        message = f"bundle.json is of format {found[0]!r} version {found[1]!r}; accepted: {FORMAT!r} {FORMAT_VERSION}"
        raise BundleError(BundleFault.FORMAT_UNSUPPORTED, message)
    try:
        manifest = msgspec.convert(document, Manifest, strict=True)
    except msgspec.ValidationError as error:
        raise BundleError(BundleFault.MANIFEST_INVALID, f"bundle.json: {error}") from None
    manifest.check()
    return manifest


def parse_json(data: bytes, what: str, fault: BundleFault, limit: int = MAX_MANIFEST_BYTES) -> Any:
    """JSON of an untrusted file, strictly: no duplicate keys, no NaN, bounded size and depth.

    Raises:
        BundleError: with ``fault``, when ``data`` is anything else.
    """
    if len(data) > limit:
        message = f"{what} has {len(data):,} bytes; at most {limit:,} are accepted"
        raise BundleError(BundleFault.TOO_LARGE, message)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise BundleError(fault, f"{what} is nested too deeply") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise BundleError(fault, f"{what} is not valid JSON: {error}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"duplicate key {key[:80]!r}")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise BundleError(BundleFault.MANIFEST_INVALID, f"bundle.json {message}")


def _check_templates(templates: list[str]) -> None:
    sound = bool(templates) and all(template.count("{}") == 1 for template in templates)
    _require(sound, "needs templates that hold {} once each")


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        _require(re.fullmatch(NAME, name) is not None, f"names {what} {name[:80]!r}; accepted: a-z, 0-9, '.', '_', '-'")
    _require(len(set(names)) == len(names), f"names two {what} alike")
