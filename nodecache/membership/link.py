"""How fast this node's link is, and whether it is slow beside those of its peers. Pure.

A node does not know its link; what comes in over it tells. Each second in which bytes came from
peers without a rest gives a rate, and the best of the last ``KEPT`` is the link's, as far as it was
seen: senders that are slow themselves make others lower, and nothing makes one higher for long.
Greetings carry it, and whoever has less than half of what most of its peers have says so, as a
node that is busy does: it ranks behind all others, so that nobody waits for what it would have to
fetch for them. One of 25 Mbit/s among seven of 100 held these up three times as long as they needed
(docs/simulation.md). It is compared with the median of the others, so that fewer than half of a
cluster can be behind, whatever they say.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median_low
from typing import Final

#: Seconds that make a rate, and that a rest may take within them.
SECOND: Final = 1.0
REST: Final = 0.25
#: Rates that are kept, and how many of them tell anything.
KEPT: Final = 120
ENOUGH: Final = 4
#: Peers whose rate must be known.
OTHERS: Final = 2
#: Parts of the others' median: a node with less falls behind, and is back with so much.
BEHIND: Final = 0.5
BACK: Final = 0.75


class Link:
    """``behind``: it is slow beside those of the peers. Rates are whole bytes a second."""

    def __init__(self) -> None:
        self._rates: deque[int] = deque(maxlen=KEPT)
        self._since = self._last = float("-inf")
        self._bytes = 0
        self.behind = False

    @property
    def best(self) -> int:
        """What it was seen to carry; 0 while too little came to tell."""
        return max(self._rates) if len(self._rates) >= ENOUGH else 0

    def came(self, size: int, now: float) -> None:
        """``size`` bytes came from a peer."""
        rested = not 0.0 <= now - self._last <= REST
        self._last = now
        if rested:  # these came at any time before
            self._since, self._bytes = now, 0
            return
        self._bytes += size
        seconds = now - self._since
        if seconds >= SECOND:
            self._rates.append(int(self._bytes / seconds))
            self._since, self._bytes = now, 0

    def compare(self, others: Iterable[int]) -> bool:
        """With what the peers say of theirs, 0 where they say nothing; True if that is news."""
        known = [rate for rate in others if rate > 0]
        before, best = self.behind, self.best
        if not best or len(known) < OTHERS:
            self.behind = False
        else:
            self.behind = best < median_low(known) * (BACK if before else BEHIND)
        return self.behind != before
