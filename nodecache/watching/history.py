"""How many bytes came from where, step by step: what the plots of the status page show.

An hour is kept in steps of ten seconds, and a day in steps of five minutes. The
bytes of a body that took long are spread over the time that it took, and bodies
that are still going out are counted when somebody looks, so that a big layer
shows as a plateau and not as a spike at its end.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from nodecache.watching.ring import Ring


class Series(enum.Enum):
    """The value is its name in documents. Bytes, but for the last two, which count answers."""

    DISK = "disk"  # to clients, from here on by the source of the answer
    FLIGHT = "flight"
    FILL = "fill"
    STALE = "stale"
    PEERS = "peers"  # from other nodes to this one
    UPSTREAM = "upstream"  # from upstream to this node
    LENT = "lent"  # from this node to others
    HITS = "hits"
    MISSES = "misses"


#: What clients were given.
SERVED: Final = (Series.DISK, Series.FLIGHT, Series.FILL, Series.STALE)
#: What this node brought in.
BROUGHT: Final = (Series.PEERS, Series.UPSTREAM)

_COLUMN: Final = {series: column for column, series in enumerate(Series)}


class Window(enum.Enum):
    """The value is its name in a query."""

    QUARTER = "15m"
    HOUR = "1h"
    DAY = "24h"


#: Seconds of a step of each window, and how many it has.
STEPS: Final = {Window.QUARTER: (10.0, 90), Window.HOUR: (10.0, 360), Window.DAY: (300.0, 288)}


@attrs.frozen
class Flow:
    """``amount`` of ``series`` came about over the last ``seconds``."""

    series: Series
    amount: float
    seconds: float = 0.0


@attrs.frozen
class Past:
    """``values[series]`` are sums by step, the oldest first.

    ``elapsed`` is how many seconds the last step has lasted so far, ``first``
    the number of the oldest step, by which the same step is known again.
    """

    step: float
    first: int
    elapsed: float
    values: dict[Series, list[float]]


class History:
    """``totals`` count since the start, what is still going out left aside."""

    def __init__(self) -> None:
        self.totals: dict[Series, float] = dict.fromkeys(Series, 0.0)
        # By length of a step; the quarter of an hour is the end of the hour.
        kept = (STEPS[Window.HOUR], STEPS[Window.DAY])
        self._rings = {step: Ring(step, count, len(Series)) for step, count in kept}

    def add(self, flow: Flow, now: float) -> None:
        """It ended ``now``."""
        self.totals[flow.series] += flow.amount
        for ring in self._rings.values():
            _add(ring, flow, now)

    def past(self, window: Window, now: float, going: Iterable[Flow] = ()) -> Past:
        """``going`` is what has not ended yet, as far as it came."""
        step, count = STEPS[window]
        ring = self._rings[step].copy()
        for flow in going:
            _add(ring, flow, now)
        rows = ring.rows(now)[-count:]
        values = {series: [row[at] for row in rows] for series, at in _COLUMN.items()}
        return Past(step, ring.last(now) - count + 1, ring.elapsed(now), values)

    def totals_with(self, going: Iterable[Flow]) -> dict[Series, float]:
        """As ``totals``, and what is going out as far as it came."""
        found = dict(self.totals)
        for flow in going:
            found[flow.series] += flow.amount
        return found


def _add(ring: Ring, flow: Flow, now: float) -> None:
    ring.add(_COLUMN[flow.series], flow.amount, now, flow.seconds)
