"""Threads for blocking disk calls, apart from the reactor's own pool (which resolves names).

A cold blob is some thousand jobs a second at its fastest, and what a hand-over costs is paid
while the interpreter's lock is held. So the queue is one that waits in C, and a thread is started
only where all there are have work (an empty job takes 50 us of processor, and 85 with Twisted's
own pool).

The threads give way to the reactor where the processors are too few: a digest takes its share in
slices of milliseconds, and whoever asks for something small would wait for them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

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


#: Niceness of the threads, as setpriority(2) has it: on Linux that of a thread is its own.
#: Measured beside a cold blob: a small request waits 9.4 ms at p99 for 12.2, at the same MB/s.
NICENESS: Final = 10
#: Ends the thread that takes it.
_END: Final = None
#: Jobs in turn that a thread does before it looks what else there is.
_IN_A_ROW: Final = 4

#: A job, who waits for it, and whose turn it is.
_Work: TypeAlias = "tuple[Callable[[], Any], Deferred[Any], _Turn | None]"


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
        self._jobs: SimpleQueue[_Work | None] = SimpleQueue()
        self._working: set[int] = set()
        self._running = 0
        self._open = False
        self._idle: list[Deferred[None]] = []
        self._results: deque[tuple[Deferred[Any], object]] = deque()
        self._told = False

    def start(self) -> None:
        self._open = True

    def in_turn(self) -> DiskPool:
        return _Turn(self)

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
        return self.take(job, None)

    def take(self, job: Callable[[], T], turn: _Turn | None) -> Deferred[T]:
        """As ``run``; once it is its turn."""
        if not self._open:
            return fail(StoreFailure("the disk threads are stopped"))
        done: Deferred[T] = Deferred()
        self._running += 1
        work: _Work = (job, done, turn)
        if turn is None or turn.may_begin(work):
            self._jobs.put(work)
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
        with suppress(OSError):  # whoever started us may have been nicer still
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        take, working = self._jobs.get, self._working
        while (work := take()) is not _END:
            working.add(number)
            for _ in range(_IN_A_ROW):
                work = self._done(work)
                if work is None:
                    break
            else:
                self._jobs.put(work)
                work = None
            working.discard(number)

    def _done(self, work: _Work) -> _Work | None:
        """Do it; returns what is next in its turn. Who does the last of a turn has ended it."""
        job, done, turn = work
        result: object
        try:
            result = job()
        except BaseException:  # whoever waits for the job is told
            result = Reason()
        self._results.append((done, result))
        # Before a look at what it has told already: who delivers does it the other way round.
        if not self._told:
            self._told = True
            self._reactor.callFromThread(self._deliver)
        return None if turn is None else turn.ended()

    def _deliver(self) -> None:
        """All that there is: to wake the reactor costs a hand-over of the interpreter's lock."""
        self._told = False
        while self._results:
            done, result = self._results.popleft()
            self._running -= 1
            # Of a Deferred that was cancelled, this is dropped.
            done.callback(result)
        if not self._running:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)


class _Turn(DiskPool):
    """Jobs of a pool one after the other; the thread that has ended one begins with the next.

    So whoever hands in the next before the last has ended need not hear of that first.
    """

    def __init__(self, pool: ThreadDiskPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._busy = False

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        return self._pool.take(job, self)

    def may_begin(self, work: _Work) -> bool:
        """Whether its turn has come; otherwise it is kept until then."""
        with self._lock:
            if self._busy:
                self._waiting.append(work)
                return False
            self._busy = True
            return True

    def ended(self) -> _Work | None:
        """The job under way has: the next one."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._busy = False
            return None


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
