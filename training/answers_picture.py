"""Two pictures of how far answers can be trusted, as SVG: reliability diagram, and risk by coverage."""

from __future__ import annotations

from collections.abc import Sequence

_SIDE, _LEFT, _TOP, _BOTTOM, _RIGHT = 260, 56, 44, 44, 24  # pixels
_STYLE = """text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 15px; font-weight: 600 }
.paper { fill: #ffffff } .rule { stroke: #d1d9e0 } .curve { stroke: #0a58ca; fill: none; stroke-width: 2 }
.point { fill: #0a58ca } .ideal { stroke: #6e7781; stroke-dasharray: 4 4 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .paper { fill: #0d1117 } .rule { stroke: #3d444d }
.curve { stroke: #79b8ff } .point { fill: #79b8ff } .ideal { stroke: #9198a1 } }"""


def reliability_picture(bins: Sequence[tuple[float, float, int]], title: str = "Reliability") -> str:
    """The reliability diagram (Niculescu-Mizil and Caruana 2005): where confidence is honest, points lie on the line.

    Args:
        bins: of each bin the mean confidence, the share of right answers and the number of photos.
        title: above it.
    """
    points = [(confidence, right) for confidence, right, _ in bins]
    diagonal = f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    return _picture(title, "confidence", "share right", points, 1.0, diagonal)


def coverage_risk_picture(curve: Sequence[tuple[float, float]], title: str = "Risk by coverage") -> str:
    """The risk-coverage curve (El-Yaniv and Wiener 2010): share of wrong answers among the most confident photos.

    Args:
        curve: coverage and risk, each 0 to 1.
        title: above it.
    """
    highest = max([0.05, *(risk for _, risk in curve)])
    return _picture(title, "share of photos answered", "share wrong", curve, highest, "")


def _picture(title: str, across: str, up: str, points: Sequence[tuple[float, float]], highest: float, more: str) -> str:
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    parts = [f'<text class="title" x="16" y="26">{title}</text>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _x(share), _y(share)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_LEFT + _SIDE}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{100 * share * highest:.3g} %</text>')
        parts.append(f'<text x="{x}" y="{_TOP + _SIDE + 18}" text-anchor="middle">{100 * share:.0f} %</text>')
    drawn = [(_x(x), _y(y / highest)) for x, y in points]
    parts.append(more)
    parts.append(f'<polyline class="curve" points="{" ".join(f"{x},{y}" for x, y in drawn)}"/>')
    parts += [f'<circle class="point" cx="{x}" cy="{y}" r="3.5"/>' for x, y in drawn]
    parts.append(f'<text x="{_LEFT + _SIDE / 2}" y="{height - 8}" text-anchor="middle">{across}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 6}">{up}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{title}">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(filter(None, parts)) + "\n</svg>\n"
    )


def _x(share: float) -> float:
    return round(_LEFT + share * _SIDE, 1)


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * _SIDE, 1)
