"""Threads for blocking disk calls, apart from the reactor's own pool (which resolves names).

A cold blob is some thousand jobs a second at its fastest, and what a hand-over costs is paid
while the interpreter's lock is held. So the queue is one that waits in C, and a thread is started
only where all there are have work (an empty job takes 50 us of processor, and 85 with Twisted's
own pool).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure as Reason

from nodecache.failures import StoreFailure
from nodecache.seams import DiskPool

T = TypeVar("T")


@attrs.frozen
class Load:
    """``most`` threads there may be, ``busy`` of them work, ``waiting`` jobs have none yet."""

    most: int
    busy: int
    waiting: int


#: Ends the thread that takes it.
_END: Final = None


class ThreadDiskPool(DiskPool):
    """Up to ``threads`` threads, started as they are needed.

    Jobs start in the order in which they came. After ``stop`` every ``run``
    fails with StoreFailure.
    """

    def __init__(self, reactor: IReactorFromThreads, threads: int, name: str = "disk") -> None:
        self._reactor = reactor
        self._most = threads
        self._name = name
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]] | None] = SimpleQueue()
        self._working: set[int] = set()
        self._running = 0
        self._open = False
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        self._open = True

    async def stop(self) -> None:
        """Take no more jobs, wait for those begun or in line, end the threads; idempotent."""
        self._open = False
        if self._running:
            idle: Deferred[None] = Deferred(self._idle.remove)
            self._idle.append(idle)
            await idle
        ending, self._threads = self._threads, []
        for _ in ending:
            self._jobs.put(_END)
        for thread in ending:
            thread.join()

    @property
    def load(self) -> Load:
        """Jobs that are done and whose result is not yet delivered count as waiting."""
        busy = len(self._working)
        return Load(self._most, busy, max(0, self._running - busy))

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        if not self._open:
            return fail(StoreFailure("the disk threads are stopped"))
        done: Deferred[T] = Deferred()
        self._running += 1
        self._jobs.put((job, done))
        if len(self._threads) < min(self._running, self._most):
            self._hire()
        return done

    def _hire(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(
            target=self._work, args=(number,), name=f"{self._name}-{number}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _work(self, number: int) -> None:
        """What each thread does."""
        take, working = self._jobs.get, self._working
        call = self._reactor.callFromThread
        while (work := take()) is not _END:
            job, done = work
            working.add(number)
            result: object
            try:
                result = job()
            except BaseException:  # whoever waits for the job is told
                result = Reason()
            working.discard(number)
            call(self._deliver, done, result)
            # A thread that waits holds on to nothing.
            del work, job, done, result

    def _deliver(self, done: Deferred[Any], result: object) -> None:
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
