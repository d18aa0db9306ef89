"""Waiting for the first greetings, for a moment after the start and never again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from nodecache.upstream.waits import TimedOut, bounded


class Readiness:
    """``clock`` is an IReactorTime; nobody waits longer than ``seconds`` from now."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self._clock = clock
        self._until = clock.seconds() + seconds
        self._reached = False
        self._waiting: list[Deferred[None]] = []

    def reach(self) -> None:
        """It is so; idempotent."""
        self._reached = True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    async def wait(self) -> None:
        """Until it is so, or the time is over."""
        left = self._until - self._clock.seconds()
        if self._reached or left <= 0:
            return
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        try:
            await bounded(self._clock, waiter, left)
        except TimedOut:
            return

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting = [each for each in self._waiting if each is not waiter]
