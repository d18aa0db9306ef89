"""The map: this node in the middle, the others around it, and a line for who feeds whom.

Whoever gave this node bytes or got some has a line to the middle: lately a full
one, with a head that shows the way and as thick as it is fast; earlier a thin
dotted one. Lines between the others are bent, and as thick as what was told of
the last minutes; broken where that was told long ago.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final, TypeAlias

from nodecache.web.page.markup import Child, Html, tag
from nodecache.web.page.peers_seen import QUIET, WORDS, Neighbour, words
from nodecache.web.page.units import ago, size, span

#: What is drawn, what has its name beside it, and the lines between others; liveliest first.
DRAWN: Final = 36
NAMED: Final = 14
BETWEEN: Final = 90
#: Seconds after which what a node said of its feeds is drawn as old.
OLD: Final = 60.0

#: The drawing's units, and the two half axes of the ring.
WIDE, HIGH = 360, 272
ACROSS, DOWN = 118, 104
MIDDLE = (WIDE / 2, HIGH / 2)
#: Where the drawing of one or two peers begins, and how high it is.
FLAT = (HIGH / 2 - 50, 100)
#: How far a line between others is bent: to the left of its way, and to the middle.
BENT, DRAWN_IN = 18.0, 0.22
#: One that would go through the middle is bent more, so as to pass it.
PASSING = 34.0

Point: TypeAlias = tuple[float, float]


def drawing(me: str, found: list[Neighbour], feeds: dict[str, Any]) -> Html:
    """``found`` are the others, the liveliest first; ``feeds`` is ``/api/v1/feeds``."""
    drawn = found[:DRAWN]
    # By name around the ring, so that nobody moves when somebody gets busy.
    drawn.sort(key=lambda each: (each.row["zone"], each.row["id"]))
    places = _places(len(drawn))
    shared = _shared([each.row["id"] for each in drawn])
    at = {each.row["id"]: place for each, place in zip(drawn, places, strict=True)}
    named = len(drawn) <= NAMED
    middle = tag(
        "g",
        tag("circle", cx=MIDDLE[0], cy=MIDDLE[1], r=13),
        tag("text", "this", x=MIDDLE[0], y=MIDDLE[1] + 3.5, text_anchor="middle"),
        class_="me",
    )
    rest = f" Of {len(found)}, the {DRAWN} liveliest are drawn." if len(found) > DRAWN else ""
    return tag(
        "svg",
        tag("title", f"{me} and its peers. The tables below say the same.{rest}"),
        _between(at, feeds),
        [_lines(each, place) for each, place in zip(drawn, places, strict=True)],
        middle,
        [
            _mark(each, place, shared if named else None)
            for each, place in zip(drawn, places, strict=True)
        ],
        viewBox=f"0 0 {WIDE} {HIGH}" if len(drawn) > 2 else f"0 {FLAT[0]} {WIDE} {FLAT[1]}",
        role="img",
        class_="map",
    )


def _places(number: int) -> list[Point]:
    """Around an ellipse, from the top; every other one further in where there are many.

    One or two stand to the sides.
    """
    places = []
    first = -math.pi / 2 if number > 2 else math.pi
    for at in range(number):
        angle = 2 * math.pi * at / number + first
        reach = 0.78 if number > 18 and at % 2 else 1.0
        places.append(
            (
                round(MIDDLE[0] + ACROSS * reach * math.cos(angle), 1),
                round(MIDDLE[1] + DOWN * reach * math.sin(angle), 1),
            )
        )
    return places


def _lines(each: Neighbour, at: Point) -> Html:
    """Two, side by side, where both feed each other."""
    both = each.came > 0 and each.went > 0
    return tag(
        "g",
        _line(at, MIDDLE, "came", each.came, each.came_rate, 3.0 if both else 0.0),
        _line(MIDDLE, at, "went", each.went, each.went_rate, 3.0 if both else 0.0),
    )


def _line(
    start: Point,
    stop: Point,
    way: str,
    total: int,
    speed: int,
    beside: float,
) -> Html | None:
    """``beside``: so many units to the left of the way."""
    if not total:
        return None
    along = _direction(start, stop)
    across = (along[1] * beside, -along[0] * beside)
    ends = [(start, 15.0), (stop, -19.0)]
    (x1, y1), (x2, y2) = (
        (point[0] + along[0] * inset + across[0], point[1] + along[1] * inset + across[1])
        for point, inset in ends
    )
    lively = speed >= QUIET
    thick = min(6.0, 1.2 + math.log10(speed / QUIET)) if lively else 1.0
    head = _head((x2, y2), along, 3.5 + thick) if lively else None
    line = tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", stroke_width=thick)
    return tag("g", line, head, class_=f"flow {way}{'' if lively else ' past'}")


def _between(places: dict[str, Point], feeds: dict[str, Any]) -> list[Html]:
    """Lines of which neither end is this node, the biggest ``BETWEEN``."""
    edges = [edge for edge in feeds["edges"] if edge["from"] in places and edge["to"] in places]
    return [
        _bent(places[edge["from"]], places[edge["to"]], edge, feeds["lately_seconds"])
        for edge in edges[:BETWEEN]
    ]


def _bent(start: Point, stop: Point, edge: dict[str, Any], lately: float) -> Html:
    along = _direction(start, stop)
    half = ((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2)
    beside = BENT + max(0.0, PASSING - math.dist(half, MIDDLE))
    bend = (
        half[0] + (MIDDLE[0] - half[0]) * DRAWN_IN + along[1] * beside,
        half[1] + (MIDDLE[1] - half[1]) * DRAWN_IN - along[0] * beside,
    )
    thick = min(2.6, 0.8 + 0.45 * math.log10(max(1.0, edge["bytes"] / lately / QUIET)))
    into = _direction(bend, stop)
    (x1, y1), (x2, y2) = _moved(start, _direction(start, bend), 12), _moved(stop, into, -15)
    path = f"M{x1:.1f} {y1:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {x2:.1f} {y2:.1f}"
    old = edge["report_seconds"] > OLD
    told = f"{edge['from']} gave {edge['to']} {size(edge['bytes'])} in {span(lately)}"
    told += f", as told {ago(edge['report_seconds'])}" if old else ""
    return tag(
        "g",
        tag("title", told),
        tag("path", d=path, stroke_width=round(thick, 2)),
        _head((x2, y2), into, 3.0 + thick),
        class_=f"flow between{' old' if old else ''}",
    )


def _moved(point: Point, along: Point, by: float) -> Point:
    return point[0] + along[0] * by, point[1] + along[1] * by


def _direction(start: Point, stop: Point) -> Point:
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    return dx / length, dy / length


def _head(tip: Point, along: Point, wide: float) -> Html:
    """Of an arrow; its base is at ``tip``, so that the line ends within it."""
    left, right = (
        (tip[0] - along[1] * wide * side, tip[1] + along[0] * wide * side) for side in (0.6, -0.6)
    )
    point = (tip[0] + along[0] * wide, tip[1] + along[1] * wide)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (left, point, right))
    return tag("polygon", points=points)


_SHAPES: Final = {
    "live": ("circle", {"r": 8}),
    "aside": ("path", {"d": "M0-9.5L9.5 0L0 9.5L-9.5 0Z"}),
    "version": ("rect", {"x": -7.5, "y": -7.5, "width": 15, "height": 15}),
    "leaving": ("path", {"d": "M0-9L9 7.5H-9Z"}),
    "unknown": ("circle", {"r": 7}),
}


def _shape(state: str) -> Html:
    name, attributes = _SHAPES[state]
    cross = tag("path", d="M-3.5-3.5L3.5 3.5M3.5-3.5L-3.5 3.5", class_="cross")
    return tag(
        "g",
        tag(name, **attributes),  # type: ignore[arg-type]  # a table of attributes
        cross if state == "aside" else None,
        class_=f"peer {state}",
    )


def _mark(each: Neighbour, at: Point, shared: str | None) -> Html:
    """With its name, but for what all names end in, where ``shared`` is not None."""
    x, y = at
    label = None
    if shared is not None:
        below = y >= MIDDLE[1]
        name = _short(each.row["id"].removesuffix(shared))
        label = tag("text", name, x=0, y=21 if below else -13, text_anchor="middle")
    return tag(
        "g",
        tag("title", f"{each.row['id']}: {words(each.row)}"),
        _shape(each.row["state"]),
        label,
        transform=f"translate({x:g} {y:g})",
    )


def _shared(names: list[str]) -> str:
    """The domain that all of ``names`` are in, with its dot; empty for none, as of addresses."""
    hosts, domains = zip(*(name.partition(".")[::2] for name in names), strict=True)
    one = len(set(domains)) == 1 and domains[0] and not any(host.isdigit() for host in hosts)
    return f".{domains[0]}" if one else ""


def _short(name: str) -> str:
    """The end of a name tells nodes apart."""
    return name if len(name) <= 16 else f"…{name[-15:]}"


def key(states: Counter[str], feeds: dict[str, Any]) -> Html:
    """What shapes and lines mean."""
    entries: list[Child] = [
        tag(
            "li",
            tag("svg", _shape(state), viewBox="-11 -11 22 22", aria_hidden="true"),
            f" {words} ",
            tag("b", states[state]),
        )
        for state, words in WORDS.items()
        if states[state]
    ]
    lines = {"came": "feeds this node", "went": "is fed by it", "past": "did so earlier"}
    if feeds["edges"]:
        lines["between"] = f"fed another, {span(feeds['lately_seconds'])}"
    entries += [
        tag("li", tag("span", class_=f"swatch {name}", aria_hidden="true"), words)
        for name, words in lines.items()
    ]
    return tag("ul", entries, class_="key")
