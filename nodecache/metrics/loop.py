"""Whether the reactor turns in time: all that a node does waits for it."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from nodecache.metrics.room import Room, Takers

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Loop(Room):
    """``lagged`` takes how late a turn came, ``stood_still`` how long there was none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._lag = self._histogram(
            "loop_lag_seconds",
            "How late the reactor came to its timers.",
            _SECONDS,
        )
        self._stalls = self._counter(
            "loop_stalls_total", "Times that the process stood still for more than a second."
        )
        self._stalled = self._counter(
            "loop_stalled_seconds_total",
            "How long the process stood still, all pauses of more than a second together.",
        )

    def takers(self) -> Takers:
        return {}

    def lagged(self, seconds: float) -> None:
        """A turn that came late by so much, in seconds."""
        self._lag.observe(max(0.0, seconds))

    def stood_still(self, seconds: float) -> None:
        """The process was stopped as a whole for so long, in seconds."""
        self._stalls.inc()
        self._stalled.inc(seconds)
