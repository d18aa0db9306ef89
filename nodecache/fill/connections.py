"""The upstream connections of the whole node, shared out among its fills."""

from __future__ import annotations

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure, UpstreamKind


class Line:
    """``places`` for as many at a time; who comes later waits in line, first come, first served."""

    def __init__(self, places: int, clock: IReactorTime) -> None:
        self._semaphore = DeferredSemaphore(places)
        self._clock = clock

    async def enter(self, deadline: Deadline) -> None:
        """Owes one ``leave``. Raises UpstreamFailure(TIMEOUT)."""

        def too_late(*_: object) -> object:
            raise UpstreamFailure(UpstreamKind.TIMEOUT, "too many blobs are being fetched")

        turn: Deferred[DeferredSemaphore] = self._semaphore.acquire()
        await turn.addTimeout(deadline.remaining(self._clock.seconds()), self._clock, too_late)

    def enter_now(self) -> bool:
        """Enter if there is a place and nobody waits for it."""
        if self.crowded or not self._semaphore.tokens:
            return False
        self._semaphore.acquire()
        return True

    def leave(self) -> None:
        self._semaphore.release()

    @property
    def crowded(self) -> bool:
        """Whether somebody waits."""
        return bool(self._semaphore.waiting)
