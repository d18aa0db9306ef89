"""What a search says is to be done next, and what it may spend."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address
from nodecache.peerwire.answers import UpstreamAbsent
from nodecache.peerwire.questions import Mode


@attrs.frozen
class Ask:
    """Ask ``peer`` (a node id) in ``mode``.

    ``silence``: seconds after which a peer from which nothing came has failed
    (TIMEOUT). ``address`` is where a referral said that the peer is; None
    where the caller named the peer itself. ``as_owner``: nobody is made to fetch
    it. ``wait``: seconds for which the peer may keep us waiting while it is
    getting it: an owner does not wait for who may be waiting for it.
    """

    peer: str
    mode: Mode
    silence: float
    address: Address | None = None
    as_owner: bool = False
    wait: float = 0.0


@attrs.frozen
class Pause:
    """Wait so many seconds, then ask for the next step."""

    seconds: float


@attrs.frozen
class Upstream:
    """The end: ask upstream."""


@attrs.frozen
class Refused:
    """The end: a peer asked upstream for us, and this is what upstream says."""

    answer: UpstreamAbsent


Step: TypeAlias = Ask | Pause | Upstream | Refused


@attrs.frozen
class SearchBudget:
    """What one search may spend; seconds, and counts.

    ``silence`` is waited for peers from which nothing comes, all together.
    ``seconds`` pass at most since a peer last said that it is fetching, or
    named others that have it, or an owner that it has no place yet (on slow links
    that may be long); ``longest`` is the whole search. ``referrals`` are
    followed in a row; ``questions`` are asked in all; ``pause`` is the shortest
    pause.
    """

    silence: float
    seconds: float
    longest: float
    referrals: int
    questions: int = 128
    pause: float = 0.005

    @classmethod
    def of(cls, timeouts: Timeouts, limits: Limits) -> SearchBudget:
        return cls(
            silence=timeouts.peer_silence,
            seconds=timeouts.peer_search,
            longest=max(timeouts.peer_search, timeouts.stall_total),
            referrals=limits.peer_referrals,
        )
