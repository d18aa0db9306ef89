"""The admin port: metrics and health, read-only.

The Host header is checked, because a browser on the node could be led here by
a name that a stranger resolves to this address. An address in its place is
harmless, and it is what kubelets and scrapers send.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import attrs
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure as Reason
from werkzeug.exceptions import HTTPException

from nodecache.body import Tools
from nodecache.limits import Limits, Timeouts
from nodecache.seams import Observe, WallClock
from nodecache.web.channel import READING_METHODS
from nodecache.web.request import GuardedRequest
from nodecache.web.site import GuardedSite

TEXT = "text/plain; charset=utf-8"

INDEX = b"nodecache\n\n/metrics  for Prometheus\n/healthz  alive\n/readyz   ready to serve\n"


class Exposition(Protocol):
    """What ``/metrics`` shows."""

    def answer(self, accept: str) -> tuple[bytes, str]:
        """The body and its type, for a client that sent ``accept``."""
        ...


#: None when the node can serve, or why it can not.
Readiness = Callable[[], str | None]


class Admin:
    """The routes. More of them are given to ``admin_site`` as ``more``."""

    def __init__(self, metrics: Exposition, readiness: Readiness) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self.app = Klein()
        self.app.url_map.merge_slashes = False
        # klein's types know no request but its own.
        self.app.handle_errors(HTTPException)(self._nothing_here)  # type: ignore[arg-type]
        for path, answer in (
            ("/metrics", self._scrape),
            ("/healthz", self._alive),
            ("/readyz", self._ready),
        ):
            self.app.route(path, methods=["GET"], endpoint=path)(answer)

    def complete(self) -> Klein:
        """The app, with an index at ``/`` where no status page was put there."""
        if not any(rule.rule == "/" for rule in self.app.url_map.iter_rules()):
            self.app.route("/", methods=["GET"], endpoint="/")(self._index)
        return self.app

    def _index(self, request: GuardedRequest) -> bytes:
        return request.reply(200, INDEX, TEXT)

    def _scrape(self, request: GuardedRequest) -> bytes:
        accepts = request.requestHeaders.getRawHeaders(b"Accept", [])
        body, kind = self._metrics.answer(b",".join(accepts).decode("latin-1"))
        return request.reply(200, body, kind)

    def _alive(self, request: GuardedRequest) -> bytes:
        """Whoever reads this knows that the reactor turns."""
        return request.reply(200, b"ok\n", TEXT)

    def _ready(self, request: GuardedRequest) -> bytes:
        reason = self._readiness()
        if reason is None:
            return request.reply(200, b"ok\n", TEXT)
        return request.reply(503, f"not ready: {reason}\n".encode(), TEXT)

    def _nothing_here(self, request: GuardedRequest, reason: Reason) -> bytes:
        assert isinstance(reason.value, HTTPException)
        status = 404 if (reason.value.code or 500) < 500 else 500
        return request.reply(status, b"nothing is here\n", TEXT)


class AdminRequest(GuardedRequest):
    site: AdminSite

    def respond(self) -> None:
        if self.method not in READING_METHODS:
            self.setHeader("Allow", "GET, HEAD")
            self._refuse(405, b"this port is read-only\n")
        elif not self.site.knows(self.requestHeaders.getRawHeaders(b"Host", [])):
            self._refuse(421, b"this host is not served here\n")
        elif not (self.path.startswith(b"/") and self.path.isascii()):
            self._refuse(404, b"nothing is here\n")
        else:
            self.setHeader("Cache-Control", "no-store")
            self.prepath, self.postpath = [], self.path[1:].split(b"/")
            self.render(self.site.resource)

    def _refuse(self, status: int, text: bytes) -> None:
        self.respond_with(self.reply(status, text, TEXT))


class AdminSite(GuardedSite):
    """``hosts`` are the names, beside addresses and localhost, under which it is known."""

    name = "admin"

    def __init__(self, app: Klein, hosts: Collection[str], *args: Any) -> None:
        super().__init__(app.resource(), AdminRequest, *args)
        self._hosts = frozenset({"localhost", *(host.lower() for host in hosts)})

    def knows(self, hosts: Sequence[bytes]) -> bool:
        """Whether a request with these Host headers means this node. HTTP/1.0 sends none."""
        if len(hosts) != 1:
            return not hosts
        name = _without_port(hosts[0].decode("latin-1").strip().lower())
        return name in self._hosts or _is_address(name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def admin_site(
    metrics: Exposition,
    readiness: Readiness,
    allowed_hosts: Collection[str] = (),
    *,
    clock: IReactorTime,
    observe: Observe,
    wall: WallClock,
    timeouts: Timeouts,
    limits: Limits,
    more: Iterable[Callable[[Klein], None]] = (),
) -> AdminSite:
    """A factory to listen with. ``more`` add routes (a status page, ``/api/v1/…``) to the app."""
    admin = Admin(metrics, readiness)
    for add in more:
        add(admin.app)
    tools = Tools(clock=clock, observe=observe, stall=timeouts.client_stall)
    own = attrs.evolve(
        limits,
        client_connections=limits.admin_clients,
        client_connections_per_address=limits.admin_clients_per_address,
    )
    return AdminSite(admin.complete(), allowed_hosts, tools, wall, timeouts, own)
