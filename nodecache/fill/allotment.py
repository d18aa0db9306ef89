"""Which bytes each worker of a fill is to bring."""

from __future__ import annotations

from typing import Protocol

from nodecache.byteranges import RangeSet, Span
from nodecache.fill.demand import Demand
from nodecache.fill.halving import Halving
from nodecache.fill.names import Sources
from nodecache.fill.staff import Staff
from nodecache.fill.stride import row, stride
from nodecache.fill.tools import Tools
from nodecache.fill.worker import Worker
from nodecache.inflight import Flight
from nodecache.limits import SEGMENT
from nodecache.segments import (
    next_segment,
    remaining,
    remaining_of,
    remaining_span,
    segment_count,
    segment_of,
)


class Standing(Protocol):
    """How far the fill is."""

    @property
    def accepted(self) -> RangeSet: ...

    @property
    def total(self) -> int | None: ...

    @property
    def everything(self) -> bool:
        """Whether all of the blob is to be fetched."""
        ...

    @property
    def in_order(self) -> bool:
        """Whether bytes come in order only, over one connection."""
        ...


class Allotment:
    """A worker keeps what it was given until it is here; then it is given something else.

    Lane workers are given what peers wait for, regular ones all else; where
    that has been given out, half of what another has yet to bring
    (``halving``, which is to be stopped).
    """

    def __init__(
        self,
        fill: Standing,
        flight: Flight,
        staff: Staff,
        sources: Sources,
        demand: Demand,
        tools: Tools,
    ) -> None:
        self.halving = Halving(staff, sources, tools, self._rest_of)
        self._fill = fill
        self._flight = flight
        self._staff = staff
        self._demand = demand
        self._tools = tools

    def span_for(self, worker: Worker) -> Span | None:
        """What it is to ask for, and ``worker.segment`` set to it; None when there is nothing."""
        total, accepted = self._fill.total, self._fill.accepted
        if total is None or self._fill.in_order:
            worker.segment = segment_of(accepted.covered_from(0))
        elif not self._rest_of(worker).size:
            self._assign(worker, total)
            if not worker.lane:
                self._staff.refill()
        if worker.segment is None:
            return None
        if total is None:
            return Span(accepted.covered_from(0), (worker.segment + 1) * SEGMENT)
        return self._rest_of(worker)

    @property
    def has_work(self) -> bool:
        """For one more regular worker: what peers wait for is not theirs."""
        if self._fill.total is None or self._fill.in_order or not self._fill.everything:
            return False
        some = self._may_have_segments(self._staff.regulars + 1)
        if some and self._next_segment(self._fill.total) is not None:
            return True
        return self._may_halve and self.halving.has_work

    def is_open(self, segment: int) -> bool:
        """Whether it lacks bytes, and nobody fetches them."""
        assert self._fill.total is not None
        # Whoever did not know the size may have asked for more than there is.
        if segment >= segment_count(self._fill.total) or self._staff.at(segment):
            return False
        return remaining_span(segment, self._fill.total, self._fill.accepted).size > 0

    def _rest_of(self, worker: Worker) -> Span:
        if worker.part is not None:
            return remaining_of(worker.part, self._fill.accepted)
        return remaining(worker.segments, self._fill.total or 0, self._fill.accepted)

    def _assign(self, worker: Worker, total: int) -> None:
        now = self._tools.clock.seconds()
        count = self._count_for(worker, now)
        worker.segment = worker.part = None
        index = self._next_for(worker, total)
        worker.segments = row(index, count, total, self._fill.accepted, self._staff.taken())
        worker.since = now
        if not worker.lane and self._may_halve:
            if index is None:
                self.halving.assign(worker)
            self.halving.watch()

    def _count_for(self, worker: Worker, now: float) -> int:
        """So many segments it is given at a time."""
        brought = len(worker.segments) * SEGMENT
        shares = worker.lane or not self._fill.everything or self._spreads
        if not brought or not self._staff.alone or shares:
            return 1
        return stride(brought, now - worker.since)

    def _next_for(self, worker: Worker, total: int) -> int | None:
        if worker.lane:
            segment = next(filter(self.is_open, self._demand.served()), None)
            if segment is not None or not self._fill.everything or self._staff.regulars:
                return segment
            # The regular ones left while the rest was in the hands of lane workers.
            worker.lane = False
        if self._staff.should_yield or not self._may_have_segments(self._staff.regulars):
            return None
        return self._next_segment(total)

    def _may_have_segments(self, workers: int) -> bool:
        """Whether so many do not ask peers for more segments than a blob's fill may."""
        spread = self._tools.spread(self._flight.digest)
        return spread is None or workers <= spread.at_a_time

    def _next_segment(self, total: int) -> int | None:
        return next_segment(
            total,
            self._fill.accepted,
            self._staff.taken(),
            self._flight.wanted(),
            spread=self._tools.spread(self._flight.digest),
        )

    @property
    def _spreads(self) -> bool:
        return self._tools.spread(self._flight.digest) is not None

    @property
    def _may_halve(self) -> bool:
        """Only peers send halves, and who waits for a first connection goes before them."""
        whole = self._fill.everything and not self._fill.in_order
        return whole and self._spreads and not self._staff.should_yield
