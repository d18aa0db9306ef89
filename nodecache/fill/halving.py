"""A worker without a segment of its own takes half of another's (``halves`` says whose).

The first body goes on as if nothing were until the second has begun: then it
is cut where the second begins. One second sender is looked for at a time;
whoever gets none leaves, and another worker tries a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IDelayedCall

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.fill.halves import Running, slowest
from nodecache.fill.names import Sources
from nodecache.fill.pour import Pour
from nodecache.fill.staff import Staff
from nodecache.fill.tools import Tools
from nodecache.fill.worker import Worker
from nodecache.seams import BlobBody
from nodecache.segments import segment_of

#: Looks in the time for which a body has to go on before it is shared.
_LOOKS = 2


class Halving:
    """``rest_of`` tells what a worker is still to bring. ``stop`` is owed."""

    def __init__(
        self, staff: Staff, sources: Sources, tools: Tools, rest_of: Callable[[Worker], Span]
    ) -> None:
        self._staff = staff
        self._sources = sources
        self._clock = tools.clock
        self._least = tools.timeouts.peer_share
        self._search = tools.timeouts.peer_beside
        self._rest_of = rest_of
        #: For these a second sender was looked for in vain since the last look.
        self._tried: set[Pour] = set()
        self._timer: IDelayedCall | None = None
        self._stopped = False

    @property
    def has_work(self) -> bool:
        return self._slowest() is not None

    def assign(self, worker: Worker) -> None:
        """Let ``worker`` try to bring half of another's segment, if that is worth it."""
        found = self._slowest()
        if found is not None:
            worker.beside, worker.part = found
            worker.segment = segment_of(worker.part.start)

    def watch(self) -> None:
        """Look now and then, as long as bodies come."""
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(self._least / _LOOKS, self._look)

    async def fetch(self, worker: Worker, span: Span) -> BlobBody | None:
        """The second body, for which the first is cut; None when there is none to be had."""
        first = worker.beside
        if first is None or first.peer is None:
            return None
        deadline = Deadline(self._clock.seconds() + self._search)
        body = await self._sources.fetch_beside(first.peer, span, deadline)
        worker.beside = None
        if body is not None and self._cut(first, span.start):
            self._staff.refill()
            return body
        self._tried.add(first)
        if body is not None:
            body.stop()
        return None

    def _cut(self, first: Pour, stop: int) -> bool:
        """Whether it had not got there yet."""
        for worker in self._staff:
            if worker.pour is first and first.at < stop:
                worker.part = Span(first.at, stop)
                return True
        return False

    def stop(self) -> None:
        """Look no more; idempotent."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slowest(self) -> tuple[Pour, Span] | None:
        if any(worker.beside is not None for worker in self._staff):
            return None
        return slowest(self._bodies(), self._least)

    def _bodies(self) -> Iterator[tuple[Pour, Running]]:
        now = self._clock.seconds()
        for worker in self._staff:
            pour = worker.pour
            if pour is not None and pour.peer is not None and pour not in self._tried:
                left = self._rest_of(worker)
                yield pour, Running(left, pour.brought, now - pour.began_at)

    def _look(self) -> None:
        self._timer = None
        self._tried.clear()
        self._staff.refill()
        if any(worker.pour is not None for worker in self._staff):
            self.watch()
