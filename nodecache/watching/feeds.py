"""Who feeds whom: bytes between this node and each of its peers, and how fast lately. Pure.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import math

import attrs

#: Peers that are remembered; those longest without a byte go first.
MOST = 512
#: Seconds in which the memory of what was fast loses about two thirds.
FADING = 20.0


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

    The rates are in bytes a second, over about the last half minute.
    """

    peer: str
    received: int
    sent: int
    received_rate: float
    sent_rate: float
    idle_seconds: float


class Feeds:
    def __init__(self) -> None:
        self._streams: dict[str, tuple[_Stream, _Stream]] = {}

    def moved(self, peer: str, direction: str, count: int, now: float) -> None:
        """``direction`` is ``in`` or ``out``, as events tell it."""
        pair = self._streams.pop(peer, None) or (_Stream(at=now), _Stream(at=now))
        self._streams[peer] = pair  # the last one now
        pair[direction == "out"].add(count, now)
        while len(self._streams) > MOST:
            del self._streams[next(iter(self._streams))]

    def seen(self, now: float) -> list[Feed]:
        """The liveliest first."""
        found = [
            Feed(
                peer=peer,
                received=came.total,
                sent=went.total,
                received_rate=came.faded(now) / FADING,
                sent_rate=went.faded(now) / FADING,
                idle_seconds=max(0.0, now - max(came.at, went.at)),
            )
            for peer, (came, went) in self._streams.items()
        ]
        return sorted(found, key=lambda feed: (-feed.received_rate - feed.sent_rate, feed.peer))
