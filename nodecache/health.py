"""Which origins are down, when to probe them, and who is rate-limited until when.

An origin that fails is asked no more until a probe succeeds, so that an
upstream that is down is found out once and not once a request. Times are
seconds on one monotonic clock.

The pause before a probe starts at ``Timeouts.probe_first`` and doubles with
each failed probe up to ``probe_last``. An origin that was silent or out of
reach, came back and fails again within ``probe_last`` goes on from its last
pause: each such failure costs a client the whole answer deadline. A 5xx costs
nothing and may be about one image only, so it starts from the first pause.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeVar

import attrs

from nodecache.failures import UpstreamKind
from nodecache.limits import Timeouts

#: Kinds of failure that say something about the origin as a whole.
DOWN_KINDS = frozenset({UpstreamKind.ERROR, UpstreamKind.TIMEOUT, UpstreamKind.UNREACHABLE})

#: Origins, and rate-limited keys, that are remembered; the longest unused go first.
MOST = 256

#: Seconds. A Retry-After is believed this far: asking again costs one refusal.
LIMITED_LONGEST = 3600.0
LIMITED_SHORTEST = 1.0

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@attrs.frozen
class Up:
    """The origin may be asked."""


@attrs.frozen
class Down:
    """The origin is not asked, except by a probe from ``probe_at`` on."""

    since: float
    kind: UpstreamKind
    reason: str
    probe_at: float

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe may go out, never negative."""
        return max(0.0, self.probe_at - now)


State = Up | Down


@attrs.define
class _Origin:
    pause: float = 0.0
    costly: bool = False  # the last failures were silence, or out of reach
    answered_at: float | None = None  # its last success
    came_back_at: float | None = None
    down: Down | None = None

    def knew_better(self, began: float) -> bool:
        """Whether the failure of a request that ``began`` then is no news."""
        if self.down is not None:
            return began < self.down.since
        return self.answered_at is not None and began < self.answered_at


class Health:
    """The memory of all origins. An origin is any string: scheme, host and port."""

    def __init__(self, timeouts: Timeouts, most: int = MOST) -> None:
        self._timeouts = timeouts
        self._most = most
        self._origins: OrderedDict[str, _Origin] = OrderedDict()
        self._limited: OrderedDict[Hashable, float] = OrderedDict()

    def failed(
        self,
        origin: str,
        now: float,
        kind: UpstreamKind,
        reason: str,
        *,
        began: float | None = None,
    ) -> bool:
        """Record a failed request; True if the origin was up and is now down.

        Kinds outside DOWN_KINDS say nothing about the origin and are ignored,
        and so is the failure of a request that ``began`` before the origin's
        last success, or before it went down: requests that were under way
        then come in late, all with the same news. While it is down, only a
        failure from ``probe_at`` on (the probe's) makes the pause longer.
        """
        if kind not in DOWN_KINDS:
            return False
        known = self._touch(origin)
        if began is not None and known.knew_better(began):
            return False
        if known.down is None:
            known.pause = self._pause_anew(known, now, kind)
            known.down = Down(now, kind, reason, now + known.pause)
            known.costly = kind is not UpstreamKind.ERROR
            return True
        if now >= known.down.probe_at:
            known.pause = min(known.pause * 2, self._timeouts.probe_last)
            known.down = Down(known.down.since, kind, reason, now + known.pause)
            known.costly = known.costly or kind is not UpstreamKind.ERROR
        return False

    def _pause_anew(self, known: _Origin, now: float, kind: UpstreamKind) -> float:
        lately = (
            known.came_back_at is not None and now - known.came_back_at <= self._timeouts.probe_last
        )
        if lately and known.costly and kind is not UpstreamKind.ERROR:
            return min(known.pause * 2, self._timeouts.probe_last)
        return self._timeouts.probe_first

    def succeeded(self, origin: str, now: float) -> bool:
        """Record an answer; True if the origin was down and is now up."""
        known = self._touch(origin)
        known.answered_at = now
        if known.down is None:
            return False
        known.down = None
        known.came_back_at = now
        return True

    def state(self, origin: str, now: float) -> State:
        """Whether the origin may be asked. Stays Down past ``probe_at``, until a probe succeeds."""
        del now  # the state does not change by itself
        known = self._origins.get(origin)
        return Up() if known is None or known.down is None else known.down

    def due(self, now: float) -> tuple[str, ...]:
        """Origins whose probe may go out now."""
        return tuple(
            origin
            for origin, known in self._origins.items()
            if known.down is not None and now >= known.down.probe_at
        )

    def next_due(self) -> float | None:
        """When the next probe may go out; None when nothing is down."""
        return min((k.down.probe_at for k in self._origins.values() if k.down), default=None)

    def down(self) -> dict[str, Down]:
        """All origins that are down."""
        return {origin: k.down for origin, k in self._origins.items() if k.down is not None}

    def _touch(self, origin: str) -> _Origin:
        known = self._origins.setdefault(origin, _Origin())
        self._origins.move_to_end(origin)
        _shorten(self._origins, self._most)
        return known

    def limited(
        self,
        key: Hashable,
        now: float,
        *,
        retry_after: float | None = None,
        reset_at: float | None = None,
    ) -> float:
        """Record a 429 for ``key`` (an upstream and account); returns until when it holds.

        ``retry_after`` is seconds from now, ``reset_at`` a time on the clock
        of ``now``; the first that is given counts, else ``Timeouts.limited``.
        Held between LIMITED_SHORTEST and LIMITED_LONGEST.
        """
        if retry_after is None:
            retry_after = self._timeouts.limited if reset_at is None else reset_at - now
        until = now + min(LIMITED_LONGEST, max(LIMITED_SHORTEST, retry_after))
        self._limited[key] = until
        self._limited.move_to_end(key)
        _shorten(self._limited, self._most)
        return until

    def limited_until(self, key: Hashable, now: float) -> float | None:
        """Until when ``key`` is limited; None when it is not."""
        until = self._limited.get(key)
        if until is not None and now >= until:
            del self._limited[key]
            return None
        return until

    def unlimited(self, key: Hashable) -> None:
        """Upstream answered: whatever limit was known is over."""
        self._limited.pop(key, None)


def _shorten(known: OrderedDict[K, V], most: int) -> None:
    while len(known) > most:
        known.popitem(last=False)
