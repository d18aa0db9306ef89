"""What one fill lends to peers, and for how long it lives for them alone.

A loan is a reader and, where bytes had to be fetched for it, a demand: as long
as it stands, the segment is one that the crew fetches, beyond all that it
fetches for this node. A fill that only peers asked for ends when nobody has a
loan, or waits for one, for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from twisted.internet.interfaces import IDelayedCall

from nodecache.byteranges import Span
from nodecache.failures import Failure, UpstreamFailure
from nodecache.fill.crew import Crew
from nodecache.fill.demand import Demand
from nodecache.fill.landing import Landing
from nodecache.fill.loans import FlightLoan
from nodecache.fill.tools import Tools
from nodecache.fill.worker import Worker
from nodecache.inflight import Flight, Status
from nodecache.results import Loan
from nodecache.segments import segment_of


class Lending:
    """``crew`` is None until there is one. ``lapsed`` is called when nobody asks any more.

    ``close`` is owed.
    """

    def __init__(
        self,
        flight: Flight,
        demand: Demand,
        landing: Landing,
        tools: Tools,
        lapsed: Callable[[], None],
    ) -> None:
        self.crew: Crew | None = None
        self._flight = flight
        self._demand = demand
        self._landing = landing
        self._clock = tools.clock
        self._linger = tools.timeouts.peer_linger
        self._moment = tools.timeouts.peer_silence
        self._lapsed = lapsed
        self._timer: IDelayedCall | None = None
        self._over = False

    # Who wants something.

    def enter(self) -> None:
        """Somebody wants something of the fill; owes one ``leave``."""
        self._demand.interest += 1
        self._disarm()

    def leave(self) -> None:
        self._demand.interest -= 1
        if self._demand.idle and not self._over:
            self._timer = self._clock.callLater(self._linger, self._lapse)

    def close(self) -> None:
        """The fill is at its end; loans go on as far as their readers do."""
        self._over = True
        self._disarm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lapse(self) -> None:
        self._timer = None
        self._lapsed()

    # Loans.

    async def lend(
        self, span: Span, *, fetch: bool, asker: str, patient: bool = False, wait: float = 0.0
    ) -> Loan | None:
        """See ``Fills.lend``. ``patient``: wait for headers even where nothing is to be fetched."""
        self.enter()
        try:
            if fetch:
                return await self._fetched(span, asker)
            if patient:
                await self._opened()
            if wait > 0:
                await self._first_bytes(span, asker, wait)
            if not self.has(span, asker):
                return None
            return self._loan(span, fetched=False, demanded=False)
        finally:
            self.leave()

    async def _opened(self) -> None:
        """Whether they came is seen from what there is then."""
        try:
            await self._flight.opened()
        except UpstreamFailure:
            return

    async def _first_bytes(self, span: Span, asker: str, wait: float) -> None:
        """Returns when there are some of ``span``, none are to come, or time is over."""

        def is_over() -> bool:
            return self.has(span, asker) or not self.is_getting(span, asker)

        waiting = self._flight.when(is_over)
        with suppress(Failure):
            await waiting.addTimeout(wait, self._clock, lambda _result, _seconds: None)

    async def _fetched(self, span: Span, asker: str) -> Loan | None:
        """Raises UpstreamFailure, StoreFailure."""
        segment = segment_of(span.start)
        if self._comes_from(asker, segment):
            return None
        fresh = not self._is_under_way(span)
        self._demand.add(segment)
        try:
            await self._flight.sized()
            total = self._flight.total
            if total is None or not begins_in(span, total):
                return None
            if not self._demand.local and total:
                await self._landing.reserve_segment(segment, total)
            if self.crew is not None:
                self.crew.serve_peers()
            return self._loan(span, fetched=fresh, demanded=True)
        finally:
            self._demand.drop(segment)

    def _loan(self, span: Span, *, fetched: bool, demanded: bool) -> Loan:
        """Raises the fill's Failure."""
        reader = self._flight.lent(span.start)
        segment = segment_of(span.start)
        self.enter()
        if demanded:
            self._demand.add(segment)

        def close() -> None:
            reader.close()
            if demanded:
                self._demand.drop(segment)
            self.leave()

        assert self._flight.total is not None
        ranged = self.crew is None or not self.crew.stream
        return FlightLoan(
            reader,
            self._flight.total,
            ranged=ranged,
            fetched=fetched,
            alive=lambda: self._alive(span),
            close=close,
        )

    # How it stands with a span.

    def has(self, span: Span, asker: str) -> bool:
        """Whether ``span`` is here, or some of it and the rest flows, and not from ``asker``."""
        total = self._flight.total
        if self._flight.status is Status.ASKING or total is None or not begins_in(span, total):
            return False
        if self.crew is None or not self._flight.joinable:
            return False
        if self._is_here(span):
            return True
        segment = segment_of(span.start)
        if self._comes_from(asker, segment):
            return False
        # Whoever has no byte more than the asker may be waiting for it, through others:
        # an owner that took its word would wait in a ring in which nobody asks upstream.
        ahead = self.crew.accepted.covered_from(span.start) > span.start
        return any(ahead or each.from_upstream for each in self._at(segment))

    def is_getting(self, span: Span, asker: str) -> bool:
        """Whether its segment is looked for, or is being sent, and not by ``asker``."""
        segment = segment_of(span.start)
        if self._flight.status is Status.ASKING:
            return segment == 0 or segment in self._demand
        return bool(self._at(segment)) and not self._comes_from(asker, segment)

    def _is_here(self, span: Span) -> bool:
        """Whether all that the blob has of ``span`` has come; it may yet wait for the disk."""
        total = self._flight.total
        if self.crew is None or total is None:
            return False
        stop = max(span.start, min(span.stop, total))
        return self.crew.accepted.contains(Span(span.start, stop))

    def _at(self, segment: int) -> list[Worker]:
        """Who fetches ``segment``; a stream is for all of them."""
        if self.crew is None:
            return []
        return list(self.crew.staff) if self.crew.stream else self.crew.staff.at(segment)

    def _comes_from(self, asker: str, segment: int) -> bool:
        """Whether ``asker`` itself is sending it to us: then neither would get it."""
        pours = [each.pour for each in self._at(segment) if each.pour is not None]
        return any(pour.peer == asker for pour in pours)

    def _is_under_way(self, span: Span) -> bool:
        segment = segment_of(span.start)
        return segment in self._demand or bool(self._at(segment)) or self._is_here(span)

    def _alive(self, span: Span) -> bool:
        """See ``Loan.alive``."""
        if self._flight.status is Status.FAILED:
            return False
        if self._is_here(span):
            return True
        segment = segment_of(span.start)
        workers = self._at(segment)
        if not workers and segment in self._demand:
            # It waits for a worker, as it might wait for a connection.
            workers = self._lane_workers()
        return any(self._comes(each) for each in workers)

    def _comes(self, worker: Worker) -> bool:
        """Whether it asks, or upstream pours, or a peer that was heard a moment ago.

        A peer's bytes are given on when their sum has come, which takes long on
        a link that many share. Who only looks for a second sender brings nothing.
        """
        pour = worker.pour
        if pour is None:
            return worker.beside is None
        return pour.peer is None or self._clock.seconds() - pour.heard_at < self._moment

    def _lane_workers(self) -> list[Worker]:
        staff = self.crew.staff if self.crew is not None else ()
        return [each for each in staff if each.lane]


def begins_in(span: Span, total: int) -> bool:
    """Whether a blob of ``total`` bytes has the first of ``span``; the empty one has none to miss.

    Whoever does not know the size asks for more than there is.
    """
    return span.start < total or span.start == total == 0
