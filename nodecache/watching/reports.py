"""Who feeds whom in the whole cluster: what each node says of its own feeds, put together. Pure.

A node says it where peers ask for its status, of its biggest feeds alone. What
they say is believed as far as it makes sense: it is drawn, and nothing else is
made of it. Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from nodecache.watching.feeds import LATELY

#: Feeds of each direction that a node tells of, and that it is believed.
TOLD: Final = 16
#: Seconds after which a report is asked for anew, while somebody looks.
EVERY: Final = 10.0
#: Seconds after which a report is old.
OLD: Final = 45.0
#: Nodes whose reports are kept; those longest ago go first.
KEPT: Final = 1024
#: Edges that are shown.
MOST: Final = 500
#: Characters of a node's name.
_NAME: Final = 256

FED_BY, FEEDS, SECONDS = "fed_by", "feeds", "feeds_seconds"


def report(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a node tells its peers of its feeds: bytes of the last ``feeds_seconds`` by node.

    ``rows`` are the ``feeds`` of ``/api/v1/status``.
    """
    return {
        SECONDS: int(LATELY),
        FED_BY: _largest({row["peer"]: row["received_lately_bytes"] for row in rows}),
        FEEDS: _largest({row["peer"]: row["sent_lately_bytes"] for row in rows}),
    }


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: counts[name] for name in order[:TOLD] if counts[name] > 0}


@attrs.frozen
class Edge:
    """``giver`` sent ``taker`` so many bytes lately, as was said ``age_seconds`` ago."""

    giver: str
    taker: str
    bytes: int
    age_seconds: float


@attrs.define
class _Told:
    at: float | None = None  # None while no answer came
    asked: float = float("-inf")
    owed: float | None = None  # since when it was asked without an answer
    fed_by: Mapping[str, int] = attrs.field(factory=dict)
    feeds: Mapping[str, int] = attrs.field(factory=dict)


class Reports:
    """``asking``, then ``told`` for each answer; ``edges`` is what comes of all of them."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._told: dict[str, _Told] = {}

    def due(self, peers: Sequence[str], now: float, most: int) -> list[str]:
        """Of ``peers``, at most so many that should be asked now.

        Those come first of whom any bytes are known, then those not asked for longest.
        """
        lively = self._lively(now)
        asked = {peer: known.asked for peer, known in self._told.items()}
        never = float("-inf")
        waiting = [peer for peer in peers if now - asked.get(peer, never) >= EVERY]
        waiting.sort(key=lambda peer: (peer not in lively, asked.get(peer, never)))
        return waiting[:most]

    def _lively(self, now: float) -> set[str]:
        found: set[str] = set()
        for peer, known in self._told.items():
            if known.at is not None and now - known.at <= LATELY and (known.fed_by or known.feeds):
                found.update((peer, *known.fed_by, *known.feeds))
        return found

    def asking(self, peer: str, now: float) -> None:
        """It is asked now."""
        known = self._told.pop(peer, None) or _Told()
        self._told[peer] = known
        known.asked = now
        known.owed = now if known.owed is None else known.owed
        while len(self._told) > self._kept:
            del self._told[next(iter(self._told))]

    def told(self, peer: str, document: Mapping[str, Any], now: float) -> None:
        """It answered; of a release that says nothing of feeds nothing is known."""
        known = self._told.get(peer)
        if known is not None and (FED_BY in document or FEEDS in document):
            known.at, known.owed = now, None
            known.fed_by = _sensible(document.get(FED_BY), peer)
            known.feeds = _sensible(document.get(FEEDS), peer)

    def age(self, peer: str, now: float) -> float | None:
        """Of its last report, in seconds; None without any."""
        known = self._told.get(peer)
        return None if known is None or known.at is None else max(0.0, now - known.at)

    def is_old(self, peer: str, now: float) -> bool:
        """Whether it was asked, and has not answered for ``OLD`` seconds."""
        known = self._told.get(peer)
        return known is not None and known.owed is not None and now - known.owed > OLD

    def edges(self, now: float, most: int = MOST) -> list[Edge]:
        """The biggest. Where both ends tell of one, the one that says more is believed."""
        found: dict[tuple[str, str], tuple[int, float]] = {}
        for peer, known in self._told.items():
            if (at := known.at) is None or now - at > LATELY:
                continue
            ways = [((giver, peer), count) for giver, count in known.fed_by.items()]
            ways += [((peer, taker), count) for taker, count in known.feeds.items()]
            for way, count in ways:
                before = found.get(way)
                if before is None or before[0] < count:
                    found[way] = (count, at)
        largest = heapq.nsmallest(most, [(-count, *way, at) for way, (count, at) in found.items()])
        return [
            Edge(giver, taker, -count, max(0.0, now - at)) for count, giver, taker, at in largest
        ]


def _sensible(said: object, peer: str) -> dict[str, int]:
    """Names and counts, as many as are told at most; the rest is passed over.

    So is ``peer`` itself, which said it.
    """
    if not isinstance(said, dict):
        return {}
    found = {
        name: count
        for name, count in said.items()
        if isinstance(name, str) and 0 < len(name) <= _NAME and name != peer
        if type(count) is int and count > 0
    }
    return dict(list(found.items())[:TOLD])
