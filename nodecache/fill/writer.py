"""From the sources to the disk: collects what came, and has one disk job at a time under way.

Small amounts are collected for a moment, so that a fast source makes big jobs;
a moment is milliseconds, so that a slow source's bytes are seen at once. When
too much waits for the disk the sources are paused: the only reason for which
they ever are.

Where bytes come in order and fast, the next job is handed in while one is under
way, so that its thread goes on without waiting for the reactor (which may be in
the middle of a read or a write). Behind a job that failed none is run: its piece
comes back, and what went wrong is told when all have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as Raised

from nodecache.byteranges import Span
from nodecache.failures import NoRoom
from nodecache.fill.assembly import Assembly, Job, Piece
from nodecache.fill.jobs import Jobs
from nodecache.fill.running import RunningDigest
from nodecache.fill.runs import Queue
from nodecache.fill.tools import Tools
from nodecache.inflight import Flight

#: Jobs that are handed in at a time.
_AHEAD = 2


class _Skipped(Exception):
    """A job before this one has failed."""


@attrs.frozen(eq=False)
class _Begun:
    """A job that was handed in; ``in_order``: its piece is what the digest waits for."""

    piece: Piece | None
    punch: Span | None
    in_order: bool


class Watcher(Protocol):
    """Whom the writer tells."""

    def pressed(self, pressed: bool) -> None:  # noqa: FBT001 - it is the whole message
        """Too much waits for the disk, or no longer so."""
        ...

    def written(self) -> None:
        """A job is done."""
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
        digest: RunningDigest,
        tools: Tools,
        watcher: Watcher,
    ) -> None:
        self.total: int | None = flight.total
        self.gate: Gate = lambda _: True
        #: Bytes of the biggest job.
        self.most = tools.limits.job_bytes
        self._flight = flight
        self._assembly = assembly
        self._digest = digest
        self._pool = tools.pool.in_turn()
        self._clock = tools.clock
        self._limits = tools.limits
        self._flush_after = tools.timeouts.flush
        self._pressure = tools.pressure
        self._pressure.enter()
        self._watcher = watcher
        self._queue = Queue()
        self._punches: list[Span] = []
        self._wanted = tools.limits.job_first
        self._flush: IDelayedCall | None = None
        #: Runs that have waited long enough.
        self._due = 0
        self._ending = False
        self._held = False
        self._pressed = False
        self._turning = False
        self._closed = False
        self._begun: deque[_Begun] = deque()
        self._jobs = Jobs()
        #: Set in a thread: those behind are skipped. ``_back`` has failed, or was skipped.
        self._stumbled = False
        self._error: Exception | None = None
        self._back: list[_Begun] = []

    @property
    def backlog(self) -> int:
        """Bytes received and not yet written, or not yet hashed."""
        writing = sum(one.piece.size for one in self._begun if one.piece)
        return self._queue.size + writing + self._digest.backlog

    @property
    def busy(self) -> bool:
        return bool(self._begun)

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
        """The gate may have opened, or more be on disk than was written here."""
        self._catch_up()
        self._turn()

    def hashed(self) -> None:
        """The digest has got further."""
        if not self._closed:
            self._catch_up()
            self._press()

    async def close(self) -> None:
        """Write no more; returns when what was handed in is done."""
        if not self._closed:
            self._pressure.leave()
        self._closed = True
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        await self._jobs.over()

    def _press(self) -> None:
        pressed = self._pressure.reached(self.backlog, paused=self._pressed)
        if pressed != self._pressed:
            self._pressed = pressed
            self._watcher.pressed(pressed)

    def _turn(self) -> None:
        """Hand in jobs if there are any. A loop, since those of a pool may be done at once."""
        if self._turning:
            return
        self._turning = True
        try:
            while len(self._begun) < _AHEAD and not (self._closed or self._held):
                begun = self._behind(self._begun[-1]) if self._begun else self._first()
                if begun is None:
                    break
        finally:
            self._turning = False
        self._arm_flush()

    def _first(self) -> _Begun | None:
        """Of no other under way; None where there is nothing to do."""
        punch = self._punches.pop(0) if self._punches else None
        front = self._front()
        piece = self._take(front)
        if piece is None and punch is None:
            return None
        in_order = piece is not None and piece.offset == front
        return self._begin(Job(punch, self.total, piece), in_order=in_order)

    def _front(self) -> int:
        """Up to here all is on disk."""
        return self._flight.progress.present.covered_from(self._digest.front)

    def _catch_up(self) -> None:
        """What the digest was not handed from memory, it reads again."""
        self._digest.catch_up(self._front())

    def _behind(self, last: _Begun) -> _Begun | None:
        """Straight behind one that is under way; None where another has to be looked at first."""
        if not last.in_order or last.piece is None or self._punches:
            return None
        stop = last.piece.span.stop
        piece = self._take(stop) if self._queue.is_one_from(stop) else None
        return None if piece is None else self._begin(Job(None, self.total, piece), in_order=True)

    def _take(self, front: int) -> Piece | None:
        wanted = 1 if self._due or self._ending else self._wanted
        piece = self._queue.take(front, wanted, self.most)
        if piece is not None and not self.gate(piece.span.stop):
            self._queue.put_back(piece)
            return None
        if piece is not None:
            self._due = max(0, self._due - 1)
        return piece

    def _begin(self, job: Job, *, in_order: bool) -> _Begun:
        begun = _Begun(job.piece, job.punch, in_order)
        self._begun.append(begun)
        self._jobs.began()
        self._pool.run(lambda: self._run(job)).addCallbacks(self._done, self._failed)
        return begun

    def _run(self, job: Job) -> None:
        """In a thread."""
        if self._stumbled:
            raise _Skipped
        try:
            self._assembly.run(job)
        except BaseException:
            self._stumbled = True
            raise

    def _done(self, _: None) -> None:
        piece = self._begun.popleft().piece
        if piece is not None:
            self._wanted = self._limits.job_wanted
            self._flight.arrived(piece.span)
            self._digest.take(piece)
            self._catch_up()
        self._jobs.ended()
        if not self._closed:
            self._press()
            self._watcher.written()
            self._turn()

    def _failed(self, raised: Raised) -> None:
        self._back.append(self._begun.popleft())
        self._held = True
        if self._error is None:
            assert isinstance(raised.value, Exception)
            self._error = raised.value
        self._jobs.ended()
        if self._closed or self._begun:
            return
        self._take_back()
        self._stumbled, error, self._error = False, self._error, None
        if isinstance(error, NoRoom):
            self._watcher.full(error)
        else:
            self._watcher.broken(error)

    def _take_back(self) -> None:
        while self._back:
            begun = self._back.pop()
            if begun.piece is not None:
                self._queue.put_back(begun.piece)
            if begun.punch is not None:  # twice does no harm
                self._punches.insert(0, begun.punch)

    def _arm_flush(self) -> None:
        if self._queue.size and self._flush is None and not (self._due or self._closed):
            self._flush = self._clock.callLater(self._flush_after, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._due = len(self._queue)
        self._turn()
