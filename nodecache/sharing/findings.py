"""What one fill finds out about where its blob is to be had."""

from __future__ import annotations

from collections import defaultdict

from twisted.internet.defer import DeferredLock

from nodecache.membership import Address
from nodecache.segments import lane_of
from nodecache.sourcing import Holders

#: So many bodies of a segment may break off before upstream is asked for it.
_BROKEN = 3


class Findings:
    """``total`` and ``ranged`` (upstream takes ranges) as an answer told them.

    ``brought_at`` is when a peer last brought bytes of the blob.
    ``asked_lanes``: lanes whose stand-ins this node asked, as an owner. ``owed``:
    segments that it was asked to fetch.
    ``addresses``: where referred peers are. ``sweeping`` is held by the one
    search among all peers that runs at a time; ``fruitless_until`` is the time
    until which there shall be no other.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self.ranged = True
        self.brought_at = float("-inf")
        self.holders = Holders()
        self.addresses: dict[str, Address] = {}
        self.asked_lanes: set[int] = set()
        self.owed: set[int] = set()
        self.sweeping = DeferredLock()
        self.fruitless_until = 0.0
        self._broken: defaultdict[int, list[str]] = defaultdict(list)

    def learn(self, total: int | None, *, ranged: bool) -> None:
        self.total = self.total if total is None else total
        self.ranged = self.ranged and ranged

    def lane(self, segment: int, size: int | None) -> int:
        """That of ``segment``; ``size`` is that of the blob, as far as known."""
        if not self.ranged or size is None:
            return 0
        return lane_of(segment, size)

    def broke(self, segment: int, peer: str) -> None:
        """A body of ``peer`` broke off."""
        self._broken[segment].append(peer)
        self.holders.failed(peer)

    def broken(self, segment: int) -> frozenset[str]:
        """The peers whose bodies of ``segment`` broke off."""
        return frozenset(self._broken.get(segment, ()))

    def is_spent(self, segment: int) -> bool:
        """Whether peers had their chances with ``segment``."""
        return len(self._broken.get(segment, ())) >= _BROKEN
