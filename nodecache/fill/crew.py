"""The connections of one fill: which segment next, and how many of them.

Each worker takes a segment, asks for what is missing of it, and pours the
answer; then the next, until none is left. What an answer turns out to be is
up to the source: a part, or a stream of the whole, which then is all the fill
needs, so that there are no other workers beside it.

A broken body is taken up again by its own worker, as long as the patience with
that segment lasts. A worker whose *question* is refused while others are at
work leaves instead: perhaps this source does not like many connections. The
last one does not leave; what it can not fetch fails the fill.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Raised

from nodecache.byteranges import RangeSet, Span
from nodecache.events import FillResumed
from nodecache.failures import UpstreamFailure
from nodecache.fill.answers import Answer
from nodecache.fill.connections import Line
from nodecache.fill.names import Sources
from nodecache.fill.patience import Patience
from nodecache.fill.ramp import Ramp
from nodecache.fill.worker import Worker
from nodecache.inflight import Flight
from nodecache.limits import SEGMENT, Limits, Timeouts
from nodecache.seams import BlobBody, Observe
from nodecache.segments import next_segment, remaining_span, segment_of


class Intake(Protocol):
    """Where a crew's bytes go, and who hears of its end."""

    def received(self, offset: int, data: bytes) -> None:
        """New bytes, each of them once."""
        ...

    def sized(self, total: int) -> None:
        """The size of the blob became known."""
        ...

    def all_received(self) -> None:
        """Every byte has come."""
        ...

    def broken(self, error: Exception) -> None:
        """The sources give no more."""
        ...


class Crew:
    """``accepted`` are the bytes that came, on disk or on their way there.

    ``most`` is the largest number of connections at a time, ``resumes`` how
    often one was taken up again. The places in ``line`` of all its workers
    are the crew's to give back, that of the first one among them.
    """

    def __init__(
        self,
        flight: Flight,
        sources: Sources,
        line: Line,
        intake: Intake,
        clock: IReactorTime,
        observe: Observe,
        limits: Limits,
        timeouts: Timeouts,
    ) -> None:
        self.accepted = RangeSet(flight.progress.present.spans())
        self.total = flight.total
        self.pressed = False
        self.most = 0
        self.resumes = 0
        self._flight = flight
        self._sources = sources
        self._line = line
        self._intake = intake
        self._clock = clock
        self._observe = observe
        self._limits = limits
        self._timeouts = timeouts
        self._ramp = Ramp(timeouts.ramp, limits.ramp_bytes)
        self._workers: dict[Worker, None] = {}
        self._patience: dict[int, Patience] = {}
        self._in_order = False
        self._told_all = False

    # What the fill asks and says.

    @property
    def whole(self) -> bool:
        """Whether every byte has come."""
        return self.total is not None and self.accepted.is_whole(self.total)

    def first_span(self) -> Span:
        """What to ask for first."""
        span = self.span_for(self._worker())
        assert span is not None, "there is nothing to ask for"
        return span

    def begin(self, body: BlobBody, asked: Span, answer: Answer) -> None:
        """Start with the first connection, whose headers are in."""
        self._add(self._worker(segment_of(asked.start)), body, answer)

    def press(self, pressed: bool) -> None:  # noqa: FBT001 - it is the whole message
        """Pause or resume the sources."""
        self.pressed = pressed
        self._ramp.disturbed()
        for patience in self._patience.values():
            patience.rested(self._clock.seconds())
        for pour in [worker.pour for worker in self._workers if worker.pour is not None]:
            if pressed:
                pour.pause()
            else:
                pour.resume()

    def straighten(self, kept: Iterable[Span]) -> int:
        """From now on bytes come in order only, over one connection.

        Of what was accepted out of order only ``kept`` is not asked for
        again. Returns the offset from which on bytes come.
        """
        front = self.accepted.covered_from(0)
        self.accepted = RangeSet([Span(0, front), *kept])
        self._in_order = True
        self._ramp.close()
        workers = list(self._workers)
        keep = next((each for each in workers if each.pour and each.pour.leads_to(front)), None)
        if keep is None and workers:
            # Its place is for the one that takes over.
            workers[0].place = False
        for worker in workers:
            if worker is not keep:
                worker.dismiss()
        if keep is None and workers:
            self._add(self._worker())
        return front

    def stop(self) -> None:
        """Close every connection; idempotent."""
        for worker in list(self._workers):
            worker.dismiss()

    # As the foreman of its workers.

    @property
    def alone(self) -> bool:
        return sum(not worker.dismissed for worker in self._workers) == 1

    def span_for(self, worker: Worker) -> Span | None:
        if self.whole:
            return None
        if self.total is None or self._in_order:
            worker.segment = segment_of(self.accepted.covered_from(0))
        elif worker.segment is None or self._is_whole(worker.segment, self.total):
            self._patience.pop(-1 if worker.segment is None else worker.segment, None)
            worker.segment = None if self._should_yield() else self._next_segment(self.total)
        if worker.segment is None:
            return None
        if self.total is None:
            return Span(self.accepted.covered_from(0), (worker.segment + 1) * SEGMENT)
        return remaining_span(worker.segment, self.total, self.accepted)

    def _should_yield(self) -> bool:
        """Another fill waits for its first connection, and this one has several."""
        return self._line.crowded and len(self._workers) > 1

    def _is_whole(self, segment: int, total: int) -> bool:
        return not remaining_span(segment, total, self.accepted).size

    def _next_segment(self, total: int) -> int | None:
        taken = {each.segment for each in self._workers if each.segment is not None}
        return next_segment(total, self.accepted, taken, self._flight.wanted())

    async def fetch(self, span: Span, patience: Patience) -> BlobBody:
        deadline = patience.deadline(self._clock.seconds(), self._timeouts.answer)
        return await self._sources.fetch(span, deadline)

    def patience_with(self, worker: Worker) -> Patience:
        assert worker.segment is not None
        if worker.segment not in self._patience:
            self._patience[worker.segment] = Patience(
                self._limits.resumes,
                self._timeouts.stall_total,
                self._timeouts.resume_pause,
                self._clock.seconds(),
            )
        return self._patience[worker.segment]

    def learn(self, total: int) -> None:
        if self.total is None:
            self.total = total
            self._intake.sized(total)
            self._tell_if_all()

    def take(self, worker: Worker, offset: int, data: bytes) -> None:
        gaps = self.accepted.missing(Span(offset, offset + len(data)))
        for gap in gaps:
            self.accepted.add(gap)
        count = sum(gap.size for gap in gaps)
        self._flight.fetched += len(data)
        if count:
            self._brought(worker, count)
        for gap in gaps:
            part = data if gap.size == len(data) else data[gap.start - offset : gap.stop - offset]
            self._intake.received(gap.start, part)
        self._tell_if_all()

    def _brought(self, worker: Worker, count: int) -> None:
        now = self._clock.seconds()
        self.patience_with(worker).progressed(now)
        if worker.fresh:
            worker.fresh = False
            self._ramp.joined()
        if self._ramp.received(count, now):
            self._grow()

    def lacks(self, start: int, stop: int | None) -> bool:
        return stop is None or not self.accepted.contains(Span(start, max(start, stop)))

    def unwelcome(self) -> None:
        self._ramp.close()

    def resumed(self, offset: int, failure: UpstreamFailure) -> None:
        self.resumes += 1
        self._ramp.disturbed()
        self._observe(
            FillResumed(
                digest=str(self._flight.digest),
                offset=self.accepted.covered_from(offset),
                reason=str(failure),
            )
        )

    def _tell_if_all(self) -> None:
        if self.whole and not self._told_all:
            self._told_all = True
            self._intake.all_received()

    # Workers.

    def _worker(self, segment: int | None = None) -> Worker:
        return Worker(self, self._clock, segment)

    def _grow(self) -> None:
        """One more connection would pay."""
        if (
            self.total is None
            or self.pressed
            or len(self._workers) >= self._limits.connections_per_blob
            or self._next_segment(self.total) is None
            or not self._line.enter_now()
        ):
            return
        self._ramp.added()
        self._add(self._worker())

    def _add(
        self, worker: Worker, body: BlobBody | None = None, answer: Answer | None = None
    ) -> None:
        if answer is not None and answer.stream:
            self._ramp.close()
        self._workers[worker] = None
        self._count()
        if body is not None:
            self.patience_with(worker)  # its time runs from here
        worker.start(body, answer).addBoth(self._ended, worker)

    def _count(self) -> None:
        self._flight.connections = len(self._workers)
        self.most = max(self.most, len(self._workers))

    def _ended(self, result: object, worker: Worker) -> None:
        del self._workers[worker]
        self._count()
        if worker.place:
            self._line.leave()
        self._ramp.left()
        if isinstance(result, Raised) and not worker.dismissed:
            assert isinstance(result.value, Exception)
            self._intake.broken(result.value)
