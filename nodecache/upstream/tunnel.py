"""A TCP connection through an HTTP proxy, by CONNECT (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nodecache.upstream.proxy import Proxy

#: Bytes of a proxy's answer to CONNECT; more is no answer.
ANSWER_LENGTH = 16 * 1024

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r|\n)")


class ProxyRefused(Exception):
    """The proxy did not connect us; the message says what it answered."""


@implementer(IStreamClientEndpoint)
class Tunnel:
    """Connects to ``host:port`` through ``proxy``, which ``endpoint`` leads to."""

    def __init__(self, endpoint: Any, proxy: Proxy, host: str, port: int) -> None:
        self._endpoint = endpoint
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._request = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the inner protocol; fails with ProxyRefused, or as the endpoint does."""
        factory = Factory.forProtocol(lambda: _Opening(self._request, protocolFactory))
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda opening: opening.opened)


class _Opening(Protocol):
    """Asks for the tunnel; once it is open, hands everything on to the inner protocol."""

    def __init__(self, request: bytes, factory: IProtocolFactory) -> None:
        self._request = request
        self._factory = factory
        self._answer = b""
        self._inner: IProtocol | None = None
        self.opened: Deferred[IProtocol] = Deferred(lambda _d: self._abort())

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if end:
            self._answered(head + b"\r\n", rest)
        elif len(self._answer) > ANSWER_LENGTH:
            self._refuse("the proxy's answer to CONNECT has no end")

    def _answered(self, head: bytes, rest: bytes) -> None:
        status = _STATUS.match(head)
        if status is None:
            self._refuse("the proxy's answer to CONNECT is no HTTP")
        elif status[1] == b"407":
            self._refuse("the proxy wants a login (407)")
        elif not status[1].startswith(b"2"):
            self._refuse(f"the proxy answered CONNECT with {status[1].decode()}")
        else:
            self._open(rest)

    def _open(self, rest: bytes) -> None:
        assert self.transport is not None
        peer: IAddress = self.transport.getPeer()
        inner = self._factory.buildProtocol(peer)
        if inner is None:
            self._refuse("no protocol for this connection")
            return
        self._inner = inner
        inner.makeConnection(self.transport)
        self.opened.callback(inner)
        if rest:
            inner.dataReceived(rest)

    def _refuse(self, why: str) -> None:
        opened = self.opened
        self._abort()
        if not opened.called:
            opened.errback(ProxyRefused(why))

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self.opened.errback(ProxyRefused("the proxy hung up on CONNECT"))
