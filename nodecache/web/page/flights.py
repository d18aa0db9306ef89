"""What is in flight, each with the parts of it that are there."""

from __future__ import annotations

from typing import Any, Final

from nodecache.web.page.markup import Child, Html, tag
from nodecache.web.page.units import count, percent, rate, size, span

#: Units of the bar's drawing.
WIDTH: Final = 400
#: Those that are shown; the rest is counted.
MOST: Final = 20

_STATUS: Final = {
    "asking": "asking for it",
    "arriving": "arriving",
    "whole": "whole, being stored",
    "failed": "failed",
}


def flights(transfers: dict[str, Any]) -> Html:
    """A list with bars, and how much goes out to clients."""
    found = transfers["transfers"]
    bodies = count(transfers["sending"], "body goes", "bodies go")
    going = tag("p", f"{bodies} out to clients now.", class_="note")
    if not found:
        return tag("div", tag("p", "Nothing is being fetched.", class_="calm"), going)
    more = len(found) - MOST
    return tag(
        "div",
        tag("ul", [_flight(each) for each in found[:MOST]], class_="flights"),
        tag("p", f"And {count(more, 'more blob')}.", class_="note") if more > 0 else None,
        going,
    )


def _flight(flight: dict[str, Any]) -> Html:
    digest = flight["digest"].partition(":")[2][:12]
    total, present = flight["total_bytes"], flight["present_bytes"]
    share = present / total if total else None
    return tag(
        "li",
        tag(
            "div",
            tag(
                "p",
                tag("b", tag("bdi", flight["image"])),
                " ",
                tag("code", digest, title=flight["digest"]),
            ),
            tag("span", percent(share) if total else _STATUS[flight["status"]], class_="share"),
            class_="head",
        ),
        _bar(flight, share),
        tag("p", " · ".join(_facts(flight)), class_="facts") if flight["fetched_bytes"] else None,
    )


def _bar(flight: dict[str, Any], share: float | None) -> Html:
    total = flight["total_bytes"]
    spans = flight["spans"] if total else []
    parts: list[Child] = [
        tag("rect", x=at, y=0, height=10, width=max(width, 0.5))
        for at, width in ((WIDTH * a / total, WIDTH * (b - a) / total) for a, b in spans)
    ]
    drawing = tag(
        "svg", parts, viewBox=f"0 0 {WIDTH} 10", preserveAspectRatio="none", aria_hidden="true"
    )
    return tag(
        "div",
        drawing,
        role="progressbar",
        aria_label=f"{flight['image']} {flight['digest'][:19]}",
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=None if share is None else int(share * 100),
        aria_valuetext=None if share is not None else _STATUS[flight["status"]],
        class_="bar",
    )


def _facts(flight: dict[str, Any]) -> list[str]:
    total, present = flight["total_bytes"], flight["present_bytes"]
    speed = flight["bytes_per_second"]
    facts = [f"{size(present)} of {size(total)}" if total else size(present), rate(speed)]
    if total and speed and present < total:
        facts.append(f"{span(max(1, (total - present) / speed))} to go")
    elif flight["status"] != "arriving":
        facts.append(_STATUS[flight["status"]])
    facts.append(_sources(flight))
    facts.append(count(flight["readers"], "reader"))
    return facts


def _sources(flight: dict[str, Any]) -> str:
    peers = flight["from_peers_bytes"]
    came = sum(peers.values())
    if not came:
        return "from upstream"
    most = max(peers, key=lambda peer: peers[peer])
    whom = f"peer {most}" if len(peers) == 1 else count(len(peers), "peer")
    if not flight["from_upstream_bytes"]:
        return f"from {whom}"
    return f"{percent(came / (came + flight['from_upstream_bytes']))} from {whom}"
