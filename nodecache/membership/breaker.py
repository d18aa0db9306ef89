"""Peers that failed and are put aside, each for itself.

A peer that failed is not asked until a hello to it is answered, and the hello
is not sent before its pause is over: ``Timeouts.peer_pause_first``, doubling
with each failure up to ``peer_pause_last``. The count begins anew with the
first real success, or when the peer has been well for ``peer_pause_last``: a
hello alone may be answered by a peer that can do nothing else.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import attrs

from nodecache.failures import PeerKind
from nodecache.limits import Timeouts

#: Ids that are remembered; the longest forgotten go first.
MOST = 20_000

#: Kinds that tell something for sure: a process that was frozen explains none of them.
CERTAIN = frozenset({PeerKind.CORRUPT, PeerKind.STRANGER, PeerKind.VERSION})


def growing(count: int, timeouts: Timeouts) -> float:
    """Seconds of pause after the failure of that number, from 1 on."""
    doubled: float = timeouts.peer_pause_first * 2.0 ** min(count - 1, 30)
    return min(doubled, timeouts.peer_pause_last)


@attrs.define
class Trouble:
    """What is held against one peer. Not asked while ``aside``; greeted from ``until`` on."""

    kind: PeerKind
    since: float
    until: float
    count: int
    aside: bool = True
    well_since: float = 0.0


class Breaker:
    """The troubles of all peers, by id."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._troubles: dict[str, Trouble] = {}

    def failed(self, peer: str, kind: PeerKind, now: float) -> float:
        """Put ``peer`` aside; the seconds until it may be greeted.

        Failures within a pause are those of requests that were under way
        together: no news, unless they are of a worse kind.
        """
        known = self._troubles.get(peer)
        corrupt = kind is PeerKind.CORRUPT
        if known is not None and known.aside and now < known.until and not corrupt:
            return known.until - now
        count = 1 if known is None or self._long_well(known, now) else known.count + 1
        pause = self._pause(kind, count)
        if known is not None and known.aside:
            pause = max(pause, known.until - now)
        self._troubles.pop(peer, None)
        self._troubles[peer] = Trouble(kind, now, now + pause, count)
        self._shorten()
        return pause

    def _pause(self, kind: PeerKind, count: int) -> float:
        if kind is PeerKind.CORRUPT:
            return self._timeouts.peer_corrupt
        if kind is PeerKind.DOUBTED:
            return self._timeouts.peer_pause_last
        return growing(count, self._timeouts)

    def _long_well(self, known: Trouble, now: float) -> bool:
        return not known.aside and now - known.well_since >= self._timeouts.peer_pause_last

    def _shorten(self) -> None:
        while len(self._troubles) > MOST:
            del self._troubles[next(iter(self._troubles))]

    def succeeded(self, peer: str) -> None:
        """A real answer: the count begins anew. It does not bring back one that is aside."""
        known = self._troubles.get(peer)
        if known is not None and not known.aside:
            del self._troubles[peer]

    def greeted(self, peer: str, now: float) -> bool:
        """A hello was answered; True if ``peer`` was aside and is back."""
        known = self._troubles.get(peer)
        if known is None or not known.aside or now < known.until:
            return False
        known.aside = False
        known.well_since = now
        return True

    def returned(self, peer: str, now: float) -> bool:
        """``peer`` was started anew, somewhere else; as ``greeted``.

        What it was before counts no more, except that it sent wrong bytes:
        its disk may be the same.
        """
        known = self._troubles.get(peer)
        if known is not None and known.kind is not PeerKind.CORRUPT:
            known.until = min(known.until, now)
            known.count = 0
        return self.greeted(peer, now)

    def heard(self, peer: str, now: float) -> None:
        """``peer`` greeted us: it lives, so it may be greeted now."""
        known = self._troubles.get(peer)
        if known is not None and known.kind is not PeerKind.CORRUPT:
            known.until = min(known.until, now)

    def aside(self, peer: str) -> Trouble | None:
        """Why ``peer`` is not asked; None when it may be."""
        known = self._troubles.get(peer)
        return known if known is not None and known.aside else None

    def forgive(self, since: float) -> None:
        """Drop what was held against peers since then, but for what is certain."""
        for peer, known in tuple(self._troubles.items()):
            if known.aside and known.since >= since and known.kind not in CERTAIN:
                del self._troubles[peer]

    def forget(self, peer: str, now: float) -> None:
        """Nobody of this id is known any more."""
        known = self._troubles.get(peer)
        if known is not None and (known.kind is not PeerKind.CORRUPT or now >= known.until):
            del self._troubles[peer]
