"""Answers to requests for manifests that are in memory: most requests of a node at work.

Theory of operation. The long way of a request (parse, klein, a coroutine, the
cache) costs about half a millisecond of processor time, for an answer that is
known. The short way asks the cache whether the answer is known *now*
(``Registry.ready_manifest``), and joins bytes that were put together when it was
given first. Everything else is as on the long way: the same bytes, the same
events, the same pulls. Whatever the short way does not know (a range, another
method or version, an answer that has to be looked for, a failure) goes the long
way, from its beginning.
"""

from __future__ import annotations

from typing import Final, Protocol

import attrs
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from nodecache.body import Outcome
from nodecache.failures import BadRequest, Failure
from nodecache.reference import ManifestPath, Query, Repository, Tag, parse_path, parse_query
from nodecache.results import ManifestResult, Registry
from nodecache.seams import WallClock
from nodecache.traces import CURRENT, Trace
from nodecache.web.exchange import Exchange
from nodecache.web.pulling import PullsTold

#: URIs of which it is remembered what they mean, and the longest of them in bytes.
REMEMBERED: Final = 1024
LONGEST: Final = 512

_MARK: Final = b"/manifests/"
_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD"}
API_VERSION: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
NO_SNIFFING: Final = ("X-Content-Type-Options", "nosniff")


@attrs.frozen
class Plain:
    """A request by HTTP/1.1 without a body, on a connection that stays: all that matters of it.

    ``agent`` is as it is told of, ``traceparent`` as it was sent.
    """

    method: bytes
    uri: bytes
    agent: str
    traceparent: str | None


@attrs.frozen
class Given:
    """What is to be sent, with ``size`` bytes of a body, and what is to be told once it is."""

    exchange: Exchange
    data: bytes
    size: int


class Site(Protocol):
    """Whose requests they are."""

    wall: WallClock
    pulls: PullsTold

    def next_id(self) -> str: ...

    def trace_of(self, traceparent: str | None) -> Trace: ...


@attrs.define
class _Page:
    """What one URI means, and the last answer to it: ``head`` goes behind the request's name."""

    path: ManifestPath
    query: Query
    result: ManifestResult | None = None
    head: bytes = b""
    body: bytes = b""

    def hold(self, result: ManifestResult, body: bytes) -> None:
        self.head = _lines(*_own_headers(self.query, result)) + b"\r\n"
        self.result, self.body = result, body


def _own_headers(query: Query, result: ManifestResult) -> list[tuple[str, str]]:
    """Those of the answer itself, in the order of the long way."""
    namespace = query.namespace
    return [
        *([] if namespace is None else [("OCI-Namespace", namespace)]),
        ("Docker-Content-Digest", str(result.digest)),
        ("ETag", f'"{result.digest}"'),
        ("Accept-Ranges", "bytes"),
        ("Nodecache-Source", result.source.value),
        ("Content-Type", result.media_type),
        ("Content-Length", str(result.size)),
    ]


def _lines(*headers: tuple[str, str]) -> bytes:
    """As Twisted would send them."""
    held = Headers()
    for name, value in headers:
        held.addRawHeader(name, value)
    return b"".join(
        name + b": " + value + b"\r\n"
        for name, values in held.getAllRawHeaders()
        for value in values
    )


class ReadyAnswers:
    """``give`` is the short way. What it returns is to be sent, whole, and then told of."""

    def __init__(self, registry: Registry, site: Site) -> None:
        self._registry = registry
        self._site = site
        self._pages: dict[bytes, _Page] = {}
        self._second = -1
        self._start = b""
        self._after_date = _lines(NO_SNIFFING, API_VERSION) + b"Nodecache-Request-Id: "

    def give(self, asked: Plain, client: str, now: float, most: int | None = None) -> Given | None:
        """None: the long way has to be gone. ``now`` is when the request had come, monotonic.

        A manifest of more than ``most`` bytes is not given.
        """
        method = _METHODS.get(asked.method)
        page = self._pages.get(asked.uri) or self._learn(asked.uri)
        if method is None or page is None:
            return None
        try:
            repository = self._registry.repository(page.path.name, page.query.namespace)
        except Failure:
            return None
        result = self._registry.ready_manifest(repository, page.path.reference)
        if result is None or not result.body or result.warning is not None:
            return None
        if most is not None and result.size > most:
            return None
        if page.result is not result:
            page.hold(result, result.body)
        exchange = self._exchange(asked, method, client, now)
        self._tell(exchange, repository, page, result)
        name = exchange.request_id.encode("ascii")
        body = page.body if method == "GET" else b""
        parts = (self._status(), self._after_date, name, b"\r\n", page.head, body)
        return Given(exchange, b"".join(parts), len(body))

    def _learn(self, uri: bytes) -> _Page | None:
        if _MARK not in uri or len(uri) > LONGEST:
            return None
        raw_path, _, raw_query = uri.partition(b"?")
        try:
            path, query = parse_path(raw_path), parse_query(raw_query)
        except BadRequest:
            return None
        if not isinstance(path, ManifestPath):
            return None
        if len(self._pages) >= REMEMBERED:
            del self._pages[next(iter(self._pages))]
        page = self._pages[uri] = _Page(path, query)
        return page

    def _exchange(self, asked: Plain, method: str, client: str, now: float) -> Exchange:
        return Exchange(
            request_id=self._site.next_id(),
            client=client,
            agent=asked.agent,
            method=method,
            started_at=now,
            trace=self._site.trace_of(asked.traceparent),
            kind="manifest",
        )

    def _tell(
        self, exchange: Exchange, repository: Repository, page: _Page, result: ManifestResult
    ) -> None:
        reference = page.path.reference
        exchange.namespace, exchange.repository = repository.namespace, repository.name
        exchange.reference = str(reference)
        exchange.source, exchange.outcome = result.source.value, Outcome.COMPLETE
        self._site.pulls.started(exchange)
        within = CURRENT.set(exchange.trace)
        try:
            self._registry.gave_manifest(repository, reference, result)
        finally:
            CURRENT.reset(within)
        if isinstance(reference, Tag):
            self._site.pulls.resolved(exchange, str(result.digest))

    def _status(self) -> bytes:
        """The status line and the date, anew each second."""
        now = self._site.wall()
        if int(now) != self._second:
            self._second = int(now)
            self._start = b"HTTP/1.1 200 OK\r\n" + b"Date: " + datetimeToString(now) + b"\r\n"
        return self._start


__all__ = ["API_VERSION", "NO_SNIFFING", "Given", "Plain", "ReadyAnswers", "Site"]
