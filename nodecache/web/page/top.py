"""The head of the page: who this is, its health in one line, and the few numbers that matter."""

from __future__ import annotations

from typing import Any, Final

from nodecache.web.page.markup import Html, tag
from nodecache.web.page.units import count, percent, size, span

_MARKS: Final = {"ok": "Healthy", "warn": "Attention", "bad": "Not serving"}


def title(status: dict[str, Any]) -> str:
    """For the browser's tab: trouble first."""
    name = status["node_id"] or "nodecache"
    return name if status["state"] == "ok" else f"{_MARKS[status['state']]}: {name}"


def name(status: dict[str, Any]) -> Html:
    """Of this node."""
    node = tag("bdi", status["node_id"]) if status["node_id"] else None
    return tag("h1", tag("span", "nodecache"), " ", node)


def about(status: dict[str, Any]) -> Html:
    """Release and age."""
    return tag("p", f"release {status['version']}, up {span(status['uptime_seconds'])}")


def health(status: dict[str, Any]) -> Html:
    """The first line is the health; what else is to be said stands below it."""
    state = status["state"]
    more = [tag("li", line["text"]) for line in status["notices"][1:]]
    return tag(
        "div",
        tag(
            "p",
            tag("span", _MARKS[state], class_="mark"),
            tag("bdi", status["health"]),
            class_="line",
        ),
        tag("ul", more) if more else None,
        class_=f"health {state}",
    )


def numbers(status: dict[str, Any]) -> Html:
    """Five of them, each with a word beside it."""
    sources = status["bytes_by_source"]
    asked = status["hits"] + status["misses"]
    entries = [
        ("Hit rate", percent(status["hit_rate"]), f"of {count(asked, 'answer')}"),
        ("Given to clients", size(status["served_bytes"]), f"{size(sources['disk'])} from disk"),
        ("From upstream", size(sources["upstream"]), f"{size(sources['peers'])} from peers"),
        ("Saved upstream", size(status["upstream_bytes_saved"]), "given, but not fetched"),
        ("In flight", f"{status['in_flight']:,}", f"{status['sending']:,} going out"),
    ]
    return tag(
        "dl",
        [
            tag("div", tag("dt", key), tag("dd", value), tag("dd", small, class_="small"))
            for key, value, small in entries
        ],
        class_="numbers",
    )
