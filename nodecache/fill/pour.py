"""One body on its way from a source into a fill."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Answer
from nodecache.seams import BlobBody


class Taker(Protocol):
    @property
    def pressed(self) -> bool:
        """Whether sources are to be paused."""
        ...

    def take(self, offset: int, data: bytes) -> None:
        """Bytes of the blob; some or all of them may be here already."""
        ...

    def lacks(self, start: int, stop: int | None) -> bool:
        """Whether anything between is missing; ``stop`` None: up to the end, wherever it is."""
        ...


class Pour:
    """``at`` is the offset of the body's next byte.

    ``heard_at`` is when bytes last came, those included that have yet to be checked,
    ``began_at`` when its headers did, in seconds of ``clock``.
    """

    def __init__(self, body: BlobBody, answer: Answer, taker: Taker, clock: IReactorTime) -> None:
        self.answer = answer
        self.at = body.start
        self.began_at = clock.seconds()
        self._body = body
        self._taker = taker
        self._clock = clock
        self._delivered: Deferred[None] | None = None
        self._enough = False
        self.heard_at = float("-inf")

    @property
    def peer(self) -> str | None:
        """Node id of the peer that it comes from; None when that is upstream."""
        return self._body.peer

    @property
    def brought(self) -> int:
        """Bytes that have come of it."""
        return self.at - self._body.start

    async def run(self) -> None:
        """Returns when every byte that was wanted of it has come. Raises UpstreamFailure."""
        self._delivered = self._body.deliver(self._sink)
        if self._taker.pressed:
            self._body.pause()
        try:
            await self._delivered
        except (CancelledError, UpstreamFailure):
            if not self._enough:
                raise
        finally:
            self._delivered = None
        stop = self.answer.stop
        if stop is not None and self._taker.lacks(self.at, stop):
            raise UpstreamFailure(UpstreamKind.CUT, f"the body ended at byte {self.at} of {stop}")

    def pause(self) -> None:
        if self._delivered is not None:
            self._body.pause()

    def resume(self) -> None:
        if self._delivered is not None:
            self._body.resume()

    def leads_to(self, offset: int) -> bool:
        """Whether the byte at ``offset`` is still to come from it."""
        stop = self.answer.stop
        return not self._enough and self.at <= offset and (stop is None or offset < stop)

    def _sink(self, data: bytes) -> None:
        self.heard_at = self._clock.seconds()
        if self._enough or not data:
            return
        stop = self.answer.stop
        # What goes on behind its end is cut off; whether the end was right, the digest tells.
        surplus = 0 if stop is None else max(0, self.at + len(data) - stop)
        if surplus:
            data = data[: len(data) - surplus]
        offset, self.at = self.at, self.at + len(data)
        self._taker.take(offset, data)
        if surplus or (self.at != stop and not self._taker.lacks(self.at, stop)):
            self._end_early()

    def _end_early(self) -> None:
        # In a turn of its own: who delivers is in the middle of something.
        self._enough = True
        self._clock.callLater(0, self._cancel)

    def _cancel(self) -> None:
        if self._delivered is not None:
            self._delivered.cancel()
