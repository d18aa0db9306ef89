"""A point in time that several steps share, without a clock of its own."""

from __future__ import annotations

import attrs


@attrs.frozen
class Deadline:
    """``at`` is in seconds on the clock that the caller reads (monotonic)."""

    at: float

    def remaining(self, now: float) -> float:
        """Seconds left at ``now``, never negative."""
        return max(0.0, self.at - now)

    def expired(self, now: float) -> bool:
        return now >= self.at

    def share(self, now: float, parts: int) -> Deadline:
        """The first of ``parts`` equal shares of what is left at ``now``."""
        return Deadline(now + self.remaining(now) / max(1, parts))
