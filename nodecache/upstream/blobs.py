"""Blobs of an upstream: sizes, and bodies for the spans that a fill asks for.

A blob's GET is usually answered by a redirect to a CDN, whose link is signed
and lives for minutes. A fill asks for many spans, so the link is used again
until it is refused; then the registry is asked for another, once for a span.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.reference import Digest
from nodecache.seams import BlobBody, BlobSource
from nodecache.upstream.body import BodyStream
from nodecache.upstream.courier import Attempt, Letter
from nodecache.upstream.encoding import is_plain
from nodecache.upstream.extents import Extent, judge_extent
from nodecache.upstream.fetched import is_page
from nodecache.upstream.origin import Ask, Origin
from nodecache.upstream.turns import Turns
from nodecache.upstream.urls import origin_of
from nodecache.upstream.wire import Reply

#: The statuses that say something about the blob's bytes.
_TELLING: Final = frozenset({200, 206, 416})


@attrs.frozen
class UpstreamBody:
    """A BlobBody. Bytes beyond ``stop_at`` are not delivered, whatever is sent."""

    start: int
    stop_at: int | None
    total: int | None
    ranged: bool
    stream: BodyStream

    @property
    def peer(self) -> None:
        """It comes from upstream."""
        return None

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        if self.stop_at is None:
            return self.stream.deliver(sink)
        wanted = self.stop_at - self.start
        given = 0

        def give(data: bytes) -> None:
            nonlocal given
            fits = data[: wanted - given]
            given += len(fits)
            if fits:
                sink(fits)
            if len(fits) < len(data):
                self.stream.stop()

        def check(result: Failure | None) -> Failure | None:
            if self.stream.received > wanted:
                words = "more bytes came than the answer's headers say"
                raise UpstreamFailure(UpstreamKind.WRONG, words)
            if result is None and given < wanted:
                raise UpstreamFailure(UpstreamKind.CUT, f"the body ended after {given} bytes")
            return result

        return self.stream.deliver(give).addBoth(check)

    def pause(self) -> None:
        self.stream.pause()

    def resume(self) -> None:
        self.stream.resume()

    def stop(self) -> None:
        self.stream.stop()


@attrs.frozen
class NoBody:
    """A BlobBody for a span behind the end: there is nothing to deliver."""

    start: int
    stop_at: int | None
    total: int | None
    ranged: bool

    @property
    def peer(self) -> None:
        """It comes from upstream."""
        return None

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        del sink
        return succeed(None)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None: ...


class UpstreamBlob(BlobSource):
    """Its fetches may run at the same time once the first has answered."""

    def __init__(self, turns: Turns, name: str, digest: Digest) -> None:
        self._turns = turns
        self._courier = turns.courier
        self._name = name
        self._digest = digest
        self._link: tuple[Origin, str] | None = None
        self._origin: Origin | None = None
        self._total: int | None = None

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        """As BlobSource says.

        A source that has answered before is asked even while it is down: the
        fill that holds it has rules of its own for when to give up.
        """
        ask = self._ask(span)
        if self._link is not None:
            body = await self._by_link(*self._link, ask, span, deadline)
            if body is not None:
                return body

        async def turn(origin: Origin, attempt: Attempt) -> BlobBody:
            reply = await self._turns.ask(origin, ask, attempt)
            if reply.status not in _TELLING:
                raise self._turns.refused(origin, ask, reply, f"a blob of {self._name}")
            redirected = origin_of(reply.url) != origin.key
            body = self._body(ask, reply, span, "cdn" if redirected else "blob")
            self._origin = origin
            if redirected:
                self._link = origin, reply.url
            return body

        answered = self._origin is not None
        return await self._turns.take(turn, deadline, first=self._origin, lenient=answered)

    def _ask(self, span: Span | None) -> Ask:
        headers = {} if span is None else {"Range": f"bytes={span.start}-{span.stop - 1}"}
        return Ask("blob", "GET", self._name, f"blobs/{self._digest}", headers)

    async def _by_link(
        self, origin: Origin, link: str, ask: Ask, span: Span | None, deadline: Deadline
    ) -> BlobBody | None:
        """None when the link is good no more; whatever fails, it is not used again."""
        attempt = Attempt(origin.key, origin.guard, self._courier.now(), deadline, lenient=True)
        try:
            reply = await origin.ask_link(ask, link, attempt)
            if reply.status in _TELLING:
                return self._body(ask, reply, span, "cdn")
        except CancelledError:
            raise
        except UpstreamFailure:
            self._forget(link)
            raise
        self._forget(link)
        self._courier.discard(reply)
        return None

    def _forget(self, link: str) -> None:
        if self._link is not None and self._link[1] == link:
            self._link = None

    def _body(self, ask: Ask, reply: Reply, span: Span | None, leg: str) -> BlobBody:
        extent = checked_extent(self._turns, ask, reply, span, self._digest)
        if extent.total is not None:
            if self._total not in (None, extent.total):
                raise wrong(self._turns, ask, reply, "the blob's size has changed")
            self._total = extent.total
        fields = attrs.asdict(extent)
        if reply.status == 416:
            self._courier.discard(reply)
            return NoBody(**fields)
        return UpstreamBody(**fields, stream=self._courier.stream(leg, reply))


def checked_extent(
    turns: Turns, ask: Ask, reply: Reply, span: Span | None, digest: Digest
) -> Extent:
    """Which bytes ``reply`` holds. Raises UpstreamFailure(WRONG); its body is stopped then."""
    if not is_plain(reply.header("Content-Encoding")):
        raise wrong(turns, ask, reply, "a blob came encoded, which nobody asked for")
    if reply.status != 416 and is_page(reply.header("Content-Type")):
        raise wrong(turns, ask, reply, "a web page came for a blob")
    try:
        length = reply.length
        content_range = reply.header("Content-Range")
        return judge_extent(reply.status, length, content_range, span, digest)
    except ValueError as error:
        raise wrong(turns, ask, reply, str(error)) from error


def wrong(turns: Turns, ask: Ask, reply: Reply, words: str) -> UpstreamFailure:
    """The failure of an answer that cannot be used; its body is dropped."""
    turns.courier.discard(reply)
    letter = Letter(ask.leg, ask.method, reply.url)
    return turns.courier.failed(letter, UpstreamKind.WRONG, words)


async def head_blob(
    turns: Turns, name: str, digest: Digest, deadline: Deadline | None = None
) -> int:
    """A blob's size in bytes. Raises UpstreamFailure.

    A link is signed for its method, and a CDN may refuse a HEAD: then one byte is asked for.
    """
    head = Ask("blob", "HEAD", name, f"blobs/{digest}")
    one = Ask("blob", "GET", name, f"blobs/{digest}", {"Range": "bytes=0-0"})

    async def turn(origin: Origin, attempt: Attempt) -> int:
        reply = await turns.ask(origin, head, attempt)
        page = is_page(reply.header("Content-Type"))
        if reply.status == 200 and reply.length is not None and not page:
            turns.courier.discard(reply)
            return reply.length
        at_registry = origin_of(reply.url) == origin.key
        if at_registry and reply.status not in {200, 405, 501}:
            raise turns.refused(origin, head, reply, f"a blob of {name}")
        turns.courier.discard(reply)
        reply = await turns.ask(origin, one, attempt)
        if reply.status not in _TELLING:
            raise turns.refused(origin, one, reply, f"a blob of {name}")
        extent = checked_extent(turns, one, reply, Span(0, 1), digest)
        turns.courier.discard(reply)
        if extent.total is None:
            raise wrong(turns, one, reply, "the answer does not tell the blob's size")
        return extent.total

    return await turns.take(turn, deadline)
