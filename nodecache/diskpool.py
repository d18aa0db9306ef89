"""Threads for blocking disk calls, apart from the reactor's own pool (which resolves names)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure as Reason
from twisted.python.threadpool import ThreadPool

from nodecache.failures import StoreFailure
from nodecache.seams import DiskPool

T = TypeVar("T")


@attrs.frozen
class Load:
    """``most`` threads there may be, ``busy`` of them work, ``waiting`` jobs have none yet."""

    most: int
    busy: int
    waiting: int


class ThreadDiskPool(DiskPool):
    """Up to ``threads`` threads, started as they are needed.

    Jobs start in the order in which they came. After ``stop`` every ``run``
    fails with StoreFailure.
    """

    def __init__(self, reactor: IReactorFromThreads, threads: int, name: str = "disk") -> None:
        self._reactor = reactor
        self._threads = ThreadPool(0, threads, name)
        self._running = 0
        self._open = False
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        self._open = True
        self._threads.start()

    async def stop(self) -> None:
        """Take no more jobs, wait for those begun or in line, end the threads; idempotent."""
        self._open = False
        if self._running:
            idle: Deferred[None] = Deferred(self._idle.remove)
            self._idle.append(idle)
            await idle
        if self._threads.started and not self._threads.joined:
            self._threads.stop()

    @property
    def load(self) -> Load:
        """Jobs that are done and whose result is not yet delivered count as waiting."""
        busy = len(self._threads.working)
        return Load(self._threads.max, busy, max(0, self._running - busy))

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        if not self._open:
            return fail(StoreFailure("the disk threads are stopped"))
        done: Deferred[T] = Deferred()

        def over(success: bool, result: T | Reason) -> None:  # noqa: FBT001  # ThreadPool's own
            del success
            self._reactor.callFromThread(self._deliver, done, result)

        self._running += 1
        self._threads.callInThreadWithCallback(over, job)
        return done

    def _deliver(self, done: Deferred[T], result: T | Reason) -> None:
        self._running -= 1
        # Of a Deferred that was cancelled, this is dropped.
        done.callback(result)
        if not self._running:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)


def shielded(inner: Deferred[T], dispose: Callable[[T], object]) -> Deferred[T]:
    """A waiter for ``inner``; cancelling it leaves ``inner`` alone.

    Cancelled, it fires at once, and what ``inner`` then brings is given to
    ``dispose``. A failure that nobody waits for is dropped: whoever fails
    tells of it by an event.
    """
    waiter: Deferred[T] = Deferred()

    def deliver(result: T) -> None:
        if waiter.called:
            dispose(result)
        else:
            waiter.callback(result)

    def give_up(reason: Reason) -> None:
        if not waiter.called:
            waiter.errback(reason)

    inner.addCallbacks(deliver, give_up)
    return waiter


def acquire(pool: DiskPool, job: Callable[[], T], dispose: Callable[[T], object]) -> Deferred[T]:
    """As ``pool.run``, for a job whose result must be closed: see ``shielded``."""
    return shielded(pool.run(job), dispose)
