"""From a URL to a connection: directly, through a proxy, guarded, with TLS or without."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from nodecache.upstream.guard import AddressRefused, Guard, GuardedReactor
from nodecache.upstream.proxy import Proxies, Proxy
from nodecache.upstream.reads import READ_SIZE
from nodecache.upstream.records import Secured
from nodecache.upstream.trust import Trust
from nodecache.upstream.tunnel import Tunnel
from nodecache.upstream.urls import origin_of, port_of
from nodecache.upstream.waits import TimedOut, bounded

#: Seconds until the next address of a name is tried beside the one before (RFC
#: 8305). Twisted waits as long before it tells that the last one was refused.
ATTEMPT_DELAY = 0.15


class NoConnection(Exception):
    """No connection within the time for one; DNS counts in it."""

    def __init__(self, *, late: bool) -> None:
        super().__init__("no connection in time")
        self.late = late


@attrs.frozen
class Route:
    """How to send a request. Connections with the same ``key`` are interchangeable.

    ``proxy`` is set where the proxy itself is asked for the URL (plain http).
    """

    key: Hashable
    endpoint: IStreamClientEndpoint
    proxy: Proxy | None = None


class Dial:
    """Makes routes for one upstream."""

    def __init__(self, reactor: Any, trust: Trust, proxies: Proxies, connect: float) -> None:
        self._reactor = reactor
        self._trust = trust
        self._proxies = proxies
        self._connect = connect

    def route(self, url: str, guard: Guard, *, trusted: bool) -> Route:
        """``trusted``: the host is a configured one, and may be anywhere.

        Raises AddressRefused where the name alone tells enough.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", port_of(parts)
        key: tuple[Hashable, ...] = (origin_of(url), "" if trusted else guard.label)
        proxy = self._proxies.choose(parts.scheme, host, port)
        if proxy is None:
            direct = self._direct(host, port, guard, trusted=trusted)
            return Route(key, self._secured(parts.scheme, host, direct))
        if not trusted and not guard.permits_name(host):
            raise AddressRefused(host)
        to_proxy = self._to_host(self._reactor, proxy.host, proxy.port)
        if parts.scheme == "http":
            return Route(("proxy", proxy), self._timed(to_proxy), proxy)
        tunnel = self._timed(Tunnel(to_proxy, proxy, host, port))
        return Route((*key, proxy), self._secured(parts.scheme, host, tunnel))

    def _direct(
        self, host: str, port: int, guard: Guard, *, trusted: bool
    ) -> IStreamClientEndpoint:
        reactor = self._reactor if trusted else GuardedReactor(self._reactor, guard)
        endpoint = self._to_host(reactor, host, port)
        return self._timed(endpoint, guard.reached if trusted else None)

    def _to_host(self, reactor: Any, host: str, port: int) -> HostnameEndpoint:
        return HostnameEndpoint(reactor, host, port, self._connect, attemptDelay=ATTEMPT_DELAY)

    def _timed(
        self, endpoint: Any, reached: Callable[[str], None] | None = None
    ) -> IStreamClientEndpoint:
        return _Timed(self._reactor, endpoint, self._connect, reached)

    def _secured(
        self, scheme: str, host: str, endpoint: IStreamClientEndpoint
    ) -> IStreamClientEndpoint:
        if scheme != "https":
            return endpoint
        return Secured(self._trust.for_host(host), endpoint)


@implementer(IStreamClientEndpoint)
class _Timed:
    """Bounds a connect as a whole, sets the read size, and tells where it led."""

    def __init__(
        self, clock: Any, endpoint: Any, seconds: float, reached: Callable[[str], None] | None
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._seconds = seconds
        self._reached = reached

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting = bounded(self._clock, self._endpoint.connect(protocolFactory), self._seconds)
        return connecting.addCallbacks(self._connected, _explained)

    def _connected(self, protocol: Any) -> IProtocol:
        transport = protocol.transport
        transport.bufferSize = READ_SIZE
        if self._reached is not None:
            self._reached(transport.getPeer().host)
        connected: IProtocol = protocol
        return connected


def _explained(failure: Failure) -> Failure:
    if isinstance(failure.value, TimedOut):
        raise NoConnection(late=failure.value.late)
    return failure
