"""One piece of work at a time for a key, and any number who wait for it.

The work belongs to the cache: whoever waits has a Deferred of its own, and
cancelling that (a client left, a deadline passed) removes the waiter and
nothing else. What the work yields is then there for the next one who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure as Raised

from nodecache.deadline import Deadline
from nodecache.failures import Failure, UpstreamFailure, UpstreamKind

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_log = Logger()


class _Work(Generic[T]):
    """Work under way and its waiters, in the order in which they came."""

    def __init__(self) -> None:
        self.task: Deferred[T] | None = None
        self.waiters: list[Deferred[T]] = []

    def wait(self) -> Deferred[T]:
        waiter: Deferred[T] = Deferred(self.waiters.remove)
        self.waiters.append(waiter)
        return waiter

    def succeed(self, value: T) -> None:
        while self.waiters:
            self.waiters.pop(0).callback(value)

    def fail(self, error: BaseException) -> None:
        if not self.waiters and not isinstance(error, Failure | CancelledError):
            _log.failure("work that nobody waits for", failure=Raised(error))
        while self.waiters:
            self.waiters.pop(0).errback(Raised(error))


class SingleFlight(Generic[K, T]):
    """Shares the work for a key among all who ask while it runs.

    ``joined`` is called for each one who did not have to begin it.
    """

    def __init__(self, joined: Callable[[], None] = lambda: None) -> None:
        self._joined = joined
        self._running: dict[K, _Work[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._running

    def __len__(self) -> int:
        return len(self._running)

    def run(self, key: K, begin: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Wait for the work of ``key``, which ``begin`` makes where none runs yet.

        Fails with whatever the work raises.
        """
        work = self._running.get(key)
        if work is not None:
            self._joined()
            return work.wait()
        work = self._running[key] = _Work()
        waiter = work.wait()
        work.task = Deferred.fromCoroutine(begin())
        work.task.addCallbacks(
            lambda value: self._done(value, key, work),
            lambda raised: self._broken(raised, key, work),
        )
        return waiter

    def _done(self, value: T, key: K, work: _Work[T]) -> None:
        self._forget(key, work)
        work.succeed(value)

    def _broken(self, raised: Raised, key: K, work: _Work[T]) -> None:
        self._forget(key, work)
        assert raised.value is not None
        work.fail(raised.value)

    def _forget(self, key: K, work: _Work[T]) -> None:
        # A waiter may ask again at once, and must then begin anew.
        if self._running.get(key) is work:
            del self._running[key]

    def stop(self) -> None:
        """End all work; who still waits is told that the upstream is not asked any more."""
        for key, work in list(self._running.items()):
            self._forget(key, work)
            work.fail(UpstreamFailure(UpstreamKind.DOWN, "this node is stopping"))
            if work.task is not None:
                work.task.cancel()


def within(waiter: Deferred[T], clock: IReactorTime, deadline: Deadline | None) -> Deferred[T]:
    """``waiter``, cancelled at ``deadline`` and then failing with UpstreamFailure(TIMEOUT)."""
    if deadline is None:
        return waiter

    def too_late(result: T | Raised, _: float) -> T | Raised:
        if isinstance(result, Raised) and result.check(CancelledError):
            raise UpstreamFailure(UpstreamKind.TIMEOUT, "upstream did not answer in time")
        return result

    return waiter.addTimeout(deadline.remaining(clock.seconds()), clock, too_late)
