"""From the sources to the disk: collects what came, and has one disk job at a time.

Small amounts are collected for a moment, so that a fast source makes big jobs;
a moment is milliseconds, so that a slow source's bytes are seen at once. When
too much waits for the disk the sources are paused: the only reason for which
they ever are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.byteranges import Span
from nodecache.failures import NoRoom
from nodecache.fill.assembly import Assembly, Job, Piece
from nodecache.fill.runs import Queue
from nodecache.inflight import Flight
from nodecache.limits import Limits, Timeouts
from nodecache.seams import DiskPool

#: With a piece of its own to write, a job reads again at most this many times its size.
_CATCH_UP = 2


class Watcher(Protocol):
    """Whom the writer tells."""

    def pressed(self, pressed: bool) -> None:  # noqa: FBT001 - it is the whole message
        """Too much waits for the disk, or no longer so."""
        ...

    def written(self) -> None:
        """A job is done; ``Assembly.hashed`` may have risen."""
        ...

    def full(self, failure: NoRoom) -> None:
        """The disk is full. Nothing is written until ``go_on``."""
        ...

    def broken(self, error: Exception) -> None:
        """The disk can not be written to, or we have a bug."""
        ...


#: Says whether bytes up to an offset may be written now.
Gate = Callable[[int], bool]


class Writer:
    """``total`` is recorded with the first job after it was set. ``close`` is owed."""

    def __init__(
        self,
        flight: Flight,
        assembly: Assembly,
        pool: DiskPool,
        clock: IReactorTime,
        limits: Limits,
        timeouts: Timeouts,
        watcher: Watcher,
    ) -> None:
        self.total: int | None = flight.total
        self.gate: Gate = lambda _: True
        #: Bytes of the biggest job.
        self.most = limits.job_bytes
        self._flight = flight
        self._assembly = assembly
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._flush_after = timeouts.flush
        self._watcher = watcher
        self._queue = Queue()
        self._punches: list[Span] = []
        self._wanted = limits.job_first
        self._flush: IDelayedCall | None = None
        #: Runs that have waited long enough.
        self._due = 0
        self._ending = False
        self._held = False
        self._pressed = False
        self._turning = False
        self._closed = False
        self._piece: Piece | None = None
        self._punching: Span | None = None
        self._job: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None

    @property
    def backlog(self) -> int:
        """Bytes received and not yet written."""
        return self._queue.size + (self._piece.size if self._piece else 0)

    @property
    def busy(self) -> bool:
        return self._job is not None

    def put(self, offset: int, data: bytes) -> None:
        """Bytes came."""
        self._queue.put(offset, data)
        self._press()
        self._turn()

    def end(self) -> None:
        """No more will come: write what is here without waiting for more."""
        self._ending = True
        self._turn()

    def punch(self, span: Span) -> None:
        """Give ``span`` back to the disk, before anything else is written."""
        self._punches.append(span)

    def drop_from(self, offset: int) -> None:
        """Forget what waits and lies at ``offset`` or behind it."""
        self._queue.drop_from(offset)
        self._press()

    def go_on(self) -> None:
        """There may be room again on the disk."""
        self._held = False
        self._turn()

    def nudge(self) -> None:
        """The gate may have opened."""
        self._turn()

    async def close(self) -> None:
        """Write no more; returns when the job under way is done."""
        self._closed = True
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._job is not None:
            self._idle = Deferred()
            await self._idle

    def _press(self) -> None:
        low = self._limits.disk_queue // 4
        pressed = self.backlog >= (low if self._pressed else self._limits.disk_queue)
        if pressed != self._pressed:
            self._pressed = pressed
            self._watcher.pressed(pressed)

    def _turn(self) -> None:
        """Begin a job if there is one. A loop, since the jobs of a pool may be done at once."""
        if self._turning:
            return
        self._turning = True
        try:
            while self._job is None and not (self._closed or self._held):
                job = self._next()
                if job is None:
                    break
                self._begin(job)
        finally:
            self._turning = False
        self._arm_flush()

    def _next(self) -> Job | None:
        punch = self._punching = self._punches.pop(0) if self._punches else None
        front = self._flight.progress.present.covered_from(self._assembly.hashed)
        self._piece = self._take(front)
        lag = self._assembly.hashed < front
        if self._piece is None and punch is None and not lag:
            return None
        if self._piece is None:
            return Job(punch, self.total, None, front, self._limits.job_reread)
        reread = max(_CATCH_UP * self._piece.size, self._limits.job_wanted)
        return Job(punch, self.total, self._piece, self._front_with(self._piece, front), reread)

    def _front_with(self, piece: Piece, front: int) -> int:
        if piece.offset != front:
            return front
        return self._flight.progress.present.covered_from(piece.span.stop)

    def _take(self, front: int) -> Piece | None:
        wanted = 1 if self._due or self._ending else self._wanted
        piece = self._queue.take(front, wanted, self.most)
        if piece is not None and not self.gate(piece.span.stop):
            self._queue.put_back(piece)
            return None
        if piece is not None:
            self._due = max(0, self._due - 1)
        return piece

    def _begin(self, job: Job) -> None:
        self._job = self._pool.run(lambda: self._assembly.run(job))
        self._job.addCallbacks(self._done, self._failed)

    def _done(self, _: None) -> None:
        piece, self._piece, self._job = self._piece, None, None
        if piece is not None:
            self._wanted = self._limits.job_wanted
            self._flight.arrived(piece.span)
        if not self._let_close():
            self._press()
            self._watcher.written()
            self._turn()

    def _failed(self, raised: Raised) -> None:
        piece, self._piece, self._job = self._piece, None, None
        self._held = True
        if self._let_close():
            return
        if piece is not None:
            self._queue.put_back(piece)
        if self._punching is not None:  # twice does no harm
            self._punches.insert(0, self._punching)
        error = raised.value
        if isinstance(error, NoRoom):
            self._watcher.full(error)
        else:
            assert isinstance(error, Exception)
            self._watcher.broken(error)

    def _let_close(self) -> bool:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.callback(None)
        return self._closed

    def _arm_flush(self) -> None:
        if self._queue.size and self._flush is None and not (self._due or self._closed):
            self._flush = self._clock.callLater(self._flush_after, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._due = len(self._queue)
        self._turn()
