"""The other nodes, as a map around this one, and as a table.

State is told by shape and by word, colour only helps. A line is drawn for
whoever gave this node bytes or got some: lately as a full one, with a head
that shows the way and as thick as it is fast; earlier as a thin dotted one.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

import attrs

from nodecache.web.page.markup import Child, Html, tag
from nodecache.web.page.units import GLUE, NOTHING, ago, count, rate, size, span

#: What is drawn, what has its name beside it, and what stands in the table; liveliest first.
DRAWN: Final = 36
NAMED: Final = 14
LISTED: Final = 50
#: Bytes a second below which nobody is fed now.
QUIET: Final = 1024

#: The drawing's units, and the two half axes of the ring.
WIDE, HIGH = 360, 272
ACROSS, DOWN = 118, 104
MIDDLE = (WIDE / 2, HIGH / 2)

_WORDS: Final = {
    "live": "asked",
    "aside": "failed, left alone",
    "version": "other wire version",
    "leaving": "is stopping",
    "unknown": "not met yet",
}


@attrs.frozen
class Neighbour:
    """A row of ``/api/v1/peers`` and what flows between it and this node."""

    row: dict[str, Any]
    came: int  # bytes
    went: int
    came_rate: int  # bytes a second
    went_rate: int

    @property
    def liveliness(self) -> tuple[int, bool, int]:
        return (
            self.came_rate + self.went_rate,
            self.row["state"] == "aside",
            self.came + self.went,
        )


def neighbours(peers: dict[str, Any], status: dict[str, Any]) -> list[Neighbour]:
    """The liveliest first, then those that fail."""
    feeds = {feed["peer"]: feed for feed in status["feeds"]}
    found = [_neighbour(row, feeds.get(row["id"], {})) for row in peers["peers"]]
    return sorted(found, key=lambda each: each.liveliness, reverse=True)


def _neighbour(row: dict[str, Any], feed: dict[str, Any]) -> Neighbour:
    return Neighbour(
        row,
        sum(row["received_bytes"].values()),
        sum(row["sent_bytes"].values()),
        feed.get("received_bytes_per_second", 0),
        feed.get("sent_bytes_per_second", 0),
    )


def peers_map(peers: dict[str, Any], status: dict[str, Any]) -> Html:
    """Words, the drawing, and its key."""
    found = neighbours(peers, status)
    states = Counter(each.row["state"] for each in found)
    return tag(
        "div",
        tag("p", _sentence(peers, found, states), class_="said"),
        _drawing(peers["id"], found) if found else None,
        _key(states) if found else None,
    )


def _sentence(peers: dict[str, Any], found: list[Neighbour], states: Counter[str]) -> str:
    if not found:
        return "No other node is known yet."
    if peers["off_seconds"] is not None:
        return f"No peer is asked for {span(peers['off_seconds'])}, since most of them failed."
    feeders = sum(each.came_rate >= QUIET for each in found)
    fed = sum(each.went_rate >= QUIET for each in found)
    flows = [f"{feeders} {'feeds' if feeders == 1 else 'feed'} this node"] if feeders else []
    flows += [f"{fed} {'is' if fed == 1 else 'are'} fed by it"] if fed else []
    now = f"; now {' and '.join(flows)}" if flows else "; nobody feeds anybody now"
    are = "is" if states["live"] == 1 else "are"
    return f"{states['live']:,} of {count(len(found), 'peer')} {are} asked{now}."


def _drawing(me: str, found: list[Neighbour]) -> Html:
    drawn = found[:DRAWN]
    places = _places(len(drawn))
    # By name around the ring, so that nobody moves when somebody gets busy.
    drawn.sort(key=lambda each: (each.row["zone"], each.row["id"]))
    lines = [_lines(each, at) for each, at in zip(drawn, places, strict=True)]
    marks = [
        _mark(each, at, named=len(drawn) <= NAMED) for each, at in zip(drawn, places, strict=True)
    ]
    middle = tag(
        "g",
        tag("circle", cx=MIDDLE[0], cy=MIDDLE[1], r=13),
        tag("text", "this", x=MIDDLE[0], y=MIDDLE[1] + 3.5, text_anchor="middle"),
        class_="me",
    )
    rest = f" Of {len(found)}, the {DRAWN} liveliest are drawn." if len(found) > DRAWN else ""
    return tag(
        "svg",
        tag("title", f"{me} and its peers. The table below says the same.{rest}"),
        lines,
        middle,
        marks,
        viewBox=f"0 0 {WIDE} {HIGH}",
        role="img",
        class_="map",
    )


def _places(number: int) -> list[tuple[float, float]]:
    """Around an ellipse, from the top; every other one further in where there are many."""
    places = []
    for at in range(number):
        angle = 2 * math.pi * at / number - math.pi / 2
        reach = 0.78 if number > 18 and at % 2 else 1.0
        places.append(
            (
                round(MIDDLE[0] + ACROSS * reach * math.cos(angle), 1),
                round(MIDDLE[1] + DOWN * reach * math.sin(angle), 1),
            )
        )
    return places


def _lines(each: Neighbour, at: tuple[float, float]) -> Html:
    """Two, side by side, where both feed each other."""
    both = each.came > 0 and each.went > 0
    return tag(
        "g",
        _line(at, MIDDLE, "came", each.came, each.came_rate, 3.0 if both else 0.0),
        _line(MIDDLE, at, "went", each.went, each.went_rate, 3.0 if both else 0.0),
    )


def _line(
    start: tuple[float, float],
    stop: tuple[float, float],
    way: str,
    total: int,
    speed: int,
    beside: float,
) -> Html | None:
    """``beside``: so many units to the left of the way."""
    if not total:
        return None
    along, length = _direction(start, stop)
    across = (along[1] * beside, -along[0] * beside)
    ends = [(start, 15.0), (stop, -19.0)]
    (x1, y1), (x2, y2) = (
        (point[0] + along[0] * inset + across[0], point[1] + along[1] * inset + across[1])
        for point, inset in ends
    )
    del length
    lively = speed >= QUIET
    thick = min(6.0, 1.2 + math.log10(speed / QUIET)) if lively else 1.0
    head = _head((x2, y2), along, 3.5 + thick) if lively else None
    line = tag("path", d=f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", stroke_width=thick)
    return tag("g", line, head, class_=f"flow {way}{'' if lively else ' past'}")


def _direction(
    start: tuple[float, float], stop: tuple[float, float]
) -> tuple[tuple[float, float], float]:
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    length = math.hypot(dx, dy)
    return (dx / length, dy / length), length


def _head(tip: tuple[float, float], along: tuple[float, float], wide: float) -> Html:
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


def _mark(each: Neighbour, at: tuple[float, float], *, named: bool) -> Html:
    x, y = at
    label = None
    if named:
        below = y >= MIDDLE[1]
        label = tag(
            "text", _short(each.row["id"]), x=0, y=21 if below else -13, text_anchor="middle"
        )
    return tag(
        "g",
        tag("title", f"{each.row['id']}: {_words(each.row)}"),
        _shape(each.row["state"]),
        label,
        transform=f"translate({x:g} {y:g})",
    )


def _short(name: str) -> str:
    """The end of a name tells nodes apart."""
    return name if len(name) <= 16 else f"…{name[-15:]}"


def _words(row: dict[str, Any]) -> str:
    words = _WORDS[row["state"]]
    if row["state"] == "aside" and row["aside_seconds"] is not None:
        words += f", again in {span(row['aside_seconds'])}"
    return f"{words}, busy" if row["busy"] else words


def _key(states: Counter[str]) -> Html:
    entries: list[Child] = [
        tag(
            "li",
            tag("svg", _shape(state), viewBox="-11 -11 22 22", aria_hidden="true"),
            f" {words} ",
            tag("b", states[state]),
        )
        for state, words in _WORDS.items()
        if states[state]
    ]
    entries += [
        tag("li", tag("span", class_="swatch came", aria_hidden="true"), "feeds this node"),
        tag("li", tag("span", class_="swatch went", aria_hidden="true"), "is fed by it"),
        tag("li", tag("span", class_="swatch past", aria_hidden="true"), "did so earlier"),
    ]
    return tag("ul", entries, class_="key")


def peers_table(peers: dict[str, Any], status: dict[str, Any]) -> Html:
    """Numbers of each; the liveliest ``LISTED``."""
    found = neighbours(peers, status)
    heads = ("Peer", "State", "Gave", "Got", "Release", "Zone", "Last heard")
    more = len(found) - LISTED
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
            tag("tbody", [_row(each) for each in found[:LISTED]]),
        ),
        tag("p", f"And {count(more, 'more', 'more')}.", class_="note") if more > 0 else None,
    )


def _row(each: Neighbour) -> Html:
    row = each.row
    return tag(
        "tr",
        tag("th", tag("bdi", row["id"]), scope="row"),
        tag("td", _words(row)),
        tag("td", _flow(each.came, each.came_rate)),
        tag("td", _flow(each.went, each.went_rate)),
        tag("td", row["release"] or NOTHING),
        tag("td", tag("bdi", row["zone"] or NOTHING)),
        tag("td", ago(row["contact_seconds"])),
    )


def _flow(total: int, speed: int) -> str:
    return f"{size(total)},{GLUE}{rate(speed)}" if speed >= QUIET else size(total)
