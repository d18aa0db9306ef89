"""The images that are pulled most, the biggest ones, and the last errors."""

from __future__ import annotations

from typing import Any, Final

from nodecache.web.page.markup import Html, tag
from nodecache.web.page.units import ago, count, size

#: Errors that are shown.
ERRORS: Final = 12


def images(status: dict[str, Any]) -> Html:
    """Two tables."""
    if not status["hottest"]:
        return tag("p", "No image was pulled yet.", class_="calm")
    return tag(
        "div",
        _table(
            "Hottest",
            ("Image", "Pulls", "Last"),
            [
                (each["image"], _pulls(each), ago(each["last_pull_seconds"]))
                for each in status["hottest"]
            ],
        ),
        _table(
            "Biggest",
            ("Image", "One pull", "In all"),
            [
                (each["image"], size(each["largest_pull_bytes"]), size(each["served_bytes"]))
                for each in status["biggest"]
            ],
        ),
        class_="pair",
    )


def _pulls(image: dict[str, Any]) -> str:
    failed = image["failed_pulls"]
    return f"{image['pulls']:,}, {failed:,} failed" if failed else f"{image['pulls']:,}"


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Html:
    return tag(
        "table",
        tag("caption", title),
        tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
        tag(
            "tbody",
            [
                tag(
                    "tr",
                    tag("th", tag("bdi", row[0]), scope="row"),
                    [tag("td", cell) for cell in row[1:]],
                )
                for row in rows
            ],
        ),
    )


def errors(found: list[dict[str, Any]]) -> Html:
    """The latest first, each with what to do about it."""
    if not found:
        return tag("p", "Nothing went wrong since the start.", class_="calm")
    more = len(found) - ERRORS
    return tag(
        "div",
        tag("ol", [_error(each) for each in found[:ERRORS]], class_="errors"),
        tag("p", f"And {count(more, 'older one')}: /api/v1/errors.", class_="note")
        if more > 0
        else None,
    )


def _error(error: dict[str, Any]) -> Html:
    state = "over" if error["over"] else "grave" if error["grave"] else "mild"
    words = {"over": "over", "grave": "look at it", "mild": "note"}[state]
    often = f"{count(error['count'], 'time')}, last " if error["count"] > 1 else ""
    return tag(
        "li",
        tag(
            "p",
            tag("span", words, class_=f"badge {state}"),
            tag("span", f"{often}{ago(error['last_seconds'])}", class_="when"),
            class_="head",
        ),
        tag("p", tag("bdi", error["problem"]), class_="problem"),
        tag("p", error["next"], class_="next"),
    )
