"""What is being looked for on behalf of peers, for longer than one question lasts.

A peer waits for an answer as long as it hears one: a search that takes longer
is answered with "ask again", and goes on. What it finds is kept a while for the
one who asked, and dropped if nobody comes for it. So no peer that leaves, and
no impatient one, ever breaks off a fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure as Reason

from nodecache.events import Unexpected
from nodecache.seams import Observe

T = TypeVar("T")
Work: TypeAlias = Coroutine[Deferred[Any], Any, T]


class _Search(Generic[T]):
    """``found`` is None until it is over."""

    def __init__(self) -> None:
        self.found: T | Reason | None = None
        self.late: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []
        self._work: Deferred[T] | None = None

    def start(self, work: Work[T], ended: Callable[[], None]) -> None:
        def over(found: T | Reason) -> None:
            self.found = found
            ended()
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(over)

    async def wait(self, seconds: float, clock: IReactorTime) -> None:
        """Returns once it is over, or so many seconds have passed."""
        if self.found is None:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            await waiter.addTimeout(max(0.0, seconds), clock, lambda _result, _seconds: None)

    def stop(self) -> None:
        if self.late is not None:
            self.late.cancel()
        elif self._work is not None:
            self._work.cancel()


class Searches(Generic[T]):
    """``keep`` is in seconds; ``drop`` gives back what nobody came for."""

    def __init__(
        self, clock: IReactorTime, observe: Observe, keep: float, drop: Callable[[T], None]
    ) -> None:
        self._clock = clock
        self._observe = observe
        self._keep = keep
        self._drop = drop
        self._stopped = False
        self._searches: dict[Hashable, _Search[T]] = {}

    def __len__(self) -> int:
        return len(self._searches)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._searches

    async def find(self, key: Hashable, work: Callable[[], Work[T]], patience: float) -> T | None:
        """What the search of this key finds; None if it is still at it after so many seconds.

        ``key`` says who asks, and for what: what is found belongs to the
        caller alone. ``work`` begins the search where there is none. Raises
        what the search raises. Cancelling leaves the search alone.
        """
        until = self._clock.seconds() + patience
        while True:
            search = self._searches.get(key) or self._begin(key, work())
            await search.wait(until - self._clock.seconds(), self._clock)
            if search.found is None or self._stopped:
                return None
            if self._searches.get(key) is search:
                return self._claim(key, search)

    def _begin(self, key: Hashable, work: Work[T]) -> _Search[T]:
        search = self._searches[key] = _Search[T]()

        def ended() -> None:
            if self._stopped:
                self._lose(search)
            else:
                search.late = self._clock.callLater(self._keep, self._forget, key, search)

        search.start(work, ended)
        return search

    def _claim(self, key: Hashable, search: _Search[T]) -> T:
        del self._searches[key]
        search.stop()
        found = search.found
        assert found is not None
        if isinstance(found, Reason):
            found.raiseException()
        return found

    def _forget(self, key: Hashable, search: _Search[T]) -> None:
        del self._searches[key]
        self._lose(search)

    def _lose(self, search: _Search[T]) -> None:
        """Nobody came for what it found."""
        found = search.found
        if not isinstance(found, Reason):
            assert found is not None
            self._drop(found)
        elif not self._stopped:
            error, trace = repr(found.value), found.getTraceback()
            self._observe(Unexpected(where="peer", error=error, trace=trace))

    def stop(self) -> None:
        """Break off what is looked for, and give back what was found; idempotent."""
        self._stopped = True
        searches, self._searches = self._searches, {}
        for search in searches.values():
            search.stop()
            if search.found is not None and search.late is not None:
                self._lose(search)
