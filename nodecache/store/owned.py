"""Work that the store does on its own account, so that closing can wait for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Reason

from nodecache.diskpool import shielded
from nodecache.events import Unexpected
from nodecache.seams import Observe
from nodecache.store.waiting import Waiters

T = TypeVar("T")


def nothing(result: object) -> None:
    """What there is to do about a result that needs no closing."""
    del result


class Owned:
    """Coroutines under way, whoever waits for them."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._running: set[Deferred[Any]] = set()
        self._started: set[Deferred[None]] = set()
        self._waiting = Waiters()

    def start(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """Begin ``work`` for nobody; the Deferred never fails. ``stop`` cancels it.

        Its failures are told as bugs: it sees to those that it foresees.
        """
        running = self._begun(work)
        running.addErrback(self._failed)
        self._started.add(running)
        running.addBoth(lambda _: self._started.discard(running))
        return running

    def shielded(
        self, work: Coroutine[Any, Any, T], dispose: Callable[[T], object] = nothing
    ) -> Deferred[T]:
        """Begin ``work``; cancelling the Deferred does not stop it.

        What it then brings is given to ``dispose``.
        """
        return shielded(self._begun(work), dispose)

    def _begun(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        running = Deferred.fromCoroutine(work)
        self._running.add(running)

        def over(result: T | Reason) -> T | Reason:
            self._running.discard(running)
            if not self._running:
                self._waiting.fire()
            return result

        return running.addBoth(over)

    def _failed(self, reason: Reason) -> None:
        if reason.check(CancelledError) is None:
            error = f"{type(reason.value).__name__}: {reason.getErrorMessage()}"
            self._observe(Unexpected(where="store", error=error, trace=reason.getTraceback()))

    async def stop(self) -> None:
        """Cancel what was started for nobody; returns when nothing at all is under way."""
        for running in tuple(self._started):
            running.cancel()
        while self._running:
            await self._waiting.wait()
