"""A fully convolutional student of the per-pixel classifier: the whole map in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agriclip_edge.bundle.manifest import SceneLevel
from agriclip_edge.errors import UsageError
from agriclip_edge.scene.bands import resample
from agriclip_edge.scene.camera import Camera
from agriclip_edge.scene.scene import Modality, Scene

from ..checkpoint import read_checkpoint, write_checkpoint
from ..dino.hashing import tensors_sha256
from .binding import EXTRA, unit
from .labelled import LabelledScene
from .network import MIDDLE
from .spectrum import Components, fit_components, levelled, levels
from .windows import Pixels, Windows

STUDENT = "student.safetensors"
_TARGETS = "targets.safetensors"  # what the teacher said, kept so that a cut-off run need not ask again
_CLASS_VECTORS = "class_vectors"
_TEXT_MAP = ("text_map.weight", "text_map.bias")
_TEACHER_BATCH = 512  # windows
_ROUNDS = 5  # timed turns of teacher and student
_PASSES = 32  # of the student a turn, so that it is at work about as long: a machine's other work falls on both
_FIRST_STEPS = 16  # batches that the last layer is solved on before the first step
_SHARP = 0.4  # of the temperature of the classes' divergence: which of two near ones is nearer counts for more
_LAST = 0.02  # of the rate for the last layer, which begins where ridge regression has it
_RIDGE = 1e-6  # of the mean square of what it is solved from
_DOUBTED = 0.05  # share of the scene's own pixels that are called none of its classes for a doubtful answer
_UNKNOWN = 0.01  # and for lying far from all of them


class Sensor(Protocol):
    """What a modality is: channels, unit and wavelengths in nm (None where it has none)."""

    channels: int
    unit: str
    wavelengths: Any


class Teacher(Protocol):
    """The per-pixel classifier (`training.diffclip.binding.Classifier`)."""

    @property
    def side(self) -> int:
        """Of a window, pixels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """K names."""

    @property
    def class_vectors(self) -> Tensor:
        """Unit vectors (K, D)."""

    @property
    def temperature(self) -> float:
        """Of the softmax over cosines."""

    @property
    def map(self) -> nn.Linear:
        """From the vectors of class texts to class vectors, before these are brought to length 1."""

    @property
    def modalities(self) -> Mapping[str, Sensor]:
        """By name, in the encoder's order."""

    @property
    def encoder(self) -> Any:
        """Holds the recipe, ``config``, and by name ``components``, of channels, and ``stems``, of components."""

    @property
    def space(self) -> Any:
        """Holds ``maps`` by name: linear, from tokens and components of a modality to its part of an embedding."""

    def prepare(self, scene: Scene) -> Scene:
        """A scene as the windows are cut from."""

    def embed(self, windows: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """Unit vectors (N, D) of windows (N, C, S, S)."""

    def blend(self, windows: Mapping[str, Tensor], valid: Mapping[str, Tensor] | None = None) -> Tensor:
        """What `unit` makes the same unit vectors of, (N, D - 2)."""


@dataclass(frozen=True)
class StudentConfig:
    """How a student is built and distilled."""

    width: int = 64
    expansion: int = 2  # of a block's inner channels
    crop: int = 24  # pixels of a tile a step, at most
    batch: int = 8  # crops a step
    steps: int = 8000
    rate: float = 8e-4  # AdamW, top of the one-cycle schedule
    weight_decay: float = 1e-4
    missing: float = 0.2  # share of the crops that lack a modality
    held_out: float = 0.1  # share of the pixels' places that agreement is also judged on, and that teach nothing
    most_pixels: int = 200_000  # whose embeddings the teacher is asked for
    timed: int = 2048  # windows of the teacher's that are timed
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            UsageError: a value is out of range.
        """
        for name in ("width", "expansion", "crop", "batch", "steps", "most_pixels", "timed"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; accepted: at least 1")
        if not 0 <= self.missing < 1 or not 0 <= self.held_out < 1:
            raise UsageError("missing and held_out are shares; accepted: 0 and more, below 1")

    @classmethod
    def tiny(cls) -> StudentConfig:
        """The whole path in seconds."""
        return cls(width=32, crop=12, batch=8, steps=120, timed=128)


class Block(nn.Module):
    """A depthwise 3×3 convolution and a pointwise net beside a shortcut; takes one pixel off each border."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, groups=width)
        self.mix = nn.Sequential(
            nn.Conv2d(width, expansion * width, 1), nn.ReLU(), nn.Conv2d(expansion * width, width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D, H, W) to (N, D, H - 2, W - 2)."""
        return features[:, :, 1:-1, 1:-1] + self.mix(self.spatial(features))


class Entrance(nn.Module):
    """Each modality's components through a pointwise net like the teacher's stem, then all of them together."""

    def __init__(self, counts: Mapping[str, int], stem: int, width: int) -> None:
        """Build it, with random weights.

        Args:
            counts: of the components of each modality.
            stem: width of the teacher's tokens.
            width: of the student.
        """
        super().__init__()
        self.counts = list(counts.values())
        self.stems = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(count, stem, 1), nn.GELU(), nn.Conv2d(stem, stem, 1))
                for name, count in counts.items()
            }
        )
        self.mix = nn.Conv2d(len(counts) * (stem + 1), width, 1)

    def forward(self, joined: Tensor) -> Tensor:
        """Features (N, width, H, W) of components and masks as `Student.joined` has them."""
        told = []
        for stem, own in zip(self.stems.values(), joined.split([count + 1 for count in self.counts], dim=1)):
            mask = own[:, -1:]
            told += [stem(own[:, :-1]) * mask, mask]
        return self.mix(torch.cat(told, dim=1))


class Student(nn.Module):
    """Raw channels and masks of whole tiles in, a unit vector a pixel out.

    What the teacher's embedding holds of components, their mean about the pixel, is computed as the teacher does. What
    it holds of tokens is learnt: each modality's components, the teacher's own, pass pointwise nets, and as many 3×3
    convolutions follow as make the receptive field the teacher's window. Beyond a tile it sees the tile mirrored, as
    the teacher does.
    """

    learnt: Tensor
    near: Tensor
    about: Tensor
    window: Tensor

    def __init__(
        self, components: Mapping[str, Components], side: int, dim: int, stem: int, config: StudentConfig
    ) -> None:
        """Build it, with random weights.

        Args:
            components: of the teacher, by modality in its order.
            side: of the teacher's windows, pixels, odd.
            dim: D of the embeddings.
            stem: width of the teacher's tokens.
            config: the recipe.
        """
        super().__init__()
        self.config = config
        self.dim, self.stem = dim, stem
        self.components = nn.ModuleDict(dict(components)).requires_grad_(False)
        counts = {name: part.count for name, part in components.items()}
        channels, width, inner = sum(counts.values()) + len(counts), config.width, dim - EXTRA
        self.enter = Entrance(counts, stem, width)
        self.blocks = nn.Sequential(*[Block(width, config.expansion) for _ in range(side // 2)])
        self.leave = nn.Conv2d(3 * width, inner, 1)
        self.register_buffer("near", torch.zeros(inner, channels))  # of means about a pixel, and of what is there
        self.register_buffer("learnt", torch.ones(inner, len(counts)))  # which values are learnt, by modality
        middle = min(side, 2 * MIDDLE + 1)
        self.register_buffer("about", torch.ones(channels, 1, middle, middle) / middle**2, persistent=False)
        self.register_buffer("window", torch.ones(width, 1, side, side) / side**2, persistent=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(self.components)

    @property
    def receptive_field(self) -> int:
        """Pixels along a side that one embedding depends on."""
        return 2 * len(self.blocks) + 1

    def forward(self, *inputs: Tensor) -> Tensor:
        """Unit vectors (N, D, H, W); ``inputs`` are, of each modality, values (N, C, H, W) and mask (N, 1, H, W).

        Values are in the modality's unit; the mask is 1 where there is data and 0 where there is none.
        """
        parts = [self.components[name](values) for name, values in zip(self.modalities, inputs[::2])]
        joined = self.joined(parts, inputs[1::2])
        margins = (len(self.blocks),) * 4
        return self.trunk(*(nn.functional.pad(each, margins, mode="reflect") for each in (self.enter(joined), joined)))

    def joined(self, parts: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
        """Components and masks as channels of one map; components are 0 where there is no data."""
        return torch.cat([piece for part, mask in zip(parts, masks) for piece in (part * mask, mask)], dim=1)

    def trunk(self, features: Tensor, joined: Tensor) -> Tensor:
        """Unit vectors of a map's middle from what entered of it; both are larger than it by as much as is seen."""
        known, gate = self.known(joined)
        return unit(known + gate * self.leave(self.seen(features)))

    def seen(self, features: Tensor) -> Tensor:
        """What the last layer sees of features (N, width, H, W): them, their mean over a window, the blocks' own."""
        margin, width = len(self.blocks), self.config.width
        centre = features[:, :, margin:-margin, margin:-margin] if margin else features
        mean = nn.functional.conv2d(features, self.window, groups=width)
        return torch.cat([centre, mean, nn.functional.relu(self.blocks(features))], dim=1)

    def known(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """What of the embedding is not learnt, and by what the learnt part is multiplied, both (N, D - 2, H, W).

        A modality says nothing where it has no data in the window.
        """
        counts = [count + 1 for count in self.enter.counts]
        margin = len(self.blocks) - self.about.shape[-1] // 2
        inside = joined[:, :, margin:-margin, margin:-margin] if margin else joined
        means = nn.functional.conv2d(inside, self.about, groups=len(self.about)).split(counts, dim=1)
        told, there = [], []
        for mean, own in zip(means, joined.split(counts, dim=1)):
            there.append(nn.functional.max_pool2d(own[:, -1:], self.receptive_field, stride=1))
            told += [mean[:, :-1] / mean[:, -1:].clamp(min=1e-6), there[-1]]
        convolve = nn.functional.conv2d
        return (
            convolve(torch.cat(told, dim=1), self.near[:, :, None, None]),
            convolve(torch.cat(there, dim=1), self.learnt[:, :, None, None]),
        )


@dataclass(frozen=True)
class Figures:
    """How a student compares with its teacher, side by side on one scene.

    Attributes:
        agreement: share of pixels whose best class is the teacher's.
        agreement_held_out: the same on pixels that taught nothing, whose places are apart; None without any.
        agreement_missing: by modality, the same as ``agreement`` when both lack it.
        speed_up: the teacher's time a pixel over the student's.
        pixels: that were compared.
        confidence: of its best class, reached by 95 % of them.
        cosine: to its best class, reached by 99 % of them.
    """

    agreement: float
    agreement_held_out: float | None
    agreement_missing: dict[str, float]
    speed_up: float
    pixels: int
    confidence: float
    cosine: float


@dataclass(frozen=True)
class StudentRun:
    """A distilled student with everything that a map or a bundle needs.

    Attributes:
        student: in evaluation mode.
        classes: K names.
        class_vectors: unit vectors float32 (K, D).
        temperature: of the softmax over cosines.
        modalities: by name in order, channels, unit and wavelengths in nm (or None).
        ground_sampling: metres a pixel of the scene that it was distilled on, or None.
        figures: as they were measured.
        camera: whose bands it gets in place of a spectrometer's, or None.
        levels: of the modalities that are levelled tile by tile before the student sees them, by name.
        text_map: from the class texts' vectors to the classes' own: weight (D, T) and bias (D,).
    """

    student: Student
    classes: tuple[str, ...]
    class_vectors: npt.NDArray[np.float32]
    temperature: float
    modalities: dict[str, dict[str, Any]]
    ground_sampling: float | None
    figures: Figures
    camera: Camera | None = None
    levels: dict[str, SceneLevel] = field(default_factory=dict)
    text_map: tuple[Tensor, Tensor] | None = None

    def sensed(self, scene: LabelledScene) -> LabelledScene:
        """A scene through the student's camera, where the scene has other bands."""
        through = self.camera is not None and "multispectral" not in {m.name for m in scene.scene.modalities}
        return through_camera(scene, self.camera) if through and self.camera is not None else scene

    def view(self, scene: LabelledScene) -> LabelledScene:
        """A scene as the student's network gets it: through its camera, and levelled tile by tile."""
        seen = self.sensed(scene)
        return replace(seen, scene=levelled(self.levels, seen.scene))


@dataclass
class _Tile:
    """One rectangle of the scene, mirrored by the margin beyond its borders."""

    box: tuple[slice, slice]
    parts: list[Tensor]  # by modality (R, h, w)
    masks: list[Tensor]  # by modality (1, h, w)
    rows: npt.NDArray[np.int64]  # (H, W): row of a pixel in the targets, -1 for none


def distil(
    teacher: Teacher,
    scene: LabelledScene,
    output: Path,
    config: StudentConfig,
    say: Callable[[str], None] = lambda line: None,
    step: Callable[[float, float, str], None] = lambda done, total, text: None,
    camera: Camera | None = None,
) -> StudentRun:
    """Distil the teacher into a student on the pixels of a scene; no label is looked at.

    With a camera the teacher sees the scene's own spectra and the student what the camera would have seen of them, so
    that a few bands answer as well as they can.

    Args:
        teacher: the per-pixel classifier.
        scene: its pixels that carry data of any modality.
        output: folder for the student; what the teacher said is kept there until the student is done.
        config: the recipe.
        say: is told what was measured.
        step: is told how far it is.
        camera: whose bands the student gets in place of the hyperspectral ones; None for the scene's own.

    Raises:
        UsageError: the scene lacks a modality of the teacher, or does not see what the camera does.
    """
    torch.manual_seed(config.seed)
    generator = np.random.default_rng(config.seed)
    wanted, raw = levels(teacher.encoder.config), scene
    scene = replace(scene, scene=teacher.prepare(scene.scene))
    sensors = {m.name: m for m in scene.scene.modalities}
    names = tuple(teacher.modalities)
    lacking = [name for name in names if name not in sensors]
    if lacking:
        raise UsageError(f"the scene {scene.scene.name} lacks {', '.join(lacking)}; it has: {', '.join(sensors)}")
    seen = np.logical_or.reduce([sensors[name].valid for name in names]) & (scene.scene.tile >= 0)
    pixels = np.argwhere(seen)
    if len(pixels) > config.most_pixels:
        pixels = pixels[np.sort(generator.permutation(len(pixels))[: config.most_pixels])]
    held_out = _held_out(scene, pixels, config, generator)
    output.mkdir(parents=True, exist_ok=True)
    missing = [(), *((name,) for name in names if len(names) > 1)]
    targets = _ask(teacher, scene, pixels, missing, output / _TARGETS, step)
    own = scene
    if camera is not None:  # levelled as the spectrometer's bands are for the teacher
        own = through_camera(raw, camera)
        wanted = {"multispectral" if name == "hyperspectral" else name: level for name, level in wanted.items()}
        own = replace(own, scene=levelled(wanted, own.scene))
    parts: dict[str, Components] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, modality in zip(names, _ordered(own, names)):
        known = teacher.encoder.components[name]
        if modality.name == name:
            parts[name] = _copied(known)
        else:
            parts[modality.name] = fit_components(
                modality, seen, scene.scene.tile, modality.values.shape[-1], normalise=known.normalise
            )
        waves = modality.wavelengths
        facts[modality.name] = {
            "channels": int(modality.values.shape[-1]),
            "unit": modality.unit,
            "wavelengths": None if waves is None else [float(wave) for wave in waves],
        }
    vectors = teacher.class_vectors.detach().float()
    student = Student(parts, teacher.side, int(vectors.shape[1]), teacher.encoder.config.width, config)
    _inherit(student, teacher)
    tiles = _tiles(student, own, pixels)
    _fit(student, tiles, targets, ~held_out, vectors, teacher.temperature, step)
    student.eval()
    figures = _compare(student, teacher, scene, own, tiles, targets, held_out, vectors)
    run = StudentRun(
        student,
        tuple(teacher.classes),
        vectors.numpy(),
        float(teacher.temperature),
        facts,
        scene.scene.ground_sampling,
        figures,
        camera,
        wanted,
        (teacher.map.weight.detach().clone(), teacher.map.bias.detach().clone()),
    )
    write_student(run, output)
    (output / _TARGETS).unlink(missing_ok=True)
    apart = "" if figures.agreement_held_out is None else f", {100 * figures.agreement_held_out:.2f} % held out"
    say(
        f"student  agrees with the per-pixel classifier on {100 * figures.agreement:.2f} % of {figures.pixels:,} "
        f"pixels{apart}; {figures.speed_up:.0f} times as fast"
    )
    for name, share in figures.agreement_missing.items():
        say(f"student  without {name} both agree on {100 * share:.2f} %")
    return run


def through_camera(scene: LabelledScene, camera: Camera) -> LabelledScene:
    """A scene as a multispectral camera would see it, from its hyperspectral bands.

    Raises:
        UsageError: it has no hyperspectral bands with wavelengths, or none where the camera has some.
    """
    modalities = []
    for modality in scene.scene.modalities:
        if modality.name == "hyperspectral":
            if modality.wavelengths is None:
                raise UsageError(
                    f"the bands of {scene.scene.name} have no wavelengths: no camera can be put in its place"
                )
            seen = resample(modality.values, modality.wavelengths, camera.wavelengths, camera.widths)
            modality = Modality("multispectral", seen, modality.valid, modality.unit, np.asarray(camera.wavelengths))
        modalities.append(modality)
    return replace(scene, scene=replace(scene.scene, modalities=tuple(modalities)))


def _ordered(scene: LabelledScene, names: Sequence[str]) -> list[Modality]:
    """The modalities of a scene in the teacher's order; a camera's takes the place of the spectrometer's."""
    found = {m.name: m for m in scene.scene.modalities}
    return [found[name] if name in found else found["multispectral"] for name in names]


def _copied(components: Components) -> Components:
    copy = Components(components.channels, components.count, normalise=components.normalise)
    copy.load_state_dict(components.state_dict())
    return copy


def _held_out(
    scene: LabelledScene, pixels: Pixels, config: StudentConfig, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which pixels teach nothing: whole tiles, or squares of a lattice where there is one tile."""
    tile = scene.scene.tile[pixels[:, 0], pixels[:, 1]].astype(np.int64)
    if len(np.unique(tile)) < 2 / max(config.held_out, 1e-9):
        side = max(8, config.crop // 2)
        tile = tile * 1_000_000 + (pixels[:, 0] // side) * 1000 + pixels[:, 1] // side
    places = np.unique(tile)
    chosen = generator.permutation(places)[: round(config.held_out * len(places))]
    return np.isin(tile, chosen)


def _ask(
    teacher: Teacher,
    scene: LabelledScene,
    pixels: Pixels,
    missing: Sequence[tuple[str, ...]],
    path: Path,
    step: Callable[[float, float, str], None],
) -> list[Tensor]:
    """What the teacher's embeddings of pixels are made of, float16 (n, D - 2), for each set of missing modalities."""
    names = tuple(teacher.modalities)
    ask = teacher.blend
    probe = of_pixels(ask, teacher, scene, pixels[:: max(1, len(pixels) // 16)], names)  # another says otherwise
    identity = tensors_sha256({"pixels": torch.from_numpy(pixels), "probe": probe})
    known: dict[str, Tensor] = {}
    if path.exists():
        kept, description = read_checkpoint(path)
        known = kept if description["identity"] == identity else {}
    found: list[Tensor] = []
    for number, absent in enumerate(missing):
        key = "-".join(("all", *absent))
        if key not in known:
            given = tuple(name for name in names if name not in absent)

            def tell(done: int, before: int = number * len(pixels)) -> None:
                step(before + done, len(missing) * len(pixels), "the teacher's map")

            known[key] = of_pixels(ask, teacher, scene, pixels, given, tell).half()
            write_checkpoint(path, known, {"identity": identity})
        found.append(known[key])
    return found


def of_pixels(
    ask: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor],
    teacher: Teacher,
    scene: LabelledScene,
    pixels: Pixels,
    given: Sequence[str],
    step: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """What the per-pixel classifier says of n pixels, float32 (n, ...), from some of its modalities.

    Args:
        ask: its ``embed`` or ``blend``.
        teacher: the classifier.
        scene: prepared as it wants it.
        pixels: rows and columns, int (n, 2).
        given: names of the modalities that it sees.
        step: is told how many pixels are done.
    """
    cutters = {
        m.name: Windows(m.values, m.valid, scene.scene.tile, teacher.side)
        for m in scene.scene.modalities
        if m.name in given
    }
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _TEACHER_BATCH):
            some = pixels[start : start + _TEACHER_BATCH]
            rows.append(ask(*cut(cutters, some)))
            step(start + len(some))
    return torch.cat(rows)


def cut(cutters: Mapping[str, Windows], pixels: Pixels) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Windows (N, C, S, S) round pixels and where they carry data, bool (N, S, S), by modality."""
    windows, valid = {}, {}
    for name, cutter in cutters.items():
        values, seen = cutter.of(pixels)
        windows[name] = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32))
        valid[name] = torch.from_numpy(np.ascontiguousarray(seen))
    return windows, valid


def _tiles(student: Student, scene: LabelledScene, pixels: Pixels) -> list[_Tile]:
    """The scene's tiles as components, mirrored beyond their borders by the student's margin."""
    from scipy.ndimage import find_objects

    margin = student.receptive_field // 2
    index = np.full(scene.scene.tile.shape, -1, np.int64)
    index[pixels[:, 0], pixels[:, 1]] = np.arange(len(pixels))
    sensors = {m.name: m for m in scene.scene.modalities}
    tiles = []
    for number, box in enumerate(find_objects(scene.scene.tile + 1)):
        if box is None or (index[box] < 0).all():
            continue
        inside = scene.scene.tile[box] == number
        parts, masks = [], []
        for name in student.modalities:
            mask = sensors[name].valid[box] & inside
            values = np.where(mask[..., None], sensors[name].values[box], np.float32(0))
            with torch.inference_mode():
                part = student.components[name](torch.from_numpy(values.transpose(2, 0, 1)[None].copy()))[0].numpy()
            around = ((0, 0), (margin, margin), (margin, margin))
            parts.append(torch.from_numpy(np.pad(part * mask, around, mode="reflect")))
            masks.append(torch.from_numpy(np.pad(mask[None].astype(np.float32), around, mode="reflect")))
        tiles.append(_Tile(box, parts, masks, np.where(inside, index[box], -1)))
    return tiles


@torch.no_grad()
def _inherit(student: Student, teacher: Teacher) -> None:
    """Give the student what is the teacher's own: stems, and the components' part of an embedding.

    A camera's bands have neither: all of its part of an embedding is learnt.
    """
    start = 0
    for number, (name, known) in enumerate(zip(student.modalities, teacher.modalities)):
        linear, count = teacher.space.maps[known], student.enter.counts[number]
        tokens = linear.in_features - teacher.encoder.components[known].count
        exact = (linear.weight[:, tokens:] != 0).any(dim=1) & (name == known)
        student.learnt[:, number] = (linear.weight != 0).any(dim=1) & ~exact
        if name == known:
            student.near[:, start : start + count] = linear.weight[:, tokens:] * exact[:, None]
            student.near[:, start + count] = linear.bias * exact
            for layer in (0, 2):
                own, other = student.enter.stems[name][layer], teacher.encoder.stems[name][layer]
                own.weight.copy_(other.weight[:, :, None, None])
                own.bias.copy_(other.bias)
        start += count + 1


@dataclass
class _Batch:
    """Crops of a step, and what the teacher makes of those of their pixels that teach."""

    joined: Tensor  # (B, channels, H + 2 margin, W + 2 margin)
    use: Tensor  # bool (B, H, W)
    wanted: Tensor  # (n, D - 2)


def _batches(
    student: Student, tiles: Sequence[_Tile], targets: Sequence[Tensor], teach: npt.NDArray[np.bool_]
) -> Iterator[_Batch]:
    """Crops by chance, without end; of some a modality is missing."""
    config, margin = student.config, student.receptive_field // 2
    generator = np.random.default_rng(config.seed + 1)
    useful = [tile for tile in tiles if (tile.rows >= 0).any() and teach[tile.rows[tile.rows >= 0]].any()]
    side = min([config.crop, *(min(tile.rows.shape) for tile in useful)])
    areas = np.array([tile.rows.size for tile in useful], np.float64)
    names, said = student.modalities, torch.stack(list(targets))
    while True:
        # Crops of one step lack different modalities: whole steps would each have statistics (batch norm) of their own.
        absent = generator.integers(len(names), size=config.batch)
        absent[generator.random(config.batch) >= (config.missing if len(names) > 1 else 0)] = -1
        parts: list[list[Tensor]] = [[] for _ in names]
        masks: list[list[Tensor]] = [[] for _ in names]
        rows = []
        for place, lacking in zip(generator.choice(len(useful), config.batch, p=areas / areas.sum()), absent):
            tile = useful[place]
            top, left = (int(generator.integers(length - side + 1)) for length in tile.rows.shape)
            window = slice(top, top + side + 2 * margin), slice(left, left + side + 2 * margin)
            for kind in range(len(names)):
                there = 0.0 if kind == lacking else 1.0
                parts[kind].append(tile.parts[kind][:, window[0], window[1]])
                masks[kind].append(tile.masks[kind][:, window[0], window[1]] * there)
            rows.append(tile.rows[top : top + side, left : left + side])
        known = np.stack(rows)
        use = (known >= 0) & teach[known]
        left_over = torch.stack([torch.stack(mask) for mask in masks]).amax(dim=0)[:, 0]  # what nothing is left of
        use &= left_over[:, margin : margin + side, margin : margin + side].numpy() > 0  # teaches nothing
        if not use.any():
            continue
        which = np.broadcast_to(absent[:, None, None] + 1, known.shape)[use]
        joined = student.joined([torch.stack(part) for part in parts], [torch.stack(mask) for mask in masks])
        wanted = said[torch.from_numpy(which), torch.from_numpy(known[use])].float()
        yield _Batch(joined, torch.from_numpy(use), wanted)


@torch.no_grad()
def _standardise(student: Student, batch: _Batch) -> None:
    """Scale random convolutions so that each of their channels has mean 0 and spread 1 (Krähenbühl et al. 2016).

    The tiles of a step are few and unlike the scene: normalising by their statistics would be noise.
    """

    def scale(layer: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert layer.bias is not None
        spread, mean = torch.std_mean(output, dim=(0, 2, 3))
        spread = spread.clamp(min=1e-3)
        layer.weight /= spread[:, None, None, None]
        layer.bias.copy_((layer.bias - mean) / spread)
        return (output - mean[:, None, None]) / spread[:, None, None]

    layers = [student.enter.mix, *(layer for layer in student.blocks.modules() if isinstance(layer, nn.Conv2d))]
    hooks = [layer.register_forward_hook(scale) for layer in layers]
    student.blocks(student.enter(batch.joined))
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def _solve(student: Student, batches: Sequence[_Batch]) -> None:
    """The last layer by ridge regression, from all before it as it stands."""
    size = student.leave.in_channels + 1
    squares = torch.zeros(len(student.modalities), size, size, dtype=torch.float64)
    products = torch.zeros(size, student.dim - EXTRA, dtype=torch.float64)
    for batch in batches:
        seen = student.seen(student.enter(batch.joined)).permute(0, 2, 3, 1)[batch.use].double()
        seen = torch.cat([seen, torch.ones(len(seen), 1)], dim=1)
        known, gate = (part.permute(0, 2, 3, 1)[batch.use] for part in student.known(batch.joined))
        products += seen.T @ ((batch.wanted - known) * gate).double()
        for number in range(len(squares)):
            there = (gate * student.learnt[:, number]).any(dim=1)
            squares[number] += seen[there].T @ seen[there]
    for number, square in enumerate(squares):
        rows = student.learnt[:, number] > 0
        ridge = _RIDGE * square.diagonal().mean().clamp(min=_RIDGE) * torch.eye(size)
        solved = torch.linalg.solve(square + ridge, products[:, rows]).float()
        student.leave.weight[rows] = solved[:-1].T[:, :, None, None]
        student.leave.bias[rows] = solved[-1]


def _fit(
    student: Student,
    tiles: Sequence[_Tile],
    targets: Sequence[Tensor],
    teach: npt.NDArray[np.bool_],
    vectors: Tensor,
    temperature: float,
    step: Callable[[float, float, str], None],
) -> None:
    """Distil: embeddings by their cosine, and classes by the divergence of probabilities (Hinton et al. 2015)."""
    config = student.config
    batches = _batches(student, tiles, targets, teach)
    _standardise(student, next(batches))
    _solve(student, [next(batches) for _ in range(_FIRST_STEPS)])
    last = list(student.leave.parameters())
    before = [p for part in (student.enter, student.blocks) for p in part.parameters()]
    rates = [config.rate, _LAST * config.rate]
    groups = [{"params": part, "lr": rate} for part, rate in zip((before, last), rates)]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, config.steps, pct_start=0.1)
    for number, batch in zip(range(config.steps), batches):
        found = student.trunk(student.enter(batch.joined), batch.joined).permute(0, 2, 3, 1)[batch.use]
        wanted = unit(batch.wanted)
        logits = (wanted @ vectors.T / (_SHARP * temperature)).log_softmax(dim=1)
        own = (found @ vectors.T / (_SHARP * temperature)).log_softmax(dim=1)
        classes = nn.functional.kl_div(own, logits, log_target=True, reduction="batchmean")
        loss = classes + (1 - (found * wanted).sum(dim=1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        step(number + 1, config.steps, f"distilling, loss {loss.item():.4f}")


def _compare(
    student: Student,
    teacher: Teacher,
    scene: LabelledScene,
    own: LabelledScene,
    tiles: Sequence[_Tile],
    targets: Sequence[Tensor],
    held_out: npt.NDArray[np.bool_],
    vectors: Tensor,
) -> Figures:
    names = student.modalities
    agreements = []
    agree = np.zeros(len(held_out), bool)
    nearest, confidence = np.zeros(len(held_out)), np.zeros(len(held_out))
    for absent in range(-1, len(targets) - 1):
        same = np.zeros(len(held_out), bool)
        judged = np.zeros(len(held_out), bool)
        with torch.inference_mode():
            for tile in tiles:
                masks = [mask * float(kind != absent) for kind, mask in enumerate(tile.masks)]
                joined = student.joined([part[None] for part in tile.parts], [mask[None] for mask in masks])
                found = student.trunk(student.enter(joined), joined)[0].permute(1, 2, 0)
                margin = student.receptive_field // 2
                there = torch.stack(masks).amax(dim=0)[0].numpy()
                height, width = tile.rows.shape
                use = (tile.rows >= 0) & (there[margin : margin + height, margin : margin + width] > 0)
                rows = tile.rows[use]
                cosines = found[torch.from_numpy(use)] @ vectors.T
                best = cosines.argmax(dim=1)
                if absent < 0:
                    nearest[rows] = cosines.amax(dim=1).numpy()
                    confidence[rows] = (cosines / teacher.temperature).softmax(dim=1).amax(dim=1).numpy()
                wanted = (unit(targets[absent + 1][torch.from_numpy(rows)].float()) @ vectors.T).argmax(dim=1)
                same[rows], judged[rows] = (best == wanted).numpy(), True
        agreements.append(float(same[judged].mean()))
        if absent < 0:
            agree = same
    return Figures(
        agreement=agreements[0],
        agreement_held_out=float(agree[held_out].mean()) if held_out.any() else None,
        agreement_missing=dict(zip(names, agreements[1:])),
        speed_up=_speed_up(student, teacher, scene, own),
        pixels=len(held_out),
        confidence=float(np.quantile(confidence, _DOUBTED)),
        cosine=float(np.quantile(nearest, _UNKNOWN)),
    )


def _speed_up(student: Student, teacher: Teacher, scene: LabelledScene, own: LabelledScene) -> float:
    """The teacher's time a pixel over the student's, from raw values on, in turns, median over rounds."""
    carries = np.argwhere(scene.carries)
    timed = student.config.timed
    pixels = carries[:: max(1, len(carries) // timed)][:timed]
    cutters = {m.name: Windows(m.values, m.valid, scene.scene.tile, teacher.side) for m in scene.scene.modalities}
    cutters = {name: cutters[name] for name in teacher.modalities}
    sensors = {m.name: m for m in own.scene.modalities}
    rows = slice(0, min(scene.scene.tile.shape[0], 128))
    columns = slice(0, min(scene.scene.tile.shape[1], 128))
    inputs = []
    for name in student.modalities:
        mask = sensors[name].valid[rows, columns]
        values = np.where(mask[..., None], sensors[name].values[rows, columns], np.float32(0))
        inputs += [torch.from_numpy(values.transpose(2, 0, 1)[None].copy()), torch.from_numpy(mask[None, None] * 1.0)]
    inputs = [value.float() for value in inputs]
    ratios = []
    with torch.inference_mode():
        for _ in range(_ROUNDS + 1):
            begin = time.perf_counter()
            for start in range(0, len(pixels), _TEACHER_BATCH):
                teacher.embed(*cut(cutters, pixels[start : start + _TEACHER_BATCH]))
            middle = time.perf_counter()
            for _ in range(_PASSES):
                student(*inputs)
            end = time.perf_counter()
            area = _PASSES * inputs[0].shape[-2] * inputs[0].shape[-1]
            ratios.append((middle - begin) / len(pixels) / ((end - middle) / area))
    return float(np.median(ratios[1:]))  # the first warms up


def time_again(teacher: Teacher, scene: LabelledScene, folder: Path) -> StudentRun:
    """Time a finished student beside its teacher once more, and write down what came out.

    Args:
        teacher: that it was distilled from.
        scene: with the sensors of both.
        folder: of the student.

    Raises:
        UsageError: there is none, or it is of other classes.
    """
    run = load_student(folder)
    if run.classes != tuple(teacher.classes):
        raise UsageError(f"{folder} is not the student of this run: it tells other classes apart")
    prepared = replace(scene, scene=teacher.prepare(scene.scene))
    speed_up = _speed_up(run.student, teacher, prepared, run.view(scene))
    run = replace(run, figures=replace(run.figures, speed_up=speed_up))
    write_student(run, folder)
    return run


def write_student(run: StudentRun, folder: Path) -> None:
    """Write a student with what it is and what was measured of it."""
    parts = {
        name: {"components": part.count, "normalise": part.normalise} for name, part in run.student.components.items()
    }
    description = {
        "config": asdict(run.student.config),
        "side": run.student.receptive_field,
        "dim": run.student.dim,
        "stem": run.student.stem,
        "modalities": [{"name": name, **facts, **parts[name]} for name, facts in run.modalities.items()],
        "classes": list(run.classes),
        "temperature": run.temperature,
        "ground_sampling": run.ground_sampling,
        "figures": asdict(run.figures),
        "camera": msgspec.to_builtins(run.camera),
        "levels": msgspec.to_builtins(run.levels),
    }
    tensors = {**run.student.state_dict(), _CLASS_VECTORS: torch.from_numpy(run.class_vectors)}
    if run.text_map is not None:
        tensors |= dict(zip(_TEXT_MAP, run.text_map))
    write_checkpoint(folder / STUDENT, tensors, description)


def load_student(folder: Path) -> StudentRun:
    """Read a student that `distil` wrote.

    Raises:
        UsageError: there is none, or it is broken.
    """
    if not (folder / STUDENT).is_file():
        raise UsageError(f"{folder} holds no student; python -m training diffclip student makes one")
    tensors, facts = read_checkpoint(folder / STUDENT)
    try:
        vectors = tensors.pop(_CLASS_VECTORS)
        weight, bias = (tensors.pop(name, None) for name in _TEXT_MAP)
        sensors = {entry["name"]: entry for entry in facts["modalities"]}
        components = {
            name: Components(entry["channels"], entry["components"], normalise=entry["normalise"])
            for name, entry in sensors.items()
        }
        config = StudentConfig(**facts["config"])
        student = Student(components, facts["side"], facts["dim"], facts["stem"], config)
        student.load_state_dict(tensors)
        return StudentRun(
            student.eval(),
            tuple(facts["classes"]),
            vectors.numpy(),
            float(facts["temperature"]),
            {name: {key: entry[key] for key in ("channels", "unit", "wavelengths")} for name, entry in sensors.items()},
            facts["ground_sampling"],
            Figures(**facts["figures"]),
            msgspec.convert(facts["camera"], Camera | None),
            msgspec.convert(facts["levels"], dict[str, SceneLevel]),
            None if weight is None or bias is None else (weight, bias),
        )
    except (ValueError, KeyError, TypeError, RuntimeError, msgspec.ValidationError) as error:
        raise UsageError(f"{folder} holds a broken student: {' '.join(str(error).split())[:200]}") from None
