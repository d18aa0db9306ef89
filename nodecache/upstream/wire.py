"""One request, one answer: connections and HTTP, and nothing of registries.

Twisted's Agent sends and parses. What it leaves open is added around it: a
``Lease`` for each request knows the connection that served it, so that it can
be aborted at any time (the response itself can not); the head of an answer is
bounded; a request that died on a kept connection before a byte came back is
sent again on another one; redirects and encodings are left to the caller.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ProxyAgent,
    RequestTransmissionFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from nodecache import __version__
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.upstream.dial import Dial, NoConnection, Route
from nodecache.upstream.explain import causes, explain
from nodecache.upstream.guard import Guard
from nodecache.upstream.head import connect
from nodecache.upstream.reads import Reads
from nodecache.upstream.urls import host_of
from nodecache.upstream.waits import TimedOut, bounded

#: Idle connections to one host that are kept; more than are used at a time.
MOST_KEPT = 32

#: What every request says: bytes as they are stored, and who asks (some hosts
#: refuse those who do not say).
EVERY = {"Accept-Encoding": "identity", "User-Agent": f"nodecache/{__version__}"}


class Reply:
    """Status and headers of an answer whose body is still to come, or to be dropped.

    ``taken``: somebody has seen to the body already.
    """

    def __init__(self, url: str, method: str, response: Any, lease: Lease) -> None:
        self.url = url
        self.method = method
        self.status: int = response.code
        self.response = response
        self.taken = False
        self._lease = lease

    @property
    def host(self) -> str:
        return host_of(self.url)

    def headers(self, name: str) -> list[str]:
        """The header's lines; empty when it was not sent."""
        lines = self.response.headers.getRawHeaders(name.encode()) or []
        return [line.decode("latin-1").strip() for line in lines]

    def header(self, name: str) -> str | None:
        lines = self.headers(name)
        return ", ".join(lines) if lines else None

    @property
    def length(self) -> int | None:
        """Bytes of the body; of a HEAD's, those that a GET would have had."""
        if self.method == "HEAD":
            text = self.header("Content-Length") or ""
            return int(text) if text.isascii() and text.isdigit() else None
        return None if self.response.length is UNKNOWN_LENGTH else int(self.response.length)

    def abort(self) -> None:
        """Close the connection at once. Only while the body has not ended."""
        self._lease.abort()


@attrs.define(eq=False)
class Lease:
    """The pool as one request sees it; remembers the connection that it was given."""

    pool: Pool
    key: Hashable
    persistent: bool = True
    connection: Any = None
    reused: bool = True

    def getConnection(self, key: Hashable, endpoint: Any) -> Deferred[Any]:
        """What Agent asks of its pool. The key is ours: it knows of guards and proxies."""
        del key
        getting: Deferred[Any] = self.pool.getConnection(self.key, _Noticed(endpoint, self))
        return getting.addCallback(self._took)

    def _took(self, connection: Any) -> Any:
        self.connection = connection
        self.pool.lent.add(connection)
        return connection

    @property
    def headless(self) -> bool:
        """Whether an answer was given up in its head, which had no end."""
        return self.connection is not None and self.connection.transport.endless

    def abort(self) -> None:
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abortConnection()


@implementer(IStreamClientEndpoint)
class _Noticed:
    """Tells its lease when a new connection is made, and the pool when it is lost."""

    def __init__(self, endpoint: Any, lease: Lease) -> None:
        self._endpoint = endpoint
        self._lease = lease

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self._lease.reused = False
        return connect(self._endpoint, protocolFactory, self._lease.pool.reads)


class Pool(HTTPConnectionPool):
    """``lent`` are connections that may be in use, to be aborted at the end."""

    retryAutomatically = False  # our own retry knows the deadline
    maxPersistentPerHost = MOST_KEPT

    def __init__(self, reactor: Any, keepalive: float) -> None:
        super().__init__(reactor)  # type: ignore[no-untyped-call]  # Twisted's own
        self.cachedConnectionTimeout = keepalive  # type: ignore[assignment]  # for callLater
        self.lent: set[Any] = set()
        self.reads = Reads()

    def forget_lost(self) -> None:
        self.lent = {one for one in self.lent if one.state != "CONNECTION_LOST"}

    def abort_all(self) -> None:
        """End all connections; they are lost in the reactor's next turn."""
        self.forget_lost()
        for connection in self.lent:
            connection.transport.abortConnection()
        self.lent.clear()


class Wire:
    """Sends requests for one upstream, over its own connections."""

    def __init__(self, reactor: Any, dial: Dial, keepalive: float) -> None:
        self._reactor = reactor
        self._dial = dial
        self._pool = Pool(reactor, keepalive)
        self._closed = False

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        guard: Guard,
        *,
        trusted: bool,
        seconds: float,
    ) -> Reply:
        """Returns once the answer's headers are in; its body waits, the connection paused.

        Raises TimedOut after ``seconds``, and UpstreamFailure: UNREACHABLE,
        WRONG (an address that is refused), ERROR (no HTTP).
        """
        until = self._reactor.seconds() + seconds
        while True:
            try:
                route = self._dial.route(url, guard, trusted=trusted)
            except Exception as error:
                raise _failure(error) from error
            lease = Lease(self._pool, route.key)
            left = until - self._reactor.seconds()
            try:
                asking = self._ask(lease, route, method, url, headers)
                response = await bounded(self._reactor, asking, left)
            except (CancelledError, TimedOut):
                raise
            except Exception as error:
                if lease.headless:
                    words = "its headers have no end"
                    raise UpstreamFailure(UpstreamKind.ERROR, words) from error
                if lease.reused and _was_stale(error) and not self._closed:
                    continue
                raise _failure(error) from error
            lease.connection.transport.over()
            return self._reply(Reply(url, method, response, lease), route)

    def _ask(
        self, lease: Lease, route: Route, method: str, url: str, headers: Mapping[str, str]
    ) -> Deferred[Any]:
        self._pool.forget_lost()
        raw = Headers({name: [value] for name, value in {**EVERY, **headers}.items()})
        raw.setRawHeaders("Host", [urlsplit(url).netloc])
        agent: Any
        if route.proxy is None:
            agent = Agent.usingEndpointFactory(self._reactor, _Fixed(route.endpoint), lease)
        else:
            if route.proxy.authorization is not None:
                raw.setRawHeaders("Proxy-Authorization", [route.proxy.authorization])
            agent = ProxyAgent(route.endpoint, self._reactor, lease)
        asking: Deferred[Any] = agent.request(method.encode(), url.encode(), raw)
        return asking

    def _reply(self, reply: Reply, route: Route) -> Reply:
        if route.proxy is not None and reply.status == 407:
            reply.abort()
            raise UpstreamFailure(UpstreamKind.UNREACHABLE, "the proxy wants a login (407)")
        return reply

    async def close(self) -> None:
        """End all connections, also those in use; they are gone when it returns."""
        self._closed = True
        self._pool.abort_all()
        await deferLater(self._reactor, 0)
        # This may have been called from within an answer that was coming in,
        # and its connection gone back to the pool since.
        self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]  # Twisted's own
        await deferLater(self._reactor, 0)


class _Fixed:
    """The endpoint is known already."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        del uri
        return self._endpoint


def _was_stale(error: BaseException) -> bool:
    """A kept connection that the other side had closed: nothing came back on it."""
    return isinstance(error, ResponseNeverReceived | RequestTransmissionFailed)


def _failure(error: BaseException) -> UpstreamFailure | TimedOut:
    for cause in causes(error):
        if isinstance(cause, NoConnection) and cause.late:
            return TimedOut(late=True)
    kind, words = explain(error)
    return UpstreamFailure(kind, words)
