"""Several ways to the same thing at the same time; the first that gets there ends the others."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure as Raised

from nodecache.failures import Failure

T = TypeVar("T")


class Race(Generic[T]):
    """A runner that returns None gives up; what one raises ends the race.

    ``drop`` gets what a runner yields although it was cancelled.
    """

    def __init__(self, drop: Callable[[T], None]) -> None:
        self._drop = drop
        self._tasks: list[Deferred[Any]] = []
        self._running = 0
        self._over = False
        self._awaited = False
        self._end: Deferred[T | None] = Deferred()

    def add(
        self, runner: Coroutine[Any, Any, T | None], then: Callable[[], None] = lambda: None
    ) -> None:
        """Let one more run, from now on; at any time until the race is over.

        ``then`` is called when it has given up, and may add another.
        """
        if self._over:
            runner.close()
            return
        self._running += 1
        task = Deferred.fromCoroutine(runner)
        self._tasks.append(task)
        task.addCallbacks(self._ended, self._broken, callbackArgs=(then,))

    async def first(self) -> T | None:
        """What the first runner returned; None once all have given up. Cancelling ends them all."""
        self._awaited = True
        self._look()
        try:
            return await self._end
        finally:
            self._close()

    def _ended(self, value: T | None, then: Callable[[], None]) -> None:
        self._running -= 1
        if value is None:
            if not self._over:
                then()
            self._look()
        elif self._over:
            self._drop(value)
        else:
            self._close()
            self._end.callback(value)

    def _broken(self, raised: Raised) -> Raised | None:
        self._running -= 1
        if not self._over:
            self._close()
            self._end.errback(raised)
            return None
        # Nobody waits for it any more; a bug shall be seen nevertheless.
        return None if raised.check(CancelledError, Failure) else raised

    def _look(self) -> None:
        if self._awaited and not self._running and not self._over:
            self._close()
            self._end.callback(None)

    def _close(self) -> None:
        # Once: a task that takes its time to end is not to be cancelled in that.
        tasks, self._tasks = self._tasks, []
        self._over = True
        for task in tasks:
            task.cancel()
