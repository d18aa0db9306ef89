"""Connections to peers, kept for a while, and one request at a time over each of them.

Twisted's Agent sends and parses, each request over its own ``Lease`` of the
pool, which bounds the head of an answer in bytes. What it leaves open is added:
the head is bounded in time, and a kept connection that turns out to be dead is
told apart, so that the request can be signed anew for another one. And the
bytes of a body are not copied on their way (``chunks``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from nodecache import __version__
from nodecache.failures import PeerKind, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.membership import Address
from nodecache.peers.chunks import Chunks
from nodecache.peers.dialling import AnyAddress
from nodecache.upstream.dial import NoConnection
from nodecache.upstream.explain import causes, explain
from nodecache.upstream.reads import READ_SIZE
from nodecache.upstream.waits import NEAR_TURNS, TimedOut, bounded
from nodecache.upstream.wire import Lease, Pool, Reply

#: Connections that are open, used or kept; beyond that they are closed after use.
MOST_KEPT: Final = 512

_EVERY = {
    "Accept-Encoding": ["identity"],
    "User-Agent": [f"nodecache/{__version__}"],
}


#: How a body is cut, and what puts it together.
_DECODERS: Final[Any] = {b"chunked": Chunks}


class LineFault(Exception):
    """No answer came over the line; ``stale``: a kept connection was dead."""

    def __init__(self, kind: PeerKind, words: str, *, stale: bool = False) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words
        self.stale = stale


@attrs.frozen
class Sent:
    """A request as HTTP. ``keep``: the connection may be used again."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    keep: bool = True


class Line:
    """Sends requests to peers. ``reactor`` connects and times."""

    def __init__(self, reactor: Any, timeouts: Timeouts) -> None:
        self._reactor = reactor
        self._connect = timeouts.peer_connect
        self._pool = _Pool(reactor, timeouts.keepalive)
        self._closed = False

    async def send(
        self,
        addresses: Sequence[Address],
        sent: Sent,
        seconds: float,
        lives: Callable[[], bool],
    ) -> Reply:
        """Returns once the answer's head is in; its body waits, the connection paused.

        Raises TimedOut after ``seconds`` (longer for one that ``lives``, see
        ``waits.bounded``), and LineFault.
        """
        if self._closed:
            raise LineFault(PeerKind.REFUSED, "this node is stopping")
        self._pool.forget_lost()
        keep = sent.keep and len(self._pool.lent) < MOST_KEPT
        lease = Lease(self._pool, frozenset(addresses), persistent=keep)
        try:
            asking = self._ask(lease, addresses, sent)
            response = await bounded(self._reactor, asking, seconds, NEAR_TURNS, lives)
        except (CancelledError, TimedOut):
            raise
        except Exception as error:
            if any(isinstance(cause, NoConnection) and cause.late for cause in causes(error)):
                raise TimedOut(late=True) from error
            raise _fault(error, lease) from error
        lease.connection.transport.over()
        return Reply(f"http://{addresses[0]}{sent.target}", sent.method, response, lease)

    def _ask(self, lease: Lease, addresses: Sequence[Address], sent: Sent) -> Deferred[Any]:
        named = {name: [value] for name, value in sent.headers.items()}
        headers = Headers({**_EVERY, **named, "Host": [str(addresses[0])]})
        endpoint = _Wide(AnyAddress(self._reactor, addresses, self._connect))
        agent = Agent.usingEndpointFactory(self._reactor, _Fixed(endpoint), lease)
        url = f"http://{addresses[0]}{sent.target}"
        body = _Body(sent.body) if sent.method == "POST" else None
        asking: Deferred[Any] = agent.request(sent.method.encode(), url.encode(), headers, body)
        return asking

    async def close(self) -> None:
        """End all connections, also those in use; they are gone when it returns."""
        self._closed = True
        self._pool.abort_all()
        await deferLater(self._reactor, 0)
        self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]  # Twisted's own
        await deferLater(self._reactor, 0)


class _Client(HTTP11ClientProtocol):
    """Its answers' chunks are read by ``Chunks``."""

    def request(self, request: Any) -> Deferred[Any]:
        asking: Deferred[Any] = super().request(request)
        # None where the connection was lost already.
        if self._parser is not None:
            self._parser._transferDecoders = _DECODERS  # noqa: SLF001  # no other way to it
        return asking


class _Clients(Factory):
    def __init__(self, quiescent: Callable[[Any], object], _described: str) -> None:
        self._quiescent = quiescent

    def buildProtocol(self, addr: object) -> HTTP11ClientProtocol:
        del addr
        client: HTTP11ClientProtocol = _Client(self._quiescent)  # type: ignore[no-untyped-call]
        return client


class _Pool(Pool):
    _factory = _Clients  # type: ignore[assignment]  # has what is called of Twisted's own


class _Fixed:
    """The endpoint is known already."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        del uri
        return self._endpoint


@implementer(IStreamClientEndpoint)
class _Wide:
    """Its connections are read in big pieces."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._endpoint.connect(protocolFactory).addCallback(self._connected)

    @staticmethod
    def _connected(protocol: Any) -> IProtocol:
        protocol.transport.bufferSize = READ_SIZE
        connected: IProtocol = protocol
        return connected


@implementer(IBodyProducer)
class _Body:
    """The body of a request, all at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def stopProducing(self) -> None:
        """It has produced all there is."""

    def pauseProducing(self) -> None:
        """Likewise."""

    def resumeProducing(self) -> None:
        """Likewise."""


def _fault(error: Exception, lease: Lease) -> LineFault:
    kind, words = explain(error)
    if isinstance(error, ResponseNeverReceived | RequestTransmissionFailed):
        if lease.connection.transport.bytes:
            return LineFault(PeerKind.WRONG, "what it sent is no answer")
        return LineFault(PeerKind.CUT, words, stale=lease.reused)
    return LineFault(
        PeerKind.REFUSED if kind is UpstreamKind.UNREACHABLE else PeerKind.WRONG, words
    )
