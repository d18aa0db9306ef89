"""When each address is greeted.

Unknown ones at once, known ones every ``Timeouts.peer_greet``, those put aside
when their pause is over. A greeting carries all that the sender knows, so its
cost grows with the cluster: in big ones the interval is stretched until a node
handles about ``PAIRS`` pairs of id and address a second. News then comes from
others: whatever anybody heard of a node goes round with every greeting.

The order is by a hash of both ends, so that a thousand nodes that start
together do not all greet the same one first.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

from nodecache.limits import Timeouts
from nodecache.membership.breaker import Breaker
from nodecache.membership.directory import Directory, Node, Place, Trust
from nodecache.membership.outage import Outage
from nodecache.membership.peer import Address
from nodecache.rendezvous import hash64

#: Pairs of id and address that a node sends, and takes in, in a second.
PAIRS: Final = 5_000
#: Up to so many nodes, one that others tell of is greeted at once as well.
FEW: Final = 64
#: Seconds after which a greeting that was handed out counts as lost.
LOST: Final = 10.0
#: Greetings under way that search for a living peer while most seem dead.
PROBES: Final = 8

_NEVER: Final = float("inf")


class Schedule:
    def __init__(
        self, me: str, timeouts: Timeouts, directory: Directory, breaker: Breaker, outage: Outage
    ) -> None:
        self._me = me
        self._timeouts = timeouts
        self._directory = directory
        self._breaker = breaker
        self._outage = outage

    def due(self, now: float, most: int) -> tuple[Address, ...]:
        """At most ``most`` addresses to be greeted now; they count as being greeted."""
        doubted = self._doubted(now)
        waiting: list[tuple[float, int, Address, Place]] = []
        doubtful: list[tuple[int, Address, Place]] = []
        under_way = 0
        interval = self._interval()
        for node in self._directory.nodes.values():
            aside = self._breaker.aside(node.id)
            for place in node.places.values():
                if place.asked is not None and now - place.asked < LOST:
                    under_way += 1
                    continue
                at = aside.until if aside else self._when(node, place, interval)
                if at <= now:
                    waiting.append((at, self._turn(place), place.address, place))
                elif doubted is not None and aside is None and place.spoke <= doubted:
                    doubtful.append((self._turn(place), place.address, place))
        probes = max(0, PROBES - under_way - len(waiting))
        chosen = [entry[-1] for entry in heapq.nsmallest(most, waiting)]
        chosen += [entry[-1] for entry in heapq.nsmallest(probes, doubtful)]
        return _asked(chosen[:most], now)

    def _doubted(self, now: float) -> float | None:
        """Whoever was not spoken to since may be dead as well; None when all is well."""
        if self._outage.off:
            return now - self._timeouts.peer_pause_first
        return self._outage.doubted_since(now)

    def _when(self, node: Node, place: Place, interval: float) -> float:
        if place.misses:
            return place.retry
        if not node.named or place.trust is Trust.FAILED:
            return place.since
        last = max(place.spoke, place.since)
        few = len(self._directory.nodes) <= FEW
        if place.trust is Trust.TOLD and few and place.spoke < place.since:
            return place.since
        return last + interval

    def _interval(self) -> float:
        count = len(self._directory.places)
        return max(self._timeouts.peer_greet, count * count / PAIRS)

    def _turn(self, place: Place) -> int:
        return hash64(f"{self._me} {place.address}")


def _asked(places: Iterable[Place], now: float) -> tuple[Address, ...]:
    found = []
    for place in places:
        place.asked = now
        found.append(place.address)
    return tuple(found)
