"""One connection of a fill: asks for a segment, pours the answer, resumes what broke off."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Answer, Contradiction, judged, outward
from nodecache.fill.patience import Patience
from nodecache.fill.pour import Pour
from nodecache.seams import BlobBody


class Foreman(Protocol):
    """What a worker needs of its crew."""

    @property
    def total(self) -> int | None: ...

    @property
    def pressed(self) -> bool:
        """Whether sources are to be paused."""
        ...

    @property
    def alone(self) -> bool:
        """Whether there is one worker only."""
        ...

    @property
    def takes_streams(self) -> bool:
        """Whether the whole blob may come where a part was asked for."""
        ...

    def span_for(self, worker: Worker) -> Span | None:
        """What to ask for next, and ``worker.segment`` set to it; None when it is not needed."""
        ...

    async def fetch(self, worker: Worker, span: Span) -> BlobBody | None:
        """None: it is not to be had now, and another brings it. Raises UpstreamFailure."""
        ...

    def patience_with(self, worker: Worker) -> Patience: ...

    def learn(self, total: int) -> None:
        """A source told the size of the blob, or its stream has ended there."""
        ...

    def take(self, worker: Worker, offset: int, data: bytes) -> None:
        """Bytes of the blob; some or all of them may be here already."""
        ...

    def lacks(self, start: int, stop: int | None) -> bool:
        """Whether anything between is missing; ``stop`` None: up to the end, wherever it is."""
        ...

    def unwelcome(self) -> None:
        """A connection beside others was refused, or is not fit to be one of several."""
        ...

    def resumed(self, offset: int, failure: UpstreamFailure) -> None:
        """A broken body is taken up again."""
        ...


class Worker:
    """``segment`` is the one it is at, the first where it asks for several ``segments`` at a time;
    it is at them ``since``, in seconds of ``clock``; ``fresh`` until it brought a byte.

    ``part`` is what it brings of its segment, all of it where that is None. ``beside`` is
    the body that brings its part as well, as long as its own has not begun.
    ``lane``: it was hired for what peers wait for, and for nothing else.
    ``place`` tells whether its place in line is free when it ends.
    """

    def __init__(
        self,
        crew: Foreman,
        clock: IReactorTime,
        segment: int | None = None,
        *,
        lane: bool = False,
        place: bool = True,
    ) -> None:
        self.segment = segment
        self.since = clock.seconds()
        self.part: Span | None = None
        self.beside: Pour | None = None
        self.pour: Pour | None = None
        self.fresh = True
        self.lane = lane
        self.place = place
        self.dismissed = False
        self._crew = crew
        self._clock = clock
        self._task: Deferred[None] | None = None

    @property
    def segment(self) -> int | None:
        return self.segments[0] if self.segments else None

    @segment.setter
    def segment(self, segment: int | None) -> None:
        self.segments = range(0) if segment is None else range(segment, segment + 1)

    @property
    def from_upstream(self) -> bool:
        """Whether upstream is sending it something this very moment."""
        return self.pour is not None and self.pour.peer is None

    def start(self, body: BlobBody | None = None, answer: Answer | None = None) -> Deferred[None]:
        """Work, beginning with ``body`` if there is one.

        Fires when there is no more for it to do. Fails with UpstreamFailure
        when the fill can not go on; then its crew fails.
        """
        pour = None if body is None or answer is None else self._pour_of(body, answer)
        self._task = Deferred.fromCoroutine(self._work(pour))
        return self._task

    def dismiss(self) -> None:
        """Close its connection and let it end."""
        self.dismissed = True
        if self._task is not None:
            self._task.cancel()

    # As the taker of what it pours.

    @property
    def pressed(self) -> bool:
        return self._crew.pressed

    def take(self, offset: int, data: bytes) -> None:
        self._crew.take(self, offset, data)

    def lacks(self, start: int, stop: int | None) -> bool:
        if self.part is not None:
            stop = self.part.stop if stop is None else min(stop, self.part.stop)
        return self._crew.lacks(start, stop)

    async def _work(self, pour: Pour | None) -> None:
        while not self.dismissed and (span := self._crew.span_for(self)) is not None:
            self.pour, pour = pour, None
            try:
                if not await self._step(span):
                    return
            except UpstreamFailure as failure:
                asking, self.pour = self.pour is None, None
                if not await self._again(span, failure, asking=asking):
                    return

    async def _step(self, span: Span) -> bool:
        """Whether it was brought. Raises UpstreamFailure; ``pour`` is None if no answer came."""
        if self.pour is None:
            self.pour = await self._ask(span)
        if self.pour is None:
            return False
        await self._drain(self.pour)
        self.pour = None
        return True

    async def _ask(self, span: Span) -> Pour | None:
        """As ``Foreman.fetch``."""
        body = await self._crew.fetch(self, span)
        if body is None:
            return None
        answer = judged(body, span, self._crew.total)
        if answer.stream and not self._crew.takes_streams:
            body.stop()
            raise UpstreamFailure(UpstreamKind.WRONG, "a part was asked for, and all came")
        if answer.total is not None:
            self._crew.learn(answer.total)
        return self._pour_of(body, answer)

    def _pour_of(self, body: BlobBody, answer: Answer) -> Pour:
        return Pour(body, answer, self, self._clock)

    async def _drain(self, pour: Pour) -> None:
        """Raises UpstreamFailure."""
        await pour.run()
        if pour.answer.stop is None:
            self._crew.learn(pour.at)

    async def _again(self, span: Span, failure: UpstreamFailure, *, asking: bool) -> bool:
        """Wait for the next try; False when there is none, because others go on without this one.

        Raises UpstreamFailure.
        """
        if self.dismissed or not self._crew.lacks(0, self._crew.total):
            return False
        if isinstance(failure, Contradiction):
            raise failure
        patience = self._crew.patience_with(self)
        of_peer = isinstance(failure, PeerFailure)
        if of_peer and patience.forgives():
            return True
        if asking and not of_peer and not self._crew.alone:
            self._crew.unwelcome()
            return False
        pause = patience.failed(self._clock.seconds(), failure.retry_after)
        if pause is None or failure.is_absence:
            raise outward(failure)
        self._crew.resumed(span.start, failure)
        if pause:
            await deferLater(self._clock, pause, lambda: None)
        return True
