"""Whether photos have left what a model knows: their embeddings' distances, held against those of known photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .bundle.manifest import MAX_MANIFEST_BYTES
from .errors import BundleError, BundleFault, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

SIZES = (4, 8, 16, 32, 64, 128, 256)  # photos: of samples whose ratio is known by chance
LEVELS = (0.95, 0.99)  # of chance: beyond the second the photos have drifted
MAX_BYTES = 300_000
_TENSORS = ("centres", "typical", "basis", "rest", "gap", "chance", "singles")
_METADATA = "agriclip-reference"
_MOST = 1e4  # any value: distances and whitened directions are far below


@dataclass(frozen=True)
class Reference:
    """What embeddings of known photos are like.

    Attributes:
        centres: mean embedding of each known label, float32 (P, D).
        typical: mean distance of held-out photos to the nearest centre, around each centre, float32 (P,).
        basis: the K widest directions within labels, each over its standard deviation, float32 (K, D).
        rest: standard deviation in any other direction, float32 (1,).
        gap: mean over labels of (centre - words), float32 (D,).
        chance: of samples of `SIZES` known photos, the quantiles `LEVELS` of their ratio, float32 (7, 2).
        singles: 101 quantiles, 0 to 100 %, of one known photo's ratio, float32 (101,).

    A photo's ratio is its distance to the nearest centre (Mahalanobis, within labels) over what is typical there.
    """

    centres: npt.NDArray[np.float32] = field(repr=False)
    typical: npt.NDArray[np.float32] = field(repr=False)
    basis: npt.NDArray[np.float32] = field(repr=False)
    rest: npt.NDArray[np.float32] = field(repr=False)
    gap: npt.NDArray[np.float32] = field(repr=False)
    chance: npt.NDArray[np.float32] = field(repr=False)
    singles: npt.NDArray[np.float32] = field(repr=False)

    def ratios(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """How far photos lie from what is known, 1 being usual: float64 (N,) for unit vectors float32 (N, D)."""
        squared, nearest = squared_distances(vectors, self.centres, self.basis, float(self.rest[0]))
        ratios: npt.NDArray[np.float64] = np.sqrt(squared) / self.typical[nearest]
        return ratios

    def to_bytes(self) -> bytes:
        """A safetensors file, float16 where there is much."""
        from safetensors.numpy import save

        half = ("centres", "basis", "gap")
        tensors = {
            name: np.ascontiguousarray(getattr(self, name), np.float16 if name in half else np.float32)
            for name in _TENSORS
        }
        return save(tensors, {_METADATA: "1"})

    @classmethod
    def from_bytes(cls, data: bytes, dim: int, where: str) -> Reference:
        """Read statistics without trust.

        Raises:
            BundleError: other tensors, shapes or values than those of the format.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        def wrong(what: str) -> BundleError:
            return BundleError(BundleFault.REFERENCE_INVALID, f"{where}: {what}")

        if len(data) > MAX_MANIFEST_BYTES:
            raise BundleError(BundleFault.TOO_LARGE, f"{where} has {len(data):,} bytes; at most {MAX_MANIFEST_BYTES:,}")
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise wrong(f"not a safetensors file: {error}") from None
        if set(tensors) != set(_TENSORS):
            raise wrong(f"holds {sorted(tensors)[:9]}; accepted: {', '.join(_TENSORS)}")
        count, width = len(tensors["typical"]), len(tensors["basis"]) if tensors["basis"].ndim else 0
        shapes: Mapping[str, tuple[int, ...]] = {
            "centres": (count, dim),
            "typical": (count,),
            "basis": (width, dim),
            "rest": (1,),
            "gap": (dim,),
            "chance": (len(SIZES), len(LEVELS)),
            "singles": (101,),
        }
        for name, shape in shapes.items():
            tensor = tensors[name]
            if tensor.dtype not in (np.float16, np.float32) or tensor.shape != shape or not tensor.size:
                raise wrong(f"{name} is {tensor.dtype} {tensor.shape}; accepted: float16 or float32 {shape}")
            if not (np.abs(tensor) < _MOST).all():  # NaN is not below anything
                raise wrong(f"{name} holds values that are no numbers or beyond {_MOST:g}")
        if min(float(tensors[name].min()) for name in ("typical", "rest", "chance")) <= 0:
            raise wrong("distances that are not above 0")
        if (np.diff(tensors["singles"]) < 0).any():
            raise wrong("singles that do not rise")
        return cls(**{name: tensors[name].astype(np.float32) for name in _TENSORS})


@dataclass(frozen=True)
class Unusual:
    """One photo that is unlike the known ones.

    Attributes:
        path: of the photo.
        ratio: its distance from what is known, 1 being usual.
        beyond: share of known photos that lie nearer, 0 to 1.
    """

    path: str
    ratio: float
    beyond: float


@dataclass(frozen=True)
class Drift:
    """What a set of photos says.

    Attributes:
        state: ``known``, ``edge`` (beyond 95 % of chance), ``left`` (beyond 99 %) or ``too-few`` photos to tell.
        ratio: mean distance from what the model knows, 1 being usual.
        limit: ratio that 99 % of as many known photos stay under.
        photos: how many were compared.
        needed: photos from which such a ratio would be told from chance; None where more than 256 would not do.
        unusual: the photos farthest off, farthest first.
    """

    state: str
    ratio: float
    limit: float
    photos: int
    needed: int | None
    unusual: tuple[Unusual, ...]

    def sentence(self) -> str:
        """The answer in plain words."""
        figure = f"their distance from it is {self.ratio:.2f} of the usual"
        chance = f"{self.photos} known photos stay under {self.limit:.2f} in 99 of 100 cases"
        if self.state == "left":
            head = "these photos have left what the model knows, as after another camera, season or place"
            return f"{head}: {figure}; {chance}; {self.needed} such photos would have told"
        if self.state == "too-few":
            return f"{self.photos} photos are too few to tell; at least {SIZES[0]} are needed"
        if self.state == "edge":
            return f"these photos lie at the edge of what the model knows: {figure}; {chance}; take more to be sure"
        more = "" if self.needed is None else f"; with {self.needed} photos this figure would not be chance"
        return f"these photos are like those that the model knows: {figure}; {chance}{more}"


def compare(reference: Reference, vectors: npt.NDArray[np.float32], paths: Sequence[str], listed: int = 10) -> Drift:
    """Hold photos against what a model knows.

    Args:
        reference: statistics of known photos.
        vectors: unit vectors of N photos, float32 (N, D).
        paths: their paths.
        listed: how many of the most unusual photos to name.

    Raises:
        UsageError: no photo.
    """
    if not len(vectors):
        raise UsageError("no photo could be used; accepted: at least one")
    ratios = reference.ratios(vectors)
    ratio, count = float(ratios.mean()), len(ratios)
    row = max(int(np.searchsorted(SIZES, count, side="right")) - 1, 0)  # of fewer photos chance moves more
    edge, limit = (float(value) for value in reference.chance[row])
    state = "left" if ratio > limit else "edge" if ratio > edge else "known"
    enough = np.flatnonzero(reference.chance[:, 1] < ratio)
    beyond = np.searchsorted(reference.singles, ratios) / (len(reference.singles) - 1)
    order = np.argsort(-ratios, kind="stable")[:listed]
    return Drift(
        state="too-few" if count < SIZES[0] else state,
        ratio=ratio,
        limit=limit,
        photos=count,
        needed=SIZES[enough[0]] if len(enough) else None,
        unusual=tuple(Unusual(paths[at], float(ratios[at]), min(float(beyond[at]), 1.0)) for at in order),
    )


def squared_distances(
    vectors: npt.NDArray[np.float32], centres: npt.NDArray[np.float32], basis: npt.NDArray[np.float32], rest: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Squared Mahalanobis distance to the nearest centre, float64 (N,), and which it is, int64 (N,).

    The covariance is that of ``basis`` (K directions over their standard deviations) and ``rest`` in all others.
    """
    x, c = (_whitened(part, basis, rest) for part in (vectors, centres))
    squared = (x**2).sum(axis=1)[:, np.newaxis] + (c**2).sum(axis=1) - 2 * x @ c.T
    return np.maximum(squared.min(axis=1), 0), squared.argmin(axis=1)


def _whitened(vectors: npt.NDArray[np.float32], basis: npt.NDArray[np.float32], rest: float) -> npt.NDArray[np.float64]:
    wide, exact = basis.astype(np.float64), vectors.astype(np.float64)
    directions = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    left = exact - (exact @ directions.T) @ directions
    return np.concatenate([exact @ wide.T, left / rest], axis=1)
