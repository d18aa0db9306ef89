"""Bytes a second, as a token bucket."""

from __future__ import annotations


class Pace:
    """At most ``rate`` bytes a second in the long run, ``burst`` of them at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def allow(self, size: int, now: float) -> float:
        """Take ``size`` bytes; seconds to wait before they are sent, 0.0 for at once.

        They are taken in any case: whoever asks next waits behind them.
        """
        if self._at is not None:
            self._tokens += max(0.0, now - self._at) * self._rate
        self._at = now
        self._tokens = min(self._tokens, self._burst) - size
        return max(0.0, -self._tokens / self._rate)
