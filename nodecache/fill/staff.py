"""The workers of one fill: how many there are, and what they were hired for.

Regular ones fill the blob for this node. Each has a place in the node's line,
and there are as many as the fill's *width* says at once, or, where that is
one, as many as the ramp finds to pay. Lane workers fetch what peers wait for:
beyond the width, without a place in line, and at once, so that two nodes whose
workers all wait for each other still serve each other. There are at most
``LANES`` of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.python.failure import Failure as Raised

from nodecache.fill.answers import Answer
from nodecache.fill.ramp import Ramp
from nodecache.fill.tools import Tools
from nodecache.fill.worker import Worker
from nodecache.inflight import Flight
from nodecache.limits import LANES
from nodecache.seams import BlobBody


class Staff:
    """``most`` is the largest number of workers at a time.

    ``new`` makes a regular worker, ``work`` tells whether there is something
    for one more, ``failed`` hears of a worker's failure. The places in line of
    all workers are the staff's to give back.
    """

    def __init__(
        self,
        flight: Flight,
        tools: Tools,
        new: Callable[[], Worker],
        work: Callable[[], bool],
        failed: Callable[[Exception], None],
    ) -> None:
        self.most = 0
        self._width = 1
        self._pressed = self._hiring = self._closed = False
        self._flight = flight
        self._line = tools.connections
        self._limit = tools.limits.connections_per_blob
        self._new = new
        self._work = work
        self._failed = failed
        self._ramp = Ramp(tools.timeouts.ramp, tools.limits.ramp_bytes, tools.limits.ramp_enough)
        self._workers: dict[Worker, None] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(tuple(self._workers))

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def alone(self) -> bool:
        return sum(not worker.dismissed for worker in self._workers) == 1

    @property
    def regulars(self) -> int:
        return sum(not worker.lane for worker in self._workers)

    @property
    def may_hire_lane(self) -> bool:
        return not self._closed and len(self._workers) - self.regulars < LANES

    @property
    def should_yield(self) -> bool:
        """Another fill waits for its first connection, and this one has several."""
        return self._line.crowded and self.regulars > 1

    def taken(self) -> set[int]:
        """The segments that are being fetched."""
        return {segment for worker in self._workers for segment in worker.segments}

    def at(self, segment: int) -> list[Worker]:
        """Who fetches ``segment``."""
        return [worker for worker in self._workers if segment in worker.segments]

    # Hiring.

    def widen(self, width: int) -> None:
        """Have ``width`` regular workers from now on, and one in any case."""
        self._width = max(1, width)
        if self._width > 1:
            self._ramp.close()
        if not self.regulars and not self._closed and self._work():
            self.add(self._regular(place=self._line.enter_now()))
        self.refill()

    def refill(self) -> None:
        """Hire what lacks of the width, as far as there are places and work."""
        if self._hiring:
            # One that is being hired looks whether more are needed: so does the loop below.
            return
        self._hiring = True
        try:
            while 0 < self.regulars < self._width and self._may_hire():
                self.add(self._regular(place=True))
        finally:
            self._hiring = False

    def _may_hire(self) -> bool:
        idle = self._pressed or self._closed
        return not idle and self._work() and self._line.enter_now()

    def _regular(self, *, place: bool) -> Worker:
        worker = self._new()
        worker.place = place
        return worker

    def add(
        self, worker: Worker, body: BlobBody | None = None, answer: Answer | None = None
    ) -> None:
        """Let ``worker`` work, beginning with ``body`` if there is one."""
        self._workers[worker] = None
        self._count()
        if worker.lane:
            self._ramp.disturbed()
        worker.start(body, answer).addBoth(self._ended, worker)

    def settle(self) -> None:
        """Hire no more: they are refused, or bring nothing."""
        self._width = 1
        self._ramp.close()

    def dismiss(self) -> None:
        """Close every connection, and hire nobody any more; idempotent."""
        self._closed = True
        for worker in self:
            worker.dismiss()

    def _count(self) -> None:
        self._flight.connections = len(self._workers)
        self.most = max(self.most, len(self._workers))

    def _ended(self, result: object, worker: Worker) -> None:
        del self._workers[worker]
        self._count()
        if worker.place:
            self._line.leave()
        if worker.lane:
            self._ramp.disturbed()
        else:
            self._ramp.left()
        if isinstance(result, Raised) and not worker.dismissed:
            # The fill is at its end, even if it has yet to find out.
            self._closed = True
            assert isinstance(result.value, Exception)
            self._failed(result.value)

    # What the ramp is told.

    def press(self, pressed: bool) -> None:  # noqa: FBT001 - it is the whole message
        """Too much waits for the disk, or no longer so."""
        self._pressed = pressed
        self._ramp.disturbed()

    def disturbed(self) -> None:
        """A connection was taken up again."""
        self._ramp.disturbed()

    def brought(self, worker: Worker, count: int, now: float) -> None:
        """``worker`` brought ``count`` new bytes."""
        if worker.fresh:
            worker.fresh = False
            if not worker.lane:
                self._ramp.joined()
        if self._ramp.received(count, now):
            self._hire_more()

    def _hire_more(self) -> None:
        for _ in range(self._ramp.due(self.regulars)):
            if self._ramp.closed or self.regulars >= self._limit or not self._may_hire():
                break
            self._ramp.added()
            self.add(self._regular(place=True))
