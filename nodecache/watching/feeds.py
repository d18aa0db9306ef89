"""Who feeds whom: bytes between this node and each of its peers, and how fast lately. Pure.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from nodecache.watching.ring import Ring

#: Peers that are remembered; those longest without a byte go first.
MOST = 512
#: Seconds in which the memory of what was fast loses about two thirds.
FADING = 20.0
#: Seconds, and steps of them, over which bytes are counted for who looks at the whole cluster.
LATELY: Final = 300.0
_STEPS: Final = 10


@attrs.define
class _Stream:
    total: int = 0
    recent: float = 0.0  # bytes, fading
    at: float = 0.0

    def add(self, count: int, now: float) -> None:
        self.recent = self.faded(now) + count
        self.total += count
        self.at = now

    def faded(self, now: float) -> float:
        return self.recent * math.exp(-max(0.0, now - self.at) / FADING)


@attrs.frozen(kw_only=True)
class Feed:
    """Between this node and ``peer``; ``received`` came from it, ``sent`` went to it.

    The rates are in bytes a second, over about the last half minute; the bytes
    of ``..._lately`` are those of the last ``LATELY`` seconds.
    """

    peer: str
    received: int
    sent: int
    received_rate: float
    sent_rate: float
    received_lately: int
    sent_lately: int
    idle_seconds: float

    @property
    def liveliness(self) -> tuple[float, int]:
        return self.received_rate + self.sent_rate, self.received_lately + self.sent_lately


@attrs.define
class _Neighbour:
    """``lately`` has a column for each direction."""

    came: _Stream
    went: _Stream
    lately: Ring

    def seen(self, peer: str, now: float) -> Feed:
        received, sent = (sum(column) for column in zip(*self.lately.rows(now), strict=True))
        return Feed(
            peer=peer,
            received=self.came.total,
            sent=self.went.total,
            received_rate=self.came.faded(now) / FADING,
            sent_rate=self.went.faded(now) / FADING,
            received_lately=int(received),
            sent_lately=int(sent),
            idle_seconds=max(0.0, now - max(self.came.at, self.went.at)),
        )


class Feeds:
    def __init__(self) -> None:
        self._neighbours: dict[str, _Neighbour] = {}

    def moved(self, peer: str, direction: str, count: int, now: float) -> None:
        """``direction`` is ``in`` or ``out``, as events tell it."""
        known = self._neighbours.pop(peer, None) or _Neighbour(
            _Stream(at=now), _Stream(at=now), Ring(LATELY / _STEPS, _STEPS, 2)
        )
        self._neighbours[peer] = known  # the last one now
        out = direction == "out"
        (known.went if out else known.came).add(count, now)
        known.lately.add(int(out), count, now)
        while len(self._neighbours) > MOST:
            del self._neighbours[next(iter(self._neighbours))]

    def seen(self, now: float) -> list[Feed]:
        """The liveliest first."""
        found = [known.seen(peer, now) for peer, known in self._neighbours.items()]
        found.sort(key=lambda feed: feed.peer)
        return sorted(found, key=lambda feed: feed.liveliness, reverse=True)
