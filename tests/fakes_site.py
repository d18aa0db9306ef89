"""A scripted HTTP site on a loopback port (real sockets; see ``fakes_http``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from tests.fakes_http import Bytes, Change, Fault, Plan, Seen

CHUNK = 64 * 1024


class ScriptedSite:
    """Listens from ``start`` to ``stop``; may stop listening and begin again in between.

    ``answers`` is asked for the Plan of each request. ``requests`` holds all
    of them in order; ``sending`` counts bodies under way and ``most_sending``
    the most there ever were at a time.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        answers: Callable[[Seen], Plan],
        *,
        host: str = "127.0.0.1",
        public_host: str | None = None,
        tls: Any = None,
    ) -> None:
        self.reactor = reactor
        self.name = name
        self.host = host
        self.public_host = public_host or (f"[{host}]" if ":" in host else host)
        self.answers = answers
        self.tls = tls
        self.requests: list[Seen] = []
        self.faults: list[Fault] = []
        self.sending = 0
        self.most_sending = 0
        self.port = 0
        self._listening: Any = None
        self._factory = _Tracked(_QuietSite(_Root(self), reactor=reactor))

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{self.public_host}:{self.port}"

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return self._factory.accepted

    @property
    def connected(self) -> int:
        """Connections open now."""
        return len(self._factory.protocols)

    def start(self) -> None:
        """Listen: on a free port the first time, on the same one again later."""
        if self.tls is not None:
            self._listening = self.reactor.listenSSL(
                self.port, self._factory, self.tls, interface=self.host
            )
        else:
            self._listening = self.reactor.listenTCP(self.port, self._factory, interface=self.host)
        self.port = self._listening.getHost().port

    async def stop(self) -> None:
        """Refuse connections, and end those that are open."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()
        await self._factory.abort_all()

    def fault(
        self,
        *changes: Change,
        times: int | None = None,
        skip: int = 0,
        when: Callable[[Seen], bool] | None = None,
        **fields: str,
    ) -> Fault:
        """Change matching answers: ``times`` of them (None: all) after the first ``skip``.

        ``fields`` are compared with those of ``Seen``: method, kind, name, reference.
        """

        def matches(seen: Seen) -> bool:
            fits = all(getattr(seen, key) == value for key, value in fields.items())
            return fits and (when is None or when(seen))

        fault = Fault(matches, changes, times, skip)
        self.faults.append(fault)
        return fault

    def count(self, **fields: object) -> int:
        return len(self.seen(**fields))

    def seen(self, **fields: object) -> list[Seen]:
        return [
            seen
            for seen in self.requests
            if all(getattr(seen, key) == value for key, value in fields.items())
        ]

    @property
    def sent(self) -> int:
        """Body bytes sent so far."""
        return sum(seen.sent for seen in self.requests)

    def plan(self, seen: Seen) -> Plan:
        plan = self.answers(seen)
        for fault in self.faults:
            if fault.applies(seen):
                for change in fault.changes:
                    plan = change(plan)
        return plan


class _QuietSite(Site):
    def log(self, request: Any) -> None: ...


class _Tracked(WrappingFactory):
    """Knows every open connection, so that a test can end them."""

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self.accepted = 0
        self._empty: Deferred[None] | None = None

    def registerProtocol(self, p: Any) -> None:
        super().registerProtocol(p)
        self.accepted += 1

    def unregisterProtocol(self, p: Any) -> None:
        super().unregisterProtocol(p)
        if not self.protocols and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def abort_all(self) -> Deferred[None]:
        if not self.protocols:
            return succeed(None)
        empty: Deferred[None] = Deferred()
        self._empty = empty
        for connection in list(self.protocols):
            connection.transport.abortConnection()
        return empty


@implementer(IResource)
class _Root:
    isLeaf = True

    def __init__(self, site: ScriptedSite) -> None:
        self._site = site

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        raise AssertionError("a leaf has no children")

    def putChild(self, path: bytes, child: IResource) -> None:
        raise AssertionError("a leaf has no children")

    def render(self, request: Request) -> int:
        seen = _seen(self._site, request)
        self._site.requests.append(seen)
        plan = self._site.plan(seen)
        exchange = _Exchange(self._site, request, seen, plan)
        if plan.before is None:
            exchange.begin()
        else:
            plan.before.wait().addCallback(lambda _none: exchange.begin())
        return NOT_DONE_YET


def _seen(site: ScriptedSite, request: Request) -> Seen:
    path, _, _query = request.uri.decode("latin-1").partition("?")
    return Seen(
        site=site.name,
        method=request.method.decode(),
        path=path,
        query={
            key.decode(): [value.decode() for value in values]
            for key, values in request.args.items()
        },
        headers={
            key.decode().lower(): [value.decode() for value in values]
            for key, values in request.requestHeaders.getAllRawHeaders()
        },
    )


@implementer(IPushProducer)
class _Exchange:
    """One answer on its way out, with backpressure from the socket."""

    def __init__(self, site: ScriptedSite, request: Any, seen: Seen, plan: Plan) -> None:
        self._site = site
        self._request = request
        self._seen = seen
        self._plan = plan
        self._at = 0
        self._stop = 0
        self._gone = False
        self._paused = False
        self._writing = False
        self._held = plan.stall_at is not None
        self._pause: Any = None
        self._counted = False
        request.notifyFinish().addErrback(self._left)

    def begin(self) -> None:
        plan, request = self._plan, self._request
        if self._gone or plan.silent:
            return
        if plan.hang_up or plan.raw is not None:
            if plan.raw:
                request.channel.transport.write(plan.raw)
            request.channel.transport.loseConnection()
            return
        self._headers()
        if request.method == b"HEAD" or plan.status in {204, 304}:
            request.finish()
            return
        self._site.sending += 1
        self._counted = True
        self._site.most_sending = max(self._site.most_sending, self._site.sending)
        if self._at == self._stop and not self._held and self._plan.cut_at is None:
            self._finish()
            return
        if self._at < self._stop:
            request.write(b"")  # the headers leave even if no byte of the body follows
        request.registerProducer(self, True)
        self.resumeProducing()

    def _headers(self) -> None:
        plan, request = self._plan, self._request
        size = plan.body.size
        status, first, stop = plan.status, 0, size
        wanted = _range(self._seen.header("range"), size) if plan.ranges else None
        if wanted is not None and status == 200:
            first, stop = wanted
            if first >= size:
                status, first, stop = 416, 0, 0
                request.setHeader(b"content-range", b"bytes */%d" % size)
            else:
                status, first = 206, max(0, first + plan.shift)
                text = f"bytes {first}-{stop - 1}/{size}"
                request.setHeader(b"content-range", text.encode())
        self._seen.status = status
        self._at, self._stop = first, stop
        self._base = first
        request.setResponseCode(status)
        request.setHeader(b"content-type", plan.media_type.encode())
        if plan.length:
            request.setHeader(b"content-length", b"%d" % (stop - first))
        for name, value in plan.headers.items():
            request.setHeader(name.encode(), value.encode())

    def _limit(self) -> int:
        limits = [self._stop]
        if self._plan.cut_at is not None:
            limits.append(self._base + self._plan.cut_at)
        if self._held and self._plan.stall_at is not None:
            limits.append(self._base + self._plan.stall_at)
        return min(limits)

    def resumeProducing(self) -> None:
        self._paused = False
        if self._writing or self._pause is not None:
            return
        self._writing = True
        while not (self._paused or self._gone) and self._at < self._limit():
            self._write_some()
            if self._plan.drip is not None:
                self._pause = self._site.reactor.callLater(self._plan.drip[1], self._drip)
                break
        self._writing = False
        if not (self._paused or self._gone or self._pause):
            self._at_limit()

    def _write_some(self) -> None:
        size = CHUNK if self._plan.drip is None else self._plan.drip[0]
        data = self._plan.body.read(self._at, min(self._limit(), self._at + size))
        self._at += len(data)
        self._seen.sent += len(data)
        self._request.write(data)

    def _drip(self) -> None:
        self._pause = None
        if not self._paused:
            self.resumeProducing()

    def _at_limit(self) -> None:
        plan = self._plan
        if plan.cut_at is not None and self._at >= self._base + plan.cut_at:
            self._request.unregisterProducer()
            self._request.channel.transport.loseConnection()
        elif self._held and plan.stall_at is not None and self._at >= self._base + plan.stall_at:
            if plan.gate is not None:
                plan.gate.wait().addCallback(self._released)
        elif self._at >= self._stop:
            self._request.unregisterProducer()
            self._finish()

    def _released(self, _none: None) -> None:
        self._held = False
        if not self._gone:
            self.resumeProducing()

    def _finish(self) -> None:
        self._gone = True
        self._done()
        self._request.finish()

    def _left(self, reason: Failure) -> None:
        reason.trap(ConnectionDone, Exception)
        self._gone = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._done()

    def _done(self) -> None:
        if self._counted:
            self._counted = False
            self._site.sending -= 1

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._gone = True


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None for what is not one plain range."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def fixed(plan: Plan) -> Callable[[Seen], Plan]:
    """A site that always answers the same."""
    return lambda _seen: plan


NOTHING_HERE = attrs.evolve(
    Plan(), status=404, body=Bytes(b"nothing here"), media_type="text/plain"
)
