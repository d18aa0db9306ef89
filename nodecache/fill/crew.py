"""The connections of one fill: what has come, and which segment next.

Each worker takes a segment, asks for what is missing of it, and pours the
answer; then the next, until none is left for it. How many there are, and what
for, ``staff`` tells. What an answer turns out to be is up to the source: a
part, or a stream of the whole, which then is all the fill needs, so that there
are no other workers beside it.

A broken body is taken up again by its own worker, as long as the patience with
that segment lasts. A worker whose *question* is refused while others are at
work leaves instead: perhaps this source does not like many connections. The
last one does not leave; what it can not fetch fails the fill. A peer's failure
is neither: whom to ask next, the source knows.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodecache.byteranges import RangeSet, Span
from nodecache.events import FillResumed
from nodecache.failures import UpstreamFailure
from nodecache.fill.allotment import Allotment
from nodecache.fill.answers import Answer
from nodecache.fill.demand import Demand
from nodecache.fill.intake import Intake
from nodecache.fill.names import Sources
from nodecache.fill.patience import Patience, Patiences
from nodecache.fill.senders import Senders
from nodecache.fill.staff import Staff
from nodecache.fill.tools import Tools
from nodecache.fill.worker import Worker
from nodecache.inflight import Flight
from nodecache.limits import SEGMENT
from nodecache.seams import BlobBody
from nodecache.segments import segment_of


class Crew:
    """``accepted`` are the bytes that came, on disk or on their way there.

    ``stream``: the source gives the whole only, in order. ``resumes`` is how
    often a connection was taken up again, ``senders`` which peers sent what.
    """

    def __init__(
        self, flight: Flight, sources: Sources, intake: Intake, demand: Demand, tools: Tools
    ) -> None:
        self.accepted = RangeSet(flight.progress.present.spans())
        self.total = flight.total
        self.pressed = False
        self.stream = False
        self.resumes = 0
        self.senders = Senders()
        self.staff = Staff(flight, tools, self._worker, self._has_work, intake.broken)
        self._flight = flight
        self._sources = sources
        self._intake = intake
        self._demand = demand
        self._tools = tools
        self._clock = tools.clock
        self._patience = Patiences(
            tools.limits.resumes, tools.timeouts.stall_total, tools.timeouts.resume_pause
        )
        self._allotment = Allotment(self, flight, self.staff, sources, demand, tools)
        self._begun = False
        self.in_order = False
        self._told_all = False

    # What the fill asks and says.

    @property
    def whole(self) -> bool:
        """Whether every byte has come."""
        return self.total is not None and self.accepted.is_whole(self.total)

    @property
    def everything(self) -> bool:
        """Whether all of the blob is to be fetched."""
        return self._demand.local or self.stream

    def first_span(self) -> Span | None:
        """What to ask for first; None when nothing is wanted that is not here."""
        if self.total is None and not self.everything:
            index = next(iter(self._demand), 0)
            return Span(index * SEGMENT, (index + 1) * SEGMENT)
        return self.span_for(self._worker(lane=not self.everything))

    def begin(self, body: BlobBody, asked: Span, answer: Answer, *, place: bool) -> None:
        """Start with the first connection, whose headers are in; ``place``: it has one in line."""
        self.stream = answer.stream
        self.senders.vouched(body.peer, asked.start)
        first = segment_of(body.start if answer.stream else asked.start)
        worker = self._worker(first, lane=not self.everything)
        worker.place = place
        self.patience_with(worker)  # its time runs from here
        if answer.stream:
            self.staff.settle()
        self.staff.add(worker, body, answer)
        self.go_on()

    def go_on(self) -> None:
        """Let as many work as the blob is worth, and as peers wait for."""
        self._begun = True
        if self.everything and self.total is not None and not (self.stream or self.in_order):
            self.staff.widen(self._tools.width(self._flight.digest, self.total))
        self.serve_peers()

    def serve_peers(self) -> None:
        """Fetch what ``demand`` names, at once; there is room for it."""
        if not self._begun or self.total is None or self.stream or self.in_order:
            return
        # Each of them once: a worker that is refused at once has left already.
        for segment in list(self._demand.served()):
            if self.staff.may_hire_lane and self._allotment.is_open(segment):
                self.staff.add(self._worker(segment, lane=True))

    def press(self, pressed: bool) -> None:  # noqa: FBT001 - it is the whole message
        """Pause or resume the sources."""
        self.pressed = pressed
        self.staff.press(pressed)
        self._patience.rested(self._clock.seconds())
        for pour in [worker.pour for worker in self.staff if worker.pour is not None]:
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
        self.in_order = True
        self.staff.settle()
        workers = list(self.staff)
        keep = next((each for each in workers if each.pour and each.pour.leads_to(front)), None)
        successor = self._worker()
        if keep is None and workers:
            # Its place is for the one that takes over.
            successor.place, workers[0].place = workers[0].place, False
        for worker in workers:
            if worker is not keep:
                worker.dismiss()
        if keep is not None:
            keep.lane, keep.part = False, None
        elif workers:
            self.staff.add(successor)
        return front

    def stop(self) -> None:
        """Close every connection; idempotent."""
        self._allotment.halving.stop()
        self.staff.dismiss()

    # As the foreman of its workers.

    @property
    def alone(self) -> bool:
        return self.staff.alone

    @property
    def takes_streams(self) -> bool:
        return self.everything and self.staff.alone

    def span_for(self, worker: Worker) -> Span | None:
        if self.whole:
            return None
        before = worker.segment
        span = self._allotment.span_for(worker)
        if worker.segment != before:
            self._patience.forget(before)
        return span

    def _has_work(self) -> bool:
        return self._allotment.has_work

    async def fetch(self, worker: Worker, span: Span) -> BlobBody | None:
        if worker.beside is not None:
            return await self._allotment.halving.fetch(worker, span)
        patience = self.patience_with(worker)
        began, answer = self._clock.seconds(), self._tools.timeouts.answer
        try:
            return await self._sources.fetch(span, patience.deadline(began, answer))
        finally:
            now = self._clock.seconds()
            if now - began > answer:
                # Longer than upstream is waited for: its turn with the peers had not come.
                patience.rested(now)

    def patience_with(self, worker: Worker) -> Patience:
        assert worker.segment is not None
        return self._patience.with_segment(worker.segment, self._clock.seconds())

    def learn(self, total: int) -> None:
        if self.total is None:
            self.total = total
            self._intake.sized(total)
            self._tell_if_all()

    def take(self, worker: Worker, offset: int, data: bytes) -> None:
        gaps = self.accepted.missing(Span(offset, offset + len(data)))
        peer = worker.pour.peer if worker.pour else None
        for gap in gaps:
            self.accepted.add(gap)
            self.senders.brought(peer, gap)
        count = sum(gap.size for gap in gaps)
        self._flight.brought(len(data), peer)
        if count:
            now = self._clock.seconds()
            self.patience_with(worker).progressed(now)
            self.staff.brought(worker, count, now)
        for gap in gaps:
            part = data if gap.size == len(data) else data[gap.start - offset : gap.stop - offset]
            self._intake.received(gap.start, part)
        self._tell_if_all()

    def lacks(self, start: int, stop: int | None) -> bool:
        return stop is None or not self.accepted.contains(Span(start, max(start, stop)))

    def unwelcome(self) -> None:
        self.staff.settle()

    def resumed(self, offset: int, failure: UpstreamFailure) -> None:
        self.resumes += 1
        self.staff.disturbed()
        self._tools.observe(
            FillResumed(
                digest=str(self._flight.digest),
                offset=self.accepted.covered_from(offset),
                reason=str(failure),
            )
        )

    def _tell_if_all(self) -> None:
        if self.whole and not self._told_all:
            self._told_all = True
            self._allotment.halving.stop()
            self._intake.all_received()

    def _worker(self, segment: int | None = None, *, lane: bool = False) -> Worker:
        return Worker(self, self._clock, segment, lane=lane, place=not lane)
