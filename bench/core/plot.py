"""Lines over a logarithmic axis, as SVG."""

from __future__ import annotations

import math
import sys

import attrs

_WIDTH, _HEIGHT = 760, 360
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 40, 200, 50
_COLOURS = ("#1b6ca8", "#a83232", "#2e8b57", "#b8860b", "#6a4c93", "#444444")
_GRID = 5


@attrs.frozen
class Line:
    """Points from left to right."""

    name: str
    points: tuple[tuple[float, float], ...]


@attrs.frozen
class Chart:
    """``ticks`` are places on the x axis (all above 0) and their words."""

    title: str
    across: str
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


@attrs.frozen
class _Scale:
    least: float
    most: float
    top: float

    def x(self, value: float) -> float:
        reach = math.log(max(self.most / self.least, 1.001))
        return _LEFT + math.log(value / self.least) / reach * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self.top * (_HEIGHT - _TOP - _BOTTOM)


def ceiling(most: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not below ``most``.

    1 for what is too small for any such.
    """
    if most < sys.float_info.min:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    steps = (power * step for step in (1, 2, 2.5, 5, 10))
    return next((step for step in steps if step >= most), power * 10)


def svg(chart: Chart) -> str:
    """One colour a line; the y axis begins at 0."""
    places = [x for line in chart.lines for x, _ in line.points] + [x for x, _ in chart.ticks]
    top = ceiling(max(y for line in chart.lines for _, y in line.points))
    scale = _Scale(min(places), max(places), top)
    head = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    parts = [
        f'<svg {head} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{_safe(chart.title)}</text>',
        *_axes(scale, chart),
    ]
    for place, line in enumerate(chart.lines):
        parts += _drawn(scale, line, place)
    return "\n".join([*parts, "</svg>", ""])


def _safe(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;")


def _axes(scale: _Scale, chart: Chart) -> list[str]:
    bottom, right = scale.y(0), _WIDTH - _RIGHT
    middle = (_LEFT + right) / 2
    across = f'<text x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">'
    parts = [f"{across}{_safe(chart.across)}</text>"]
    for step in range(_GRID + 1):
        value = scale.top * step / _GRID
        y = scale.y(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for place, words in chart.ticks:
        x = scale.x(place)
        parts.append(f'<path d="M{x:.1f} {bottom:.1f}v5" stroke="black"/>')
        tick = f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">'
        parts.append(f"{tick}{_safe(words)}</text>")
    return parts


def _drawn(scale: _Scale, line: Line, place: int) -> list[str]:
    points = [(scale.x(x), scale.y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    colour = _COLOURS[place % len(_COLOURS)]
    right, key = _WIDTH - _RIGHT, _TOP + 14 + place * 24
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points),
        f'<path d="M{right + 15} {key}h22" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{right + 43}" y="{key + 4}">{_safe(line.name)}</text>',
    ]
