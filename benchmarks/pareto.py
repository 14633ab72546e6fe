"""The picture of accuracy by latency: encoders of known accuracy, and below them others' latencies; from the record."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .peers import TABLE
from .record import RECORDS, Cell, Record, read_record

_WIDTH, _LEFT, _RIGHT = 860, 210, 30
_TOP, _PLOT, _ROW = 64, 190, 30  # pixels: heading, upper part, each peer's line
_MARKS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT"}
_LABEL = 17  # pixels from one label to the next
_TOLD = 380  # pixels that labels need right of the slowest encoder
# Colours with a contrast of 4.5 and more against their background, light and dark.
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 15px; font-weight: 600 }
.paper { fill: #ffffff } .line { stroke: #d1d9e0 } .leader { stroke: #6e7781 } .own { font-weight: 600 }
.torch { fill: #b3261e } .onnxruntime { fill: #0a58ca } .openvino { fill: #6f42c1 } .tensorrt { fill: #2f7d32 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .paper { fill: #0d1117 } .line { stroke: #3d444d } .leader { stroke: #9198a1 }
.torch { fill: #ff8a80 } .onnxruntime { fill: #79b8ff } .openvino { fill: #c8a6ff } .tensorrt { fill: #7ee787 }
}
"""


@dataclass(frozen=True)
class Picture:
    """What is drawn of a record.

    Attributes:
        what: name of the record.
        table: title of its table; with the columns encoder, runtime, precision, p50 ms and accuracy.
        title: of the picture.
        without: why the encoders of the lower part have no accuracy.
        none: said in the upper part when no encoder has one.
    """

    what: str
    table: str
    title: str
    without: str
    none: str


PEERS = Picture(
    "peers",
    TABLE,
    "Accuracy by latency: one photo, two threads",
    "no accuracy: random weights",
    "the bundle has no accuracy",
)


def render(folder: Path = RECORDS, picture: Picture = PEERS) -> str:
    """The picture as SVG; the same record gives the same text, and without one it says that nothing was measured.

    Raises:
        BenchmarkError: the file there is no record.
    """
    path = folder / f"{picture.what}.json"
    return draw(read_record(path), picture) if path.exists() else _svg(90, [_text(20, 50, "not measured", "title")])


def draw(record: Record, picture: Picture = PEERS) -> str:
    """The picture of one record."""
    table = next(detail for detail in record.details if detail.title == picture.table)
    names = [heading for heading, _ in table.columns]
    rows = [dict(zip(names, row)) for row in table.rows]
    ours = [row for row in rows if isinstance(row["accuracy"], float)]
    peers: defaultdict[str, list[dict[str, Cell]]] = defaultdict(list)
    for row in rows:
        if row not in ours:
            peers[str(row["encoder"]).strip("*")].append(row)
    latencies = [float(row["p50 ms"]) for row in rows]
    low, high = min(latencies) / 1.3, max(latencies) * 1.3
    right = _TOLD if ours and not peers else _RIGHT  # peers are slower, and leave room for the labels
    plot = max(_PLOT, _LABEL * (len(ours) + 1))
    bottom = _TOP + plot
    height = bottom + 20 + _ROW * len(peers) + 50

    def x(milliseconds: Cell) -> float:
        share = math.log(float(milliseconds) / low) / math.log(high / low)
        return _LEFT + share * (_WIDTH - _LEFT - right)

    parts = [
        _text(20, 28, picture.title, "title"),
        *_legend([str(row["runtime"]) for row in rows]),
    ]
    for tick in _ticks(low, high):
        parts.append(f'<line class="line" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{height - 40}"/>')
        parts.append(_text(x(tick), height - 24, f"{tick:g}", anchor="middle"))
    axis = (_LEFT + _WIDTH + _RIGHT - right) / 2
    parts.append(_text(axis, height - 6, "milliseconds a photo, median (logarithmic)", anchor="middle"))
    parts += _upper(ours, x, plot, picture.none)
    for number, (name, sides) in enumerate(peers.items()):
        y = bottom + 20 + _ROW * (number + 0.5)
        parts.append(_rule(y))
        parts.append(_text(_LEFT - 10, y + 4, name, anchor="end"))
        for side in sides:
            parts.append(_point(x(side["p50 ms"]), y, side))
    if peers:
        parts.append(_text(20, bottom + 14, picture.without))
    return _svg(height, parts)


def _upper(ours: Sequence[dict[str, Cell]], x: Callable[[Cell], float], plot: float, none: str) -> list[str]:
    """Points of the encoders of known accuracy, with lines to their labels, which stand below each other.

    Args:
        ours: rows of the encoders.
        x: place of a latency.
        plot: height in pixels.
        none: said when there is no encoder.
    """
    if not ours:
        return [_text(_LEFT, _TOP + 20, none)]
    values = [float(row["accuracy"]) for row in ours]
    middle, reach = (min(values) + max(values)) / 2, max(0.01, (max(values) - min(values)) * 0.8)

    def y(accuracy: Cell) -> float:
        return _TOP + plot * (0.5 - (float(accuracy) - middle) / (2 * reach))

    parts = []
    for accuracy in (middle - reach / 2, middle, middle + reach / 2):
        parts.append(_rule(y(accuracy)))
        parts.append(_text(_LEFT - 10, y(accuracy) + 4, f"{accuracy:.1%}", anchor="end"))
    shown = sorted(ours, key=lambda row: y(row["accuracy"]))
    column = max(x(row["p50 ms"]) for row in ours) + 40
    half = _LABEL * (len(shown) - 1) / 2  # all labels stay within the plot
    middle_label = sum(y(row["accuracy"]) for row in ours) / len(ours)
    middle_label = min(max(middle_label, _TOP + half), _TOP + plot - half)
    for number, row in enumerate(shown):
        left, top = x(row["p50 ms"]), y(row["accuracy"])
        label = middle_label + _LABEL * (number - (len(shown) - 1) / 2)
        told = f"{str(row['encoder']).strip('*')}: {float(row['p50 ms']):.2g} ms, {float(row['accuracy']):.1%}"
        ends = f'x1="{left:.1f}" y1="{top:.1f}" x2="{column - 4:.1f}" y2="{label:.1f}"'
        parts.append(f'<line class="leader" {ends}/>')
        parts.append(_text(column, label + 4, told, "own"))
    parts += [_point(x(row["p50 ms"]), y(row["accuracy"]), row) for row in shown]
    return parts


def _point(x: float, y: float, row: dict[str, Cell]) -> str:
    """A mark in its runtime's colour: a square for INT8, a diamond for BF16, else a disc."""
    name = str(row["encoder"]).strip("*")
    told = escape(f"{name}, {row['runtime']} {row['precision']}: {float(row['p50 ms']):.2f} ms")
    runtime, precision = escape(str(row["runtime"])), str(row["precision"])
    if precision == "int8":
        shape = f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"'
    elif precision == "bf16":
        shape = f'<path d="M{x:.1f} {y - 7:.1f}l7 7-7 7-7-7z"'
    else:
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5"'
    tag = shape[1:].split(" ", 1)[0]
    return f'{shape} class="{runtime}"><title>{told}</title></{tag}>'


def _legend(runtimes: Sequence[str]) -> list[str]:
    parts, left = [], float(_LEFT)
    for runtime, name in _MARKS.items():
        if runtime in runtimes:
            parts += [f'<circle cx="{left:.1f}" cy="46" r="5.5" class="{runtime}"/>', _text(left + 10, 50, name)]
            left += 30 + 7.0 * len(name)
    parts.append(_text(left, 50, "● float   ◆ bf16   ■ int8"))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten in the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for tick in (10.0**power * step for step in (1, 2, 5)) if low <= tick <= high]


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}" xml:space="preserve">{escape(words)}</text>'


def _rule(y: float) -> str:
    return f'<line class="line" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {height:.0f}">'
    paper = f'<rect class="paper" {size} rx="8"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", paper, *parts, "</svg>", ""])
