"""Bytes by source over time, and the hit rate, as inline SVG.

Two panels with one scale: what clients were given, by source, and below it
what had to be brought in for that. The gap between the two is what the cache
saves. Steps are put together to about a hundred bars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import attrs

from nodecache.web.page.markup import Html, tag
from nodecache.web.page.units import percent, rate, size, span

#: Name in the document, words for people; in the order in which they are stacked.
GIVEN: Final = (
    ("disk", "from disk"),
    ("flight", "from a fetch under way"),
    ("fill", "fetched for it"),
    ("stale", "stale, upstream failing"),
)
BROUGHT: Final = (("upstream", "from upstream"), ("peers", "from peers"))

#: Steps to a bar, by the window's name; the words for its two halves.
_GROUP: Final = {"15m": 1, "1h": 3, "24h": 3}
_AXIS: Final = {
    "15m": ("15 min ago", "7½ min ago", "now"),
    "1h": ("60 min ago", "30 min ago", "now"),
    "24h": ("24 h ago", "12 h ago", "now"),
}
#: Bars that a hit rate is taken over.
SMOOTH: Final = 6
#: Units of the drawings: they are stretched to the width there is.
WIDTH: Final = 600
LINE: Final = 40
#: Heights of the two panels in pixels: whichever of them fits the peaks best.
HEIGHTS: Final = ((132, 66), (99, 99), (66, 132))


@attrs.frozen
class Bars:
    """``rates[name]`` are bytes a second by bar, the oldest first; ``hit_rates`` in 0 to 1.

    A hit rate is that of its bar and the ``SMOOTH`` - 1 before it, None without answers.
    """

    rates: dict[str, list[float]]
    hit_rates: list[float | None]
    seconds: float  # of a bar


def bars_of(history: dict[str, Any]) -> Bars:
    """Put steps together; the same steps always stand in the same bar."""
    group = _GROUP[history["window"]]
    step, count = history["step_seconds"], len(history["hits"])
    first = -history["first_step"] % group
    cuts = [(at, min(at + group, count)) for at in range(first, count, group)]
    lasted = [(stop - start) * step for start, stop in cuts]
    # The last step is going on. So soon after its begin a few bytes are no high rate.
    lasted[-1] = max(step, lasted[-1] - step + history["elapsed_seconds"])
    rates = {
        name: [
            sum(values[start:stop]) / seconds
            for (start, stop), seconds in zip(cuts, lasted, strict=True)
        ]
        for name, values in history["bytes"].items()
    }
    hits = [sum(history["hits"][start:stop]) for start, stop in cuts]
    misses = [sum(history["misses"][start:stop]) for start, stop in cuts]
    shares = [_share(hits, misses, at) for at in range(len(cuts))]
    return Bars(rates, shares, group * step)


def _share(hits: list[float], misses: list[float], at: int) -> float | None:
    """Of a bar and those shortly before it: a few answers alone would jump up and down."""
    hit, miss = (sum(counts[max(0, at - SMOOTH + 1) : at + 1]) for counts in (hits, misses))
    return hit / (hit + miss) if hit + miss else None


def plot(history: dict[str, Any]) -> Html:
    """The whole figure."""
    bars = bars_of(history)
    high, low = heights(_peak(bars, GIVEN), _peak(bars, BROUGHT))
    most = _ceiling(max(_peak(bars, GIVEN), _peak(bars, BROUGHT) * high / low))
    return tag(
        "figure",
        _panel("Given to clients", bars, GIVEN, most, high, history),
        _panel("Brought in", bars, BROUGHT, most * low / high, low, history),
        _hit_rates(bars, history),
        tag("div", *(tag("span", words) for words in _AXIS[history["window"]]), class_="axis"),
        class_="plot",
    )


def heights(given: float, brought: float) -> tuple[int, int]:
    """Of both panels, for these peaks: the ones that leave least of one scale empty."""
    return min(HEIGHTS, key=lambda pair: max(given / pair[0], brought / pair[1]))


def _peak(bars: Bars, names: Sequence[tuple[str, str]]) -> float:
    columns = zip(*(bars.rates[name] for name, _ in names), strict=True)
    return max((sum(column) for column in columns), default=0.0)


def _ceiling(most: float) -> float:
    """The next round number of bytes a second whose half is one too."""
    if most <= 0:
        return 2 * 1024.0
    unit = 1024.0 ** max(0, int(math.log(most, 1024)))
    steps = (2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400, 600, 800, 1000, 2048)
    return next(step * unit for step in steps if step * unit >= most)


def _panel(
    title: str,
    bars: Bars,
    names: Sequence[tuple[str, str]],
    most: float,
    height: int,
    history: dict[str, Any],
) -> Html:
    floor = [0.0] * len(bars.hit_rates)
    shapes, keys = [], []
    for name, words in names:
        top = [below + value for below, value in zip(floor, bars.rates[name], strict=True)]
        shapes.append(tag("path", class_=f"area {name}", d=_area(floor, top, most, height)))
        keys.append(_key(name, words, sum(history["bytes"][name])))
        floor = top
    middle = tag("path", class_="grid", d=f"M0 {height / 2:g}H{WIDTH}")
    total = sum(sum(history["bytes"][name]) for name, _ in names)
    label = f"{title}: {size(total)}, at most {rate(max(floor, default=0))}"
    drawing = tag(
        "svg",
        middle,
        shapes,
        viewBox=f"0 0 {WIDTH} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        height=height,
    )
    return tag(
        "div",
        tag("h3", title),
        tag("ul", keys, class_="key"),
        tag("div", drawing, tag("span", _scale(most), class_="most"), class_="canvas"),
        class_="panel",
    )


def _scale(most: float) -> str:
    return rate(most).replace(".0", "")


def _key(name: str, words: str, total: float) -> Html:
    swatch = tag("span", class_=f"swatch {name}", aria_hidden="true")
    return tag("li", swatch, f"{words} ", tag("b", size(total)))


def _area(floor: list[float], top: list[float], most: float, height: int) -> str:
    """Bars between two lines: along the top from the left, back along the floor."""
    if floor == top:
        return ""
    edges = [round(WIDTH * at / len(top)) for at in range(len(top) + 1)]
    ahead = _stairs([height - _at(value, most, height) for value in top], edges)
    back = _stairs([height - _at(value, most, height) for value in floor][::-1], edges[::-1])
    return f"M0 {height}V{ahead}V{back}Z"


def _at(value: float, most: float, height: int) -> float:
    return round(value / most * height, 1)


def _stairs(heights: list[float], edges: list[int]) -> str:
    """``y H x V y H x …``; equal neighbours are one step."""
    steps = (
        f"H{edges[at]}V{heights[at]:g}"
        for at in range(1, len(heights))
        if heights[at] != heights[at - 1]
    )
    return "".join([f"{heights[0]:g}", *steps, f"H{edges[-1]}"])


def _hit_rates(bars: Bars, history: dict[str, Any]) -> Html:
    hits, misses = sum(history["hits"]), sum(history["misses"])
    share = percent(hits / (hits + misses)) if hits + misses else "nothing was asked"
    drawing = tag(
        "svg",
        tag("path", class_="grid", d=f"M0 {LINE / 2:g}H{WIDTH}"),
        tag("path", class_="hits", d=_line(bars.hit_rates)),
        viewBox=f"0 0 {WIDTH} {LINE}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Hit rate over the window: {share}",
        height=36,
    )
    return tag(
        "div",
        tag("h3", "Hit rate"),
        tag("ul", tag("li", "answers from disk ", tag("b", share)), class_="key"),
        tag("div", drawing, tag("span", "100 %", class_="most"), class_="canvas"),
        class_="panel",
    )


def _line(values: list[float | None]) -> str:
    """Through the middles of the bars, broken where nothing is known."""
    width = WIDTH / len(values)
    words, pen = [], "M"
    for at, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x, y = (at + 0.5) * width, LINE - 2 - value * (LINE - 4)
        words.append(f"{pen}{x:.1f} {y:.1f}{'h0' if pen == 'M' else ''}")
        pen = "L"
    return "".join(words)


def table(history: dict[str, Any]) -> Html:
    """The same in numbers, for who does not see the drawing: a row for each tenth of it."""
    count = len(history["hits"])
    tenth = max(1, count // 10)
    names = [name for name, _ in (*GIVEN, *BROUGHT)]
    rows = []
    for start in range(count - tenth, -1, -tenth):
        stop = start + tenth
        back = (count - stop) * history["step_seconds"]
        cells = [tag("td", size(sum(history["bytes"][name][start:stop]))) for name in names]
        until = "now" if back == 0 else f"{span(back)} ago"
        rows.append(tag("tr", tag("th", f"until {until}", scope="row"), cells))
    heads = [tag("th", words, scope="col") for _, words in (*GIVEN, *BROUGHT)]
    return tag(
        "table",
        tag("thead", tag("tr", tag("th", "Time", scope="col"), heads)),
        tag("tbody", rows),
    )
