"""Sockets of the loopback for the web rooms' tests: a client that hides nothing.

The reactor is the real one; the clock of timeouts is a ``Clock``, so that
minutes pass when a test says so.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from nodecache.body.sendfile import SocketDuplicate
from nodecache.events import Event, RequestFinished
from nodecache.limits import Limits, Timeouts
from nodecache.web import LISTEN_BACKLOG, MirrorSite
from tests.fakes_disk import InlinePool
from tests.fakes_registry import FakeBlob, FakeBody, FakeRegistry

reactor = cast(Any, _reactor)
E = TypeVar("E", bound=Event)

#: Bytes of the sockets' buffers, of which the kernel makes twice as many.
BUFFER = 128 * 1024

WALL = 1_800_000_000.0


@attrs.frozen
class Reply:
    """One answer as it came; ``headers`` in their order, names as sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool  # the body reached the end that its framing names

    def header(self, name: str) -> str | None:
        values = [value for each, value in self.headers if each.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


def parse_replies(raw: bytes, *, head: bool = False, closed: bool = False) -> list[Reply]:
    """Every answer in ``raw``; of the last one what there is of it."""
    replies = []
    while raw:
        reply, raw = _one_reply(raw, head=head, closed=closed)
        if reply is None:
            break
        replies.append(reply)
    return replies


def _one_reply(raw: bytes, *, head: bool, closed: bool) -> tuple[Reply | None, bytes]:
    top, blank, rest = raw.partition(b"\r\n\r\n")
    if not blank:
        return None, b""
    lines = top.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines[1:])
    headers = tuple((name, value) for name, _, value in pairs)
    status = int(lines[0].split(" ")[1])
    named = {name.lower(): value for name, value in headers}
    if head or status in (100, 204, 304):
        return Reply(status, headers, b"", True), rest
    if named.get("transfer-encoding") == "chunked":
        body, whole, rest = _chunks(rest)
        return Reply(status, headers, body, whole), rest
    if "content-length" not in named:
        return Reply(status, headers, rest, closed), b""
    size = int(named["content-length"])
    return Reply(status, headers, rest[:size], len(rest) >= size), rest[size:]


def _chunks(raw: bytes) -> tuple[bytes, bool, bytes]:
    parts: list[bytes] = []
    while True:
        line, found, after = raw.partition(b"\r\n")
        if not found:
            return b"".join(parts), False, b""
        size = int(line, 16)
        if size == 0:
            return b"".join(parts), True, after[2:]
        parts.append(after[:size])
        if len(after) < size + 2:
            return b"".join(parts), False, b""
        raw = after[size + 2 :]


class Client(Protocol):
    """A connection; ``reason`` is why it ended."""

    def __init__(self) -> None:
        self.received = bytearray()
        self._sips = False
        self.reason: BaseException | None = None
        self.connected_now: Deferred[Client] = Deferred()

    def connectionMade(self) -> None:
        connected = cast(Any, self.transport).getHandle()
        if isinstance(connected, socket.socket):  # and not TLS over one
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.connected_now.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self._sips:
            self.stop_reading()

    async def sip(self) -> None:
        """Read one piece, and no more."""
        self._sips = True
        seen = len(self.received)
        self.go_on_reading()
        await until(lambda: len(self.received) > seen)
        self._sips = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason.value

    async def answered(self) -> Reply:
        """The one answer, once its headers are there."""
        await until(self.replies)
        return self.reply

    async def body(self, size: int) -> bytes:
        """What there is of the one answer's body, once that is ``size`` bytes."""
        await until(lambda: len(self.received) >= size and self.replies())
        await until(lambda: len(self.reply.body) >= size)
        return self.reply.body

    async def whole(self) -> Reply:
        """The one answer, once it is whole."""
        await until(self.replies)
        await until(lambda: self.reply.whole)
        return self.reply

    async def hung_up(self) -> None:
        """Until the server has closed the connection, in whatever way."""
        await until(lambda: self.closed)

    @property
    def closed(self) -> bool:
        return self.reason is not None

    def send(self, *requests: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"".join(requests))

    def stop_reading(self) -> None:
        cast(Any, self.transport).pauseProducing()

    def go_on_reading(self) -> None:
        cast(Any, self.transport).resumeProducing()

    def shut_sending(self) -> None:
        cast(Any, self.transport).loseWriteConnection()

    def leave(self) -> None:
        """Close at once, with a reset."""
        cast(Any, self.transport).abortConnection()

    def replies(self, *, head: bool = False) -> list[Reply]:
        return parse_replies(bytes(self.received), head=head, closed=self.closed)

    @property
    def reply(self) -> Reply:
        """The one answer."""
        (reply,) = self.replies()
        return reply


class _Clients(ClientFactory):
    noisy = False

    def buildProtocol(self, addr: object) -> Client:
        self.client = Client()
        return self.client


def header_names(named: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}


def request(
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    *,
    version: str = "1.1",
    body: bytes = b"",
    **named: str,
) -> bytes:
    """A request; ``User_Agent="x"`` stands for a header."""
    every = {"Host": "localhost:5000", **(headers or {})}
    every.update(header_names(named))
    lines = [f"{method} {path} HTTP/{version}", *(f"{k}: {v}" for k, v in every.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def until(happened: Callable[[], object]) -> None:
    """Turn the reactor until it happened. A wait in vain ends before the case's time limit."""
    give_up = reactor.seconds() + LoopbackCase.timeout - 5
    while not happened():
        assert reactor.seconds() < give_up, "it never happened"
        await deferLater(reactor, 0.001)


async def turns(count: int = 20) -> None:
    """Let the reactor see to all that is ready by now."""
    for _ in range(count):
        await deferLater(reactor, 0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class LoopbackCase(TestCase):
    """Listens with what ``make_site`` gives; whatever it opens is closed again."""

    timeout = 20
    timeouts = Timeouts()
    limits = Limits()

    #: From where its clients connect.
    source = "127.0.0.1"

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.registry = FakeRegistry()
        self.clients: list[Client] = []
        self.blobs: list[FakeBlob] = []
        self.site = self.make_site()
        self.port = self.listen(self.site)

    def make_site(self) -> Any:
        return MirrorSite(
            self.registry,
            reactor=reactor,
            clock=self.clock,
            pool=InlinePool(),
            observe=self.events.append,
            wall=lambda: WALL,
            timeouts=self.timeouts,
            limits=self.limits,
        )

    def listen(self, factory: ServerFactory) -> Any:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=LISTEN_BACKLOG)
        # Small, so that they fill up soon; connections inherit it.
        port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        return port

    def tearDown(self) -> Any:  # a Deferred, which trial waits for
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        await self.port.stopListening()
        for client in self.clients:
            if not client.closed:
                client.leave()
        await until(lambda: all(client.closed for client in self.clients))
        self.site.abort_all()
        await until(lambda: not self.site.channels)
        self.check_for_leaks()
        for blob in self.blobs:
            blob.close()

    def check_for_leaks(self) -> None:
        """With every client gone nothing is held, and each reader was closed once."""
        self.assertEqual(self.site.active, set())
        self.assertEqual(getattr(self.site, "active_bodies", set()), set())
        for blob in self.blobs:
            self.assertEqual({reader.closed for reader in blob.readers} - {1}, set())
        writers = [each for each in reactor.getWriters() if isinstance(each, SocketDuplicate)]
        self.assertEqual(writers, [])

    def blob(self, *args: Any, **kwargs: Any) -> FakeBlob:
        blob = FakeBlob(*args, **kwargs)
        self.blobs.append(blob)
        return blob

    def whole(self, data: bytes) -> FakeBlob:
        blob = FakeBlob.whole(data)
        self.blobs.append(blob)
        return blob

    def serve(self, blob: FakeBlob | FakeBody, data: bytes) -> str:
        """The path under which ``blob`` is served as the blob of ``data``."""
        return f"/v2/library/alpine/blobs/{self.registry.add_blob(blob, data)}"

    async def begin(self, path: str, **headers: str) -> Client:
        """One request on a connection that stays open."""
        client = await self.connect()
        client.send(request(path, headers=header_names(headers)))
        return client

    def dial(self, factory: ClientFactory) -> None:
        port, bound = self.port.getHost().port, (self.source, 0)
        reactor.connectTCP("127.0.0.1", port, factory, timeout=10, bindAddress=bound)

    async def connect(self) -> Client:
        factory = _Clients()
        self.dial(factory)
        await until(lambda: hasattr(factory, "client"))
        self.clients.append(await factory.client.connected_now)
        return factory.client

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """One request on a connection of its own, and the whole answer (or what came of it)."""
        client = await self.connect()
        client.send(request(path, method, {"Connection": "close", **header_names(headers)}))
        await until(lambda: client.closed)
        (reply,) = client.replies(head=method == "HEAD")
        return reply

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def finished(self, count: int = 1) -> list[RequestFinished]:
        """The events of the first ``count`` requests, once they have ended."""
        await until(lambda: len(self.told(RequestFinished)) >= count)
        return self.told(RequestFinished)
