"""The figures as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from bench.simulation.run import Figures

_WIDTH, _HEIGHT = 760, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 30, 220, 50


@attrs.frozen
class Line:
    """``limit`` is what is to be reached; ``value`` of the figures is drawn."""

    name: str
    field: str
    limit: float
    colour: str


LINES = (
    Line("questions for a segment", "requests", 5.0, "#1b6ca8"),
    Line("copies from upstream", "copies", 1.1, "#2e8b57"),
    Line("busiest sender by the mean", "busiest", 4.0, "#b8860b"),
    Line("last node by the bound", "over", 2.0, "#a83232"),
)


@attrs.frozen
class _Scale:
    """Nodes on a logarithmic axis, figures on a linear one from 0."""

    least: int
    most: int
    top: float

    def x(self, nodes: float) -> float:
        part = math.log(nodes / self.least) / math.log(max(self.most / self.least, 1.001))
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self.top * (_HEIGHT - _TOP - _BOTTOM)


def svg(runs: Sequence[Figures]) -> str:
    """One line for each figure over the number of nodes; broken ones where it is to stay under."""
    top = math.ceil(max(max(getattr(run, line.field) for run in runs) for line in LINES) + 0.5)
    scale = _Scale(runs[0].nodes, runs[-1].nodes, max(top, 6))
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [
        f'<svg {head} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_axes(scale, runs),
    ]
    for place, line in enumerate(LINES):
        parts += _drawn(scale, line, place, runs)
    return "\n".join([*parts, "</svg>", ""])


def _axes(scale: _Scale, runs: Sequence[Figures]) -> list[str]:
    bottom, right = scale.y(0), _WIDTH - _RIGHT
    parts = [
        f'<text x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">nodes</text>'
    ]
    for value in range(int(scale.top) + 1):
        y = scale.y(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for run in runs:
        x = scale.x(run.nodes)
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}v5" stroke="black"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{run.nodes:,}</text>'
        )
    return parts


def _drawn(scale: _Scale, line: Line, place: int, runs: Sequence[Figures]) -> list[str]:
    points = [(scale.x(run.nodes), scale.y(getattr(run, line.field))) for run in runs]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    limit, right, key = scale.y(line.limit), _WIDTH - _RIGHT, _TOP + 20 + place * 40
    return [
        f'<path d="M{_LEFT} {limit:.1f}H{right}" stroke="{line.colour}" stroke-dasharray="3 5"/>',
        f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>' for x, y in points),
        f'<path d="M{right + 15} {key}h22" stroke="{line.colour}" stroke-width="2"/>',
        f'<text x="{right + 43}" y="{key + 4}">{line.name}</text>',
        f'<text x="{right + 43}" y="{key + 19}" fill="#666">to stay under {line.limit:g}</text>',
    ]
