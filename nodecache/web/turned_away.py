"""Who comes to a port that has as many connections as it may have is told so.

A runtime that reads a 503 goes to its next source at once; one whose connection
is closed may take that for an accident, and try the same again. The answer is
given when a request begins to come: one that comes unasked is no answer to most
clients. It costs a connection for a moment, so there is a bound on these too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IDelayedCall, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure as Reason

from nodecache.answers import answer, seemingly_asked
from nodecache.failures import Crowded
from nodecache.limits import MIB

if TYPE_CHECKING:
    from nodecache.web.site import GuardedSite

#: Of these at a time, for a port; more are closed at once.
TURNED_AWAY: Final = 64
#: Seconds that one has to say something, and again to read its answer.
PATIENCE: Final = 1.0
#: Bytes that are thrown away of what it sends.
HEARD_OUT: Final = MIB


def refusal_of(begin: bytes, reason: str, *, sole_registry: bool = False) -> bytes:
    """The answer to a request that begins with ``begin``: its first bytes, whatever they are."""
    method, _, rest = begin.partition(b"\r\n")[0].partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    refusal = answer(Crowded(reason), seemingly_asked(path), sole_registry=sole_registry)
    body = refusal.body()
    headers = [
        f"HTTP/1.1 {refusal.status} {'Not Found' if refusal.status == 404 else 'Unavailable'}",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    head = "\r\n".join([*headers, "", ""]).encode("ascii")
    return head if method == b"HEAD" else head + body


class TurnedAwayChannel(Protocol):
    """One connection too many."""

    def __init__(self, site: GuardedSite, reason: str) -> None:
        self._site = site
        self._reason = reason
        self._said = False
        self._heard = 0
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._site.turned_away.add(self)
        self._timer = self._site.clock.callLater(PATIENCE, self._waited)

    def connectionLost(self, reason: Reason = connectionDone) -> None:
        del reason
        self._site.turned_away.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dataReceived(self, data: bytes) -> None:
        self._heard += len(data)
        if self._heard > HEARD_OUT:
            self.abort()
        elif not self._said:
            self._say(data)

    def _say(self, begin: bytes) -> None:
        self._said = True
        transport: Any = self.transport
        sole = self._site.sole_registry
        transport.write(refusal_of(begin, self._reason, sole_registry=sole))
        # A socket that is closed with bytes unread would take the answer away with it.
        if ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport):
            transport.loseWriteConnection()
        else:
            transport.loseConnection()
        assert self._timer is not None
        self._timer.reset(PATIENCE)

    def _waited(self) -> None:
        self._timer = None
        self.abort()

    def abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
