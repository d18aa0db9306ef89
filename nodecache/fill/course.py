"""The middle of a fill: bytes from the crew to the writer, until all are on disk and hashed."""

from __future__ import annotations

from nodecache.byteranges import RangeSet
from nodecache.failures import NoRoom
from nodecache.fill.allowance import Allowance, Growing
from nodecache.fill.assembly import Assembly
from nodecache.fill.crew import Crew
from nodecache.fill.demand import Demand
from nodecache.fill.first import First
from nodecache.fill.names import Sources
from nodecache.fill.narrow import Narrow
from nodecache.fill.running import RunningDigest
from nodecache.fill.tools import Tools
from nodecache.fill.writeback import Writeback
from nodecache.fill.writer import Writer
from nodecache.inflight import Flight
from nodecache.inflight.waiters import Waiters
from nodecache.store import Partial


class Course:
    """Made over an open partial. ``close`` is owed.

    Without room it goes on for the clients of this node (``narrow``), if there
    are any; for peers alone it does not.

    It is what the writer and the crew report to, and stands between them.
    """

    def __init__(
        self, flight: Flight, partial: Partial, sources: Sources, demand: Demand, tools: Tools
    ) -> None:
        self.assembly = Assembly(partial)
        self.digest = RunningDigest(partial, tools.pool, tools.limits.job_reread, self)
        self.writer = Writer(flight, self.assembly, self.digest, tools, self)
        self.crew = Crew(flight, sources, self, demand, tools)
        self._writeback = Writeback(partial, tools.pool, tools.writeback)
        self._demand = demand
        self._flight = flight
        self._tools = tools
        self._waiters = Waiters(tools.clock)
        self._trouble: Exception | None = None
        self._narrow: Narrow | None = None
        self._allowance: Allowance | None = None

    @property
    def narrow(self) -> bool:
        """Whether it ran out of room, so that the blob can not be kept."""
        return self._narrow is not None

    def resume(self, total: int | None, present: RangeSet) -> None:
        """Take over what an earlier fill has left."""
        self._flight.progress.present = present
        self.crew.total = self.writer.total = total
        self.crew.accepted = present.copy()

    def forget(self) -> None:
        """What an earlier fill has left is of no use after all. Nobody has seen any of it."""
        self.resume(None, RangeSet())

    def begin(
        self, total: int | None, room: Growing, first: First | None, *, place: bool = True
    ) -> None:
        """Headers are in: let bytes come. Without ``first`` all that is wanted is here already.

        ``place``: the first connection has a place in line.
        """
        self.crew.total = self.writer.total = total
        if total is None:
            self._allowance = Allowance(
                room,
                self._tools.limits.reserve_step,
                self.writer.nudge,
                self.full,
                self.broken,
            )
            self.writer.gate = self._allowance.allows
        self._flight.begin(total)
        if first is not None:
            self.crew.begin(first.body, first.asked, first.answer, place=place)
            return
        if self.crew.whole:
            self.writer.end()
        self.crew.go_on()
        # What is here already has yet to be hashed.
        self.writer.nudge()

    async def over(self) -> int:
        """Returns the total when every byte is on disk and hashed. Raises what went wrong."""
        await self._waiters.wait(lambda: self._trouble is not None or self._complete())
        if self._trouble is not None:
            raise self._trouble
        assert self.crew.total is not None
        return self.crew.total

    def _complete(self) -> bool:
        return self.crew.whole and self.digest.hashed == self.crew.total and not self.writer.busy

    async def close(self) -> None:
        """Close every connection; returns when the disk is done with the file."""
        self.crew.stop()
        if self._allowance is not None:
            self._allowance.close()
        if self._narrow is not None:
            self._narrow.close()
        await self.writer.close()
        await self.digest.close()
        await self._writeback.close()

    # What the crew tells.

    def received(self, offset: int, data: bytes) -> None:
        self.writer.put(offset, data)

    def sized(self, total: int) -> None:
        self.writer.total = total

    def all_received(self) -> None:
        self.writer.end()
        self._waiters.wake()

    def broken(self, error: Exception) -> None:
        """Also what the writer and the digest tell."""
        if self._trouble is None:
            self._trouble = error
        self._waiters.wake()

    # What the writer tells.

    def pressed(self, pressed: bool) -> None:  # noqa: FBT001 - it is the whole message
        self.crew.press(pressed)

    def written(self) -> None:
        if self._narrow is not None:
            self._narrow.moved()
        self._waiters.wake()

    # What the digest tells.

    def hashed(self) -> None:
        self.writer.hashed()
        if self._narrow is not None:
            self._narrow.moved()
        else:
            self._writeback.written(self.digest.hashed)
        self._waiters.wake()

    def full(self, failure: NoRoom) -> None:
        if self._narrow is not None:
            self._narrow.full(failure)
        elif self._demand.local:
            self._go_narrow()
        else:
            self.broken(failure)

    def _go_narrow(self) -> None:
        self.assembly.give_up_segments()
        self._narrow = Narrow(
            self._flight,
            self.digest,
            self.writer,
            self._tools.clock,
            self._tools.limits,
            self._tools.timeouts,
            self.broken,
        )
        if not self.crew.whole:
            self._straighten()
        self._narrow.moved()
        self.writer.go_on()

    def _straighten(self) -> None:
        """Give up what came out of order, but for what somebody may be reading this moment."""
        present = self._flight.progress.present
        front = self.crew.accepted.covered_from(0)
        apart = [span for span in present.spans() if span.start > front]
        promised = list(self._flight.promised())
        kept = [span for span in apart if any(span.start <= at <= span.stop for at in promised)]
        for span in apart:
            if span not in kept:
                present.remove(span)
                self.writer.punch(span)
        self.writer.drop_from(front)
        self.crew.straighten(kept)
