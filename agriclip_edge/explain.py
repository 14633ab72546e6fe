"""What drew an answer: patches of the photo are covered, and the fall of the answer's log-odds is mapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .errors import LabelError
from .imaging.decode import RGB

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from .imaging.decode import Photo

GRID = 8  # cells a side: 28 pixels of 224, about what the last layers of a small encoder tell apart
_BLOCKS = (2, 4)  # sides, in cells, of the patches that are covered: small signs, and what is there many times
_STEPS = 3  # squares that are left covered, one after the other, to see what they hid
_DREW = 4  # a map is judged by the strongest cells, one in so many
_BATCH = 16  # covered squares an encoder run
_LEAST = 1e-12  # probability: log-odds stay finite

_PANEL = 448  # pixels a side of the square in the picture
_GAP, _MARGIN = 12, 16  # pixels
_TITLE, _SMALL = 24, 15  # letters, in pixels
_PAPER, _INK, _GREY = (255, 255, 255), (20, 20, 20), (95, 95, 95)
_OUTSIDE = 0.4  # brightness of what drew nothing, or was not seen
_HOT = (255, 80, 0)  # light on dark: told apart with any colour vision
_STRONGEST = 0.5  # how much of the photo the heat may hide


@dataclass(frozen=True)
class Explanation:
    """Which parts of a photo drew its best answer.

    Attributes:
        label: the answer that is explained.
        confidence: its probability on the whole photo, 0 to 1.
        drops: how far the answer's log-odds fall while a cell is covered, float64 (G, G), rows from the top; negative
            where the cell speaks against the answer.
        square: what the model saw, uint8 (S, S, 3).
        photo: the photo, upright RGB uint8 (H, W, 3), of which ``square`` is the central square.

    Example:
        >>> import agriclip_edge
        >>> explanation = agriclip_edge.load(labels=["a cow", "a lemon"]).explain("examples/photos/cow.jpg")
        >>> explanation.label, explanation.drops.shape
        ('a cow', (8, 8))
    """

    label: str
    confidence: float
    drops: npt.NDArray[np.float64] = field(repr=False)
    square: RGB = field(repr=False)
    photo: RGB = field(repr=False)

    def strongest(self, count: int) -> npt.NDArray[np.bool_]:
        """The ``count`` cells that drew the answer most: bool (G, G)."""
        return _strongest(self.drops, count)

    def picture(self) -> RGB:
        """The photo with the model's square outlined, the same with the heat over it, and the answer in words.

        Returns:
            RGB uint8 (H, W, 3), made to be looked at: some 480 pixels high.
        """
        return _picture(self)


def explain(
    photo: Photo,
    size: int,
    labels: Sequence[str],
    probabilities: Callable[[RGB], npt.NDArray[np.float64]],
    label: str | None = None,
) -> Explanation:
    """Find the patches of a photo that drew an answer; see `agriclip_edge.Classifier.explain`.

    Args:
        photo: a path, bytes, a Pillow image or an RGB array.
        size: S, side in pixels of the encoder's square.
        labels: C labels.
        probabilities: of N squares uint8 (N, S, S, 3), float64 (N, C).
        label: which answer to explain; None takes the best one.

    Raises:
        LabelError: the label is none of those in use.
        PhotoError: the photo cannot be used.
    """
    from .imaging.decode import decode
    from .imaging.preprocess import preprocess

    if label is not None and label not in labels:
        raise LabelError(f"no label {label!r} among the {len(labels)} in use; accepted: one of them")
    # As when it is classified: a JPEG at a reduced scale gives a slightly other square.
    square = preprocess(decode(photo, input_size=size), size)
    whole = probabilities(square[np.newaxis])[0]
    row = int(whole.argmax()) if label is None else labels.index(label)
    drops = occlusion(square, lambda squares: _log_odds(probabilities(squares)[:, row]))
    return Explanation(labels[row], float(whole[row]), drops, square, decode(photo, input_size=_PANEL))


def cover(square: RGB, cells: npt.NDArray[np.bool_]) -> RGB:
    """A copy of a square with some cells of a grid in its mean colour.

    Args:
        square: uint8 (S, S, 3).
        cells: bool (G, G), the cells to cover.

    Example:
        >>> half = cover(np.eye(4, dtype=np.uint8)[..., None].repeat(3, 2) * 255, np.array([[True, False]] * 2))
        >>> float(half[:, :2].std()), half[3, 3].tolist()
        (0.0, [255, 255, 255])
    """
    height, width = square.shape[:2]
    rows = np.arange(height) * cells.shape[0] // height
    columns = np.arange(width) * cells.shape[1] // width
    covered = square.copy()
    covered[cells[np.ix_(rows, columns)]] = np.rint(square.mean(axis=(0, 1)))
    return covered


def occlusion(
    square: RGB, score: Callable[[RGB], npt.NDArray[np.float64]], grid: int = GRID
) -> npt.NDArray[np.float64]:
    """How much of a score each cell of a photo carries (Zeiler and Fergus 2014, section 4.2, at several sizes).

    Squares of several sizes are covered with the photo's mean colour at every place of the grid; a
    cell's figure is the mean, over the squares that hold it, of their drop shared among their cells. What a photo shows
    twice is hidden so: each speaks for the other. So the small square that lowers the score most stays covered, and the
    small ones are tried again beside it, a few times; other cells take the mean of before and now. Of the maps after
    each step that one is given whose strongest quarter lowers the score most when it is covered. Any encoder will do:
    nothing but its answers is used.

    Args:
        square: what the model sees, uint8 (S, S, 3).
        score: of N squares uint8 (N, S, S, 3), float64 (N,).
        grid: cells a side, G.

    Returns:
        the drop a cell, float64 (G, G).
    """

    def scores(masks: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.float64]:
        batches = [masks[start : start + _BATCH] for start in range(0, len(masks), _BATCH)]
        return np.concatenate([score(np.stack([cover(square, mask) for mask in batch])) for batch in batches])

    covered = np.zeros((grid, grid), bool)
    whole = score(square[np.newaxis])[0]
    small, *larger = (_squares(grid, side) for side in _BLOCKS if side <= grid)
    masks = [*small, *(mask for squares in larger for mask in squares)]
    left = scores(masks)
    drops = _shared(masks, whole - left)
    maps = [drops]
    masks, left = small, left[: len(small)]
    for _ in range(_STEPS):
        best = int(left.argmin())
        if left[best] >= whole:
            break
        whole, taken = left[best], masks[best] & ~covered
        covered = covered | taken
        masks = [mask for mask in small if (mask & ~covered).any()]
        if not masks:
            break
        left = scores([mask | covered for mask in masks])
        first = np.where(taken, drops + max(0, drops.max() - drops[taken].max()), drops)
        drops = np.where(covered, first, (first + _shared([mask & ~covered for mask in masks], whole - left)) / 2)
        maps.append(drops)
    best = int(scores([_strongest(drops, grid * grid // _DREW) for drops in maps]).argmin())
    return maps[best]


def _squares(grid: int, side: int) -> list[npt.NDArray[np.bool_]]:
    """Squares of ``side`` cells at every place of a grid: bool (G, G) each."""
    squares = []
    for top in range(grid - side + 1):
        for left in range(grid - side + 1):
            mask = np.zeros((grid, grid), bool)
            mask[top : top + side, left : left + side] = True
            squares.append(mask)
    return squares


def _shared(masks: Sequence[npt.NDArray[np.bool_]], falls: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each mask's fall, shared among its cells; a cell takes the mean over its masks, 0 where there is none."""
    chosen = np.stack(masks).astype(np.float64)
    shares = falls / chosen.sum(axis=(1, 2))
    means: npt.NDArray[np.float64] = np.tensordot(shares, chosen, 1) / np.maximum(1, chosen.sum(axis=0))
    return means


def _strongest(drops: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(drops.size, bool)
    chosen[np.argsort(-drops, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(drops.shape)


def _log_odds(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where a probability is near 1 its own changes vanish; those of the log-odds do not."""
    held = np.clip(probability, _LEAST, 1 - _LEAST)
    odds: npt.NDArray[np.float64] = np.log(held) - np.log1p(-held)
    return odds


def _picture(explanation: Explanation) -> RGB:
    from PIL import Image, ImageDraw, ImageFont

    height, width = explanation.photo.shape[:2]
    scale = _PANEL / min(height, width)
    wide, high = round(width * scale), round(height * scale)
    # A panorama would make the picture as wide: what lies far outside the square says nothing.
    shown = min(wide, 2 * _PANEL), min(high, 2 * _PANEL)
    left, top = (wide - shown[0]) // 2, (high - shown[1]) // 2
    whole = Image.fromarray(explanation.photo).resize((wide, high), Image.Resampling.LANCZOS)
    plain = whole.crop((left, top, left + shown[0], top + shown[1]))
    seen = (shown[0] - _PANEL) // 2, (shown[1] - _PANEL) // 2
    corner = (*seen, seen[0] + _PANEL - 1, seen[1] + _PANEL - 1)

    hot = Image.fromarray((np.asarray(plain) * _OUTSIDE).astype(np.uint8))
    hot.paste(_heated(plain.crop((*seen, seen[0] + _PANEL, seen[1] + _PANEL)), explanation.drops), seen)
    for panel in (plain, hot):
        ImageDraw.Draw(panel).rectangle(corner, outline=(255, 255, 255), width=2)

    title, small = ImageFont.load_default(_TITLE), ImageFont.load_default(_SMALL)
    words = _fitting(f"{explanation.label}: {100 * explanation.confidence:.1f} %", title, 2 * shown[0] + _GAP)
    note = "orange: covering it lowers this answer;  white line: what the model saw"
    words_high = 2 * _MARGIN + _TITLE + _SMALL
    canvas = Image.new("RGB", (2 * shown[0] + _GAP + 2 * _MARGIN, shown[1] + _MARGIN + words_high + _GAP), _PAPER)
    canvas.paste(plain, (_MARGIN, _MARGIN))
    canvas.paste(hot, (_MARGIN + shown[0] + _GAP, _MARGIN))
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, shown[1] + _MARGIN + _GAP), words, fill=_INK, font=title)
    draw.text((_MARGIN, shown[1] + _MARGIN + 2 * _GAP + _TITLE), note, fill=_GREY, font=small)
    return np.asarray(canvas)


def _heated(square: Image.Image, drops: npt.NDArray[np.float64]) -> Image.Image:
    """The square with its heat: orange where a cell drew the answer, dark where it drew nothing."""
    from PIL import Image

    strength = np.clip(drops, 0, None)
    strength = strength / max(float(strength.max()), _LEAST)
    soft = Image.fromarray((255 * strength).astype(np.uint8)).resize(square.size, Image.Resampling.BICUBIC)
    share = np.asarray(soft, np.float32)[..., np.newaxis] / 255
    lit = np.asarray(square, np.float32) * (_OUTSIDE + (1 - _OUTSIDE) * share)
    hidden = _STRONGEST * share  # the photo must still be seen: judging needs both
    return Image.fromarray((lit * (1 - hidden) + np.array(_HOT, np.float32) * hidden).astype(np.uint8))


def _fitting(words: str, font: object, width: int) -> str:
    """The words, cut where they would leave the picture."""
    while len(words) > 1 and font.getlength(words) > width:  # type: ignore[attr-defined]
        words = words[:-2].rstrip() + "…"
    return words
