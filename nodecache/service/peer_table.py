"""The other nodes as ``/api/v1/peers`` shows them."""

from __future__ import annotations

from collections import Counter

from twisted.internet.interfaces import IReactorTime

from nodecache import __version__
from nodecache.events import Event, PeerBytes
from nodecache.limits import WIRE_VERSION
from nodecache.membership import Membership
from nodecache.membership.breaker import Trouble
from nodecache.membership.directory import Node
from nodecache.web.api import BytesByRole, PeerRow, PeersSeenHere, PeerState

#: Peers whose bytes are counted; those that come after count as none.
MOST = 20_000


class PeerTable:
    """``observe`` takes every event of the peers, ``seen`` is what there is to show."""

    def __init__(self, membership: Membership, clock: IReactorTime) -> None:
        self._membership = membership
        self._clock = clock
        self._bytes: Counter[tuple[str, str, str]] = Counter()

    def observe(self, event: Event) -> None:
        """Keeps the bytes by peer."""
        if isinstance(event, PeerBytes):
            key = (event.peer, event.direction, event.role)
            if key in self._bytes or len(self._bytes) < MOST:
                self._bytes[key] += event.bytes

    def seen(self) -> PeersSeenHere:
        now = self._clock.seconds()
        membership = self._membership
        me = membership.me
        aside = membership.aside(now)
        off = membership.all_off(now)
        return PeersSeenHere(
            id=me.id,
            zone=me.zone,
            release=__version__,
            wire=WIRE_VERSION,
            addresses=me.addresses,
            age_seconds=membership.census(now).resolved_age,
            peers=tuple(self._row(node, aside.get(node.id), now) for node in membership.nodes(now)),
            off_seconds=max(0.0, membership.off_until - now) if off else None,
            leaving=membership.leaving,
            inbound=membership.link.best,
            behind=membership.link.behind,
        )

    def _row(self, node: Node, trouble: Trouble | None, now: float) -> PeerRow:
        spoke = max((place.spoke for place in node.places.values()), default=float("-inf"))
        return PeerRow(
            id=node.id,
            addresses=tuple(sorted(node.places)),
            zone=node.zone,
            release=node.release,
            state=_state(node, trouble),
            aside_seconds=None if trouble is None else max(0.0, trouble.until - now),
            contact_seconds=None if spoke == float("-inf") else now - spoke,
            failures=0 if trouble is None else trouble.count,
            busy=node.busy,
            inbound=node.inbound,
            received=self._of(node.id, "in"),
            sent=self._of(node.id, "out"),
        )

    def _of(self, peer: str, direction: str) -> BytesByRole:
        return BytesByRole(
            owner=self._bytes[peer, direction, "owner"],
            holder=self._bytes[peer, direction, "holder"],
        )


def _state(node: Node, trouble: Trouble | None) -> PeerState:
    if node.wire not in (None, WIRE_VERSION):
        return PeerState.VERSION
    if node.leaving:
        return PeerState.LEAVING
    if trouble is not None:
        return PeerState.ASIDE
    return PeerState.LIVE if node.named else PeerState.UNKNOWN
