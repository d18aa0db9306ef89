"""The other nodes: who feeds whom in words, on a map (``peers_map``) and as tables.

State is told by shape and by word, colour only helps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from nodecache.web.page.markup import Html, tag
from nodecache.web.page.peers_map import drawing, key
from nodecache.web.page.peers_seen import QUIET, Neighbour, neighbours, words
from nodecache.web.page.units import GLUE, NOTHING, ago, count, rate, size, span

#: What stands in each table; the liveliest first.
LISTED: Final = 50
#: Peers that are named for an old report.
BLAMED: Final = 4


def peers(seen: dict[str, Any], status: dict[str, Any], feeds: dict[str, Any]) -> Html:
    """Words, the drawing, and its key. ``feeds`` is ``/api/v1/feeds``."""
    found = neighbours(seen, status, feeds)
    states = Counter(each.row["state"] for each in found)
    return tag(
        "div",
        tag("p", _sentence(seen, found, states), class_="said"),
        drawing(seen["id"], found, feeds) if found else None,
        key(states, feeds) if found else None,
        _reported(feeds) if found else None,
    )


def _sentence(seen: dict[str, Any], found: list[Neighbour], states: Counter[str]) -> str:
    if not found:
        return "No other node is known yet."
    if seen["off_seconds"] is not None:
        return f"No peer is asked for {span(seen['off_seconds'])}, since most of them failed."
    feeders = sum(each.came_rate >= QUIET for each in found)
    fed = sum(each.went_rate >= QUIET for each in found)
    flows = [f"{feeders} {'feeds' if feeders == 1 else 'feed'} this node"] if feeders else []
    flows += [f"{fed} {'is' if fed == 1 else 'are'} fed by it"] if fed else []
    now = f"; now {' and '.join(flows)}" if flows else "; none feeds this node or is fed by it now"
    are = "is" if states["live"] == 1 else "are"
    return f"{states['live']:,} of {count(len(found), 'peer')} {are} asked{now}."


def _reported(feeds: dict[str, Any]) -> Html | None:
    """Whose word the lines between the others are, and whose is missing."""
    reports = feeds["reports"]
    if not reports:
        return None
    lately = feeds["lately_seconds"]
    fresh = sum(each["seconds"] is not None and each["seconds"] <= lately for each in reports)
    said = f"Between others: what {fresh:,} of {len(reports):,} say of the last {span(lately)}."
    old = [each for each in reports if each["old"]]
    more = len(old) - BLAMED
    return tag(
        "p",
        said,
        [(" ", tag("bdi", each["peer"]), _silence(each)) for each in old[:BLAMED]],
        f" And {count(more, 'more', 'more')} do not." if more > 0 else None,
        class_="note reports",
    )


def _silence(report: dict[str, Any]) -> str:
    if report["seconds"] is None:
        return " does not say whom it feeds."
    return f" has not said whom it feeds for {span(report['seconds'])}."


def peers_tables(seen: dict[str, Any], status: dict[str, Any], feeds: dict[str, Any]) -> Html:
    """Numbers of each peer, and of who fed whom; the liveliest ``LISTED`` of both."""
    found = neighbours(seen, status, feeds)
    edges = feeds["edges"]
    last = f"Who fed whom in the last {span(feeds['lately_seconds'])}"
    return tag(
        "div",
        _table(
            "Peers",
            ("Peer", "State", "Gave", "Got", "Release", "Zone", "Last heard"),
            [_row(each) for each in found],
        ),
        _table(last, ("From", "To", "Bytes", "Told"), [_edge(edge) for edge in edges])
        if edges
        else None,
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Html]) -> Html:
    more = len(rows) - LISTED
    return tag(
        "div",
        tag(
            "table",
            tag("caption", title),
            tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
            tag("tbody", rows[:LISTED]),
        ),
        tag("p", f"And {count(more, 'more', 'more')}.", class_="note") if more > 0 else None,
    )


def _row(each: Neighbour) -> Html:
    row = each.row
    return tag(
        "tr",
        tag("th", tag("bdi", row["id"]), scope="row"),
        tag("td", words(row)),
        tag("td", _flow(each.came, each.came_rate)),
        tag("td", _flow(each.went, each.went_rate)),
        tag("td", row["release"] or NOTHING),
        tag("td", tag("bdi", row["zone"] or NOTHING)),
        tag("td", ago(row["contact_seconds"])),
    )


def _flow(total: int, speed: int) -> str:
    return f"{size(total)},{GLUE}{rate(speed)}" if speed >= QUIET else size(total)


def _edge(edge: dict[str, Any]) -> Html:
    return tag(
        "tr",
        tag("th", tag("bdi", edge["from"]), scope="row"),
        tag("td", tag("bdi", edge["to"])),
        tag("td", size(edge["bytes"])),
        tag("td", ago(edge["report_seconds"])),
    )
