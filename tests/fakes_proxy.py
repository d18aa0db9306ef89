"""An HTTP proxy on a loopback port: CONNECT, and absolute URLs over plain http."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class FakeProxy:
    """``asked`` holds the first lines of all requests; ``answer`` replaces the proxy's own.

    ``login`` is ``user:password``. ``places`` maps host names to addresses: a
    proxy knows names that its client does not.
    """

    def __init__(self, reactor: Any, login: str | None = None) -> None:
        self.reactor = reactor
        self.login = login
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: bytes | None = None
        self.places: dict[str, str] = {}
        self.open: set[_Side] = set()
        self._port: Any = None

    def start(self) -> FakeProxy:
        factory = Factory.forProtocol(lambda: _Front(self))
        self._port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        return self

    @property
    def url(self) -> str:
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        stopped = self._port.stopListening()
        if stopped is not None:
            await stopped
        lost = [side.lost for side in self.open]
        for side in tuple(self.open):
            side.transport.abortConnection()
        for one in lost:
            await one

    def refuses(self, headers: dict[str, str]) -> bool:
        if self.login is None:
            return False
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        return headers.get("proxy-authorization") != expected


class _Side(Protocol):
    transport: Any

    def __init__(self, proxy: FakeProxy) -> None:
        self.proxy = proxy
        self.other: _Side | None = None
        self.waiting = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.proxy.open.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.proxy.open.discard(self)
        if self.other is not None:
            self.other.transport.loseConnection()
        self.lost.callback(None)

    def join(self, other: _Side) -> None:
        self.other, other.other = other, self

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
        else:
            self.waiting += data


class _Front(_Side):
    """The side that the client is on."""

    head: bytes | None = None

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.head is not None or b"\r\n\r\n" not in self.waiting:
            return
        self.head, _, self.waiting = self.waiting.partition(b"\r\n\r\n")
        first, *lines = self.head.decode().split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        self.proxy.asked.append(first)
        self.proxy.headers.append(headers)
        if self.proxy.answer is not None:
            self.transport.write(self.proxy.answer)
        elif self.proxy.refuses(headers):
            self.transport.write(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n")
        else:
            self._connect(first, lines)

    def _connect(self, first: str, lines: list[str]) -> None:
        method, target, version = first.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = self.proxy.places.get(parts.hostname or "", parts.hostname or "")
        if method == "CONNECT":
            greeting, opening = b"", b"HTTP/1.1 200 Connected\r\n\r\n"
        else:
            path = parts._replace(scheme="", netloc="").geturl()
            kept = [line for line in lines if not line.lower().startswith("proxy-")]
            kept.append("Connection: close")
            request = "\r\n".join([f"{method} {path} {version}", *kept, "", ""])
            greeting, opening = request.encode(), b""
        back = Factory.forProtocol(lambda: _Side(self.proxy))
        endpoint = HostnameEndpoint(self.proxy.reactor, host, parts.port or 80)
        endpoint.connect(back).addCallbacks(
            lambda side: self._joined(side, greeting, opening), lambda _failed: self._failed()
        )

    def _joined(self, side: Any, greeting: bytes, opening: bytes) -> None:
        self.join(side)
        side.transport.write(greeting + self.waiting)
        self.transport.write(opening)

    def _failed(self) -> None:
        self.transport.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        self.transport.loseConnection()
