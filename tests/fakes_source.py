"""A scripted source of blobs: what it answers, and how its bodies go, is up to the test.

``Origin`` holds blobs and makes a ``BlobSource`` for any name; it answers
ranges like a well-behaved CDN unless told otherwise. Every body it gives out is
a ``FakeBody``, which sends nothing until it is told to, so that a test decides
what comes before what.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError, Deferred

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobBody, BlobSource

#: The size of a read from a socket, at an eighth of what it is (tests/flight_case.py).
CHUNK = 32 * 1024


class FakeBody(BlobBody):
    """``data`` are the bytes that will come; ``sent`` of them have come.

    ``closed`` is True once it was stopped or cancelled; ``over`` once it ended
    by itself. ``paused`` bodies send nothing.
    """

    def __init__(
        self,
        data: bytes,
        *,
        start: int = 0,
        stop_at: int | None = None,
        total: int | None = None,
        ranged: bool = False,
        asked: Span | None = None,
        sender: str | None = None,
    ) -> None:
        self.sender = sender
        self.data = data
        self.asked = asked
        self.sent = 0
        self.paused = False
        self.closed = False
        self.over = False
        self._start = start
        self._stop_at = stop_at
        self._total = total
        self._ranged = ranged
        self._sink: Callable[[bytes], None] | None = None
        self._done: Deferred[None] | None = None

    @property
    def start(self) -> int:
        return self._start

    @property
    def stop_at(self) -> int | None:
        return self._stop_at

    @property
    def total(self) -> int | None:
        return self._total

    @property
    def ranged(self) -> bool:
        return self._ranged

    @property
    def peer(self) -> str | None:
        return self.sender

    @property
    def delivering(self) -> bool:
        """Whether it may send."""
        return self._done is not None and not self.closed and not self.over

    @property
    def left(self) -> int:
        """Bytes that have not come."""
        return len(self.data) - self.sent

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        assert self._done is None, "delivered twice"
        assert not self.closed, "delivered after stop"
        self._sink = sink
        self._done = Deferred(self._cancelled)
        return self._done

    def _cancelled(self, _: Deferred[None]) -> None:
        self.closed = True

    def pause(self) -> None:
        assert self._done is not None, "paused before deliver"
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def stop(self) -> None:
        self.closed = True
        if self._done is not None and not self._done.called:
            self._done.errback(CancelledError())

    # What the test makes it do.

    def send(self, count: int | None = None) -> int:
        """Send ``count`` bytes (all that are left), as reads of a socket; stops when paused."""
        left = self.left if count is None else min(count, self.left)
        sent = 0
        while sent < left and self.delivering and not self.paused:
            size = min(CHUNK, left - sent)
            assert self._sink is not None
            piece = self.data[self.sent : self.sent + size]
            self.sent += size
            sent += size
            self._sink(piece)
        return sent

    def finish(self) -> None:
        """Send what is left and end well."""
        self.send()
        if self.delivering and not self.left and not self.paused:
            self._end(None)

    def cut(self) -> None:
        """The connection breaks."""
        self._end(UpstreamFailure(UpstreamKind.CUT, "the connection broke"))

    def fall_silent(self) -> None:
        """No byte came for too long."""
        self._end(UpstreamFailure(UpstreamKind.TIMEOUT, "no byte came"))

    def lose_peer(self) -> None:
        """The peer that sends it is gone."""
        self._end(PeerFailure(self.sender or "", PeerKind.CUT, "the peer is gone"))

    def live(self) -> None:
        """Bytes have come that wait for their sum."""
        assert self._sink is not None
        self._sink(b"")

    def _end(self, failure: UpstreamFailure | None) -> None:
        assert self._done is not None
        assert self.delivering
        self.over = True
        if failure is None:
            self._done.callback(None)
        else:
            self._done.errback(failure)


#: Makes an answer of its own to a question; None: the usual one.
Twist = Callable[[Span | None], "FakeBody | UpstreamFailure | None"]


@attrs.define
class Asked:
    """One question put to an ``Origin``. ``answer`` is set once it was answered."""

    name: Repository
    digest: Digest
    span: Span | None
    deadline: Deadline
    waiting: Deferred[FakeBody]
    body: FakeBody | None = None


class Origin:
    """``blobs`` by digest; ``refusals`` by the name under which it was asked.

    ``ranges``: whether it takes ranges. ``lengths``: whether it tells the
    length of a whole body. ``patient``: questions wait until ``answer``.
    ``stubborn``: a question that is cancelled ends only at ``release``.
    ``twists`` are used up one by one, the first question first. ``sender`` is
    the peer that it plays; None: it is upstream. ``second`` is a peer that has
    what another is bringing, None where nobody has; who asks for that is in
    ``asked_beside``, with who brings it, and waits in ``looking`` where ``looks``.
    """

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.refusals: dict[Repository, UpstreamFailure] = {}
        self.ranges = True
        self.lengths = True
        self.patient = False
        self.stubborn = False
        self.sender: str | None = None
        self.second: str | None = None
        self.looks = False
        self.looking: list[Deferred[None]] = []
        self.asked_beside: list[tuple[str, Span]] = []
        self.held: list[Deferred[None]] = []
        self.twists: list[Twist] = []
        self.asked: list[Asked] = []
        self.bodies: list[FakeBody] = []

    def source(self, name: Repository, digest: Digest) -> BlobSource:
        """A ``BlobSourceFactory``."""
        return _Source(self, name, digest)

    @property
    def spans(self) -> list[tuple[int, int] | None]:
        """What was asked for, in order; None is the whole."""
        return [(each.span.start, each.span.stop) if each.span else None for each in self.asked]

    @property
    def open_bodies(self) -> list[FakeBody]:
        return [body for body in self.bodies if not (body.closed or body.over)]

    @property
    def sent(self) -> int:
        """Bytes of all bodies that were sent."""
        return sum(body.sent for body in self.bodies)

    def ask(self, name: Repository, digest: Digest, span: Span | None, by: Deadline) -> Asked:
        asked = Asked(name, digest, span, by, Deferred())
        self.asked.append(asked)
        if not self.patient:
            self.answer(asked)
        return asked

    def answer(self, asked: Asked) -> None:
        """Answer a question that waits."""
        answer = self.twists.pop(0)(asked.span) if self.twists else None
        if answer is None:
            answer = self.refusals.get(asked.name) or self.usual(asked.digest, asked.span)
        if isinstance(answer, UpstreamFailure):
            asked.waiting.errback(answer)
            return
        if answer.sender is None:
            answer.sender = self.sender
        asked.body = answer
        self.bodies.append(answer)
        asked.waiting.callback(answer)

    async def ask_beside(self, digest: Digest, peer: str, span: Span) -> FakeBody | None:
        self.asked_beside.append((peer, span))
        if self.looks:
            self.looking.append(Deferred())
            await self.looking[-1]
        if self.second is None:
            return None
        body = part(self.blobs[digest], span)
        body.sender = self.second
        self.bodies.append(body)
        return body

    def found(self) -> None:
        """Let whoever looks for a second sender hear of it."""
        looking, self.looking = self.looking, []
        for each in looking:
            each.callback(None)

    def hold(self) -> Deferred[None]:
        held: Deferred[None] = Deferred()
        self.held.append(held)
        return held

    def release(self) -> None:
        """Let questions end that were cancelled."""
        while self.held:
            self.held.pop().callback(None)

    def usual(self, digest: Digest, span: Span | None) -> FakeBody | UpstreamFailure:
        """What a well-behaved origin answers."""
        data = self.blobs.get(digest)
        if data is None:
            return UpstreamFailure(UpstreamKind.NOT_FOUND, "no such blob", status=404)
        if span is None or not self.ranges:
            return whole(data, lengths=self.lengths, asked=span)
        if span.start >= len(data):
            return refused_range(len(data), span)
        return part(data, span)


class _Source(BlobSource):
    def __init__(self, origin: Origin, name: Repository, digest: Digest) -> None:
        self._origin = origin
        self._name = name
        self._digest = digest

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        asked = self._origin.ask(self._name, self._digest, span, deadline)
        stubborn = self._origin.stubborn
        try:
            return await asked.waiting
        except CancelledError:
            if stubborn:
                await self._origin.hold()
            raise

    async def fetch_beside(self, peer: str, span: Span, deadline: Deadline) -> FakeBody | None:
        return await self._origin.ask_beside(self._digest, peer, span)


def whole(data: bytes, *, lengths: bool = True, asked: Span | None = None) -> FakeBody:
    """A 200."""
    size = len(data) if lengths else None
    return FakeBody(data, start=0, stop_at=size, total=size, ranged=False, asked=asked)


def part(
    data: bytes, span: Span | None, *, start: int | None = None, stop: int | None = None
) -> FakeBody:
    """A 206 for ``span``; ``start`` is a wrong one, ``stop`` an earlier end."""
    assert span is not None, "the whole was asked for"
    stop = min(span.stop, len(data)) if stop is None else stop
    return FakeBody(
        data[span.start : stop],
        start=span.start if start is None else start,
        stop_at=stop,
        total=len(data),
        ranged=True,
        asked=span,
    )


def refused_range(total: int | None, asked: Span | None = None) -> FakeBody:
    """A 416."""
    at = asked.start if asked else 0
    return FakeBody(b"", start=at, stop_at=at, total=total, ranged=True, asked=asked)
