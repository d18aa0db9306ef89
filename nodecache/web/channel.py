"""One client's connection: HTTP/1.1 within limits.

Beside the limits on lines and headers, three things differ from Twisted's own
channel. A request has to arrive whole within the idle time, however its bytes
trickle. A client that shuts its sending side still gets what it asked for
(Twisted would drop it; other registries answer), and the connection is closed
behind the last answer. And ``congested`` says that the client has not taken
what was written, so that no next answer is begun on top of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure as Reason
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.http_headers import Headers
from zope.interface import implementer

from nodecache.answers import Asked, answer
from nodecache.failures import BadRequest, RequestProblem

if TYPE_CHECKING:
    from nodecache.web.request import GuardedRequest
    from nodecache.web.site import GuardedSite

#: Bytes of a request body that are read and thrown away. A mirror wants none of
#: them; a larger body is refused before it is read.
BODY_IGNORED = 64 * 1024

#: First byte of a TLS ClientHello. podman, skopeo, CRI-O and dockerd try https
#: before http where a registry is marked insecure, and a hello holds no line end:
#: left unanswered, each pull would wait out the client's handshake (10 s, measured).
TLS_HANDSHAKE = b"\x16"

READING_METHODS = frozenset({b"GET", b"HEAD"})


@implementer(IHalfCloseableProtocol)
class GuardedChannel(HTTPChannel):
    """Made by a ``GuardedSite``, which sets the limits."""

    site: GuardedSite

    def __init__(self) -> None:
        super().__init__()
        self.host = ""
        self.congested = False
        self.refused = False
        self.busy: GuardedRequest | None = None
        self._half_closed = False
        self._receiving = 0
        self._spoken = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channel_made(self)

    def connectionLost(self, reason: Reason = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.channel_gone(self)

    # The clock runs until a request is whole.

    def resetTimeout(self) -> None:
        """Bytes alone buy no time."""

    # The client's pace.

    def pauseProducing(self) -> None:
        self.congested = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self.congested = False
        super().resumeProducing()

    # The client has shut its sending side.

    def readConnectionLost(self) -> None:
        self._half_closed = True
        self._close_when_over()

    def writeConnectionLost(self) -> None:
        """We never shut ours alone."""

    def dataReceived(self, data: bytes) -> None:
        if not self._spoken and data.startswith(TLS_HANDSHAKE):
            self.refuse(RequestProblem.QUERY, "this port speaks http, not https")
        self._spoken = True
        if self.refused:
            return
        self._receiving += 1
        try:
            super().dataReceived(data)
        finally:
            self._receiving -= 1
        self._close_when_over()

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        self._close_when_over()

    def _close_when_over(self) -> None:
        if self._half_closed and self.busy is None and not self._receiving:
            self.loseConnection()

    def abort(self) -> None:
        """Reset the connection."""
        transport: Any = self.transport
        transport.abortConnection()

    def close_when_idle(self) -> None:
        """Close now, or behind the answer that is being given."""
        self.persistent = False
        if self.busy is None:
            self.loseConnection()

    # What is no request for us.

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002 -- Twisted's call
        self.refuse(RequestProblem.HEADERS, "a line of the request is too long")

    def refuse_body(self) -> None:
        """The request has more of a body than is read."""
        if getattr(self, "_command", b"GET") in READING_METHODS:
            self.refuse(RequestProblem.BODY, "requests to a mirror have no body")
        else:
            self.refuse(RequestProblem.METHOD, "this mirror is read-only")

    def refuse(self, problem: RequestProblem, message: str) -> None:
        """Answer before the request was read to its end, and close."""
        if self.refused:
            return
        self.refused = True
        refusal = answer(BadRequest(problem, message), Asked.OTHER)
        body = refusal.body()
        headers = Headers()
        for name, value in (
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *refusal.headers,
        ):
            headers.addRawHeader(name, value)
        status = b"%d" % refusal.status
        self.writeHeaders(b"HTTP/1.1", status, RESPONSES.get(refusal.status, b""), headers)
        self.write(body)
        self.site.refused(self, refusal)
        self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        too_much = (
            self._receivedHeaderSize > self.totalHeadersSize
            or self._receivedHeaderCount > self.maxHeaders
        )
        if too_much:
            self.refuse(RequestProblem.HEADERS, "the request has too many or too long headers")
        else:
            self.refuse(RequestProblem.QUERY, "this is no well-formed HTTP/1.1 request")

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()
