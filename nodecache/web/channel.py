"""One client's connection: HTTP/1.1 within limits.

Beside the limits on lines and headers, six things differ from Twisted's own
channel. A head that could be read in two ways is refused (``lines``). A request
has to arrive whole within the idle time, however its bytes trickle. Who sends
many requests at once lets others have their turn between them. A client that
shuts its sending side still gets what it asked for (Twisted would drop it;
other registries answer), and the connection is closed behind the last answer.
A client that is refused while it still sends is heard out for a moment, since
a close would take the answer away from it. And ``congested`` says that the
client has not taken what was written, so that no next answer is begun on top
of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure as Reason
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.http_headers import Headers
from zope.interface import implementer

from nodecache.answers import Asked, answer
from nodecache.failures import BadRequest, RequestProblem
from nodecache.limits import MIB
from nodecache.web.lines import can_go_on, is_header, is_host, version_of

if TYPE_CHECKING:
    from nodecache.web.request import GuardedRequest
    from nodecache.web.site import GuardedSite

#: Bytes of a request body that are read and thrown away. A mirror wants none of
#: them; a larger body is refused before it is read.
BODY_IGNORED = 64 * 1024

#: Bytes that are thrown away of what a client sends that was refused, and the seconds
#: that it is given to read its answer.
HEARD_OUT = 8 * MIB
LINGER = 1.0

#: Requests that are answered in a row, where more have come already: 64 KiB, which is what
#: one turn reads of a socket, hold thousands.
IN_A_ROW = 16

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
        self.broken_off = False
        self.busy: GuardedRequest | None = None
        self._half_closed = False
        self._receiving = 0
        self._spoken = False
        #: Minor version of the request whose head is being received.
        self._head: int | None = None
        #: Host headers of it.
        self._hosts = 0
        self._thrown_away = 0
        self._linger: IDelayedCall | None = None
        self._answered = 0
        self._next_turn: IDelayedCall | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channel_made(self)

    def connectionLost(self, reason: Reason = connectionDone) -> None:
        for call in (self._linger, self._next_turn):
            if call is not None:
                call.cancel()
        self._linger = self._next_turn = None
        super().connectionLost(reason)
        self.site.channel_gone(self)

    # The clock runs until a request is whole.

    def resetTimeout(self) -> None:
        """Bytes alone buy no time."""

    def timeoutConnection(self) -> None:
        if self._buffer or self._head is not None or self._command_begun():
            self.site.too_slow(self)
        super().timeoutConnection()

    def _command_begun(self) -> bool:
        """Whether a request's body is being received."""
        return bool(self.requests) and self.busy is None

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
            self._throw_away(data)
            return
        self._receiving += 1
        try:
            super().dataReceived(data)
            if self.line_mode and not can_go_on(self._buffer):
                self._respondToBadRequestAndDisconnect()
        finally:
            self._receiving -= 1
        self._close_when_over()

    def lineReceived(self, line: bytes) -> None:
        if self.refused:
            return
        if self._head is None:
            self._head, self._hosts = version_of(line), 0
            # One empty line before a request is let pass, and what follows a last one.
            if self._head is None and line and self.persistent:
                self._respondToBadRequestAndDisconnect()
                return
        elif not line:
            if not self._names_host():
                self.refuse(RequestProblem.QUERY, "a request names one host (RFC 9112, 3.2)")
                return
            self._head = None
        elif not is_header(line, self._head):
            self._receivedHeaderSize += len(line)
            self._respondToBadRequestAndDisconnect()
            return
        elif is_host(line):
            self._hosts += 1
        super().lineReceived(line)

    def _names_host(self) -> bool:
        """Once, as RFC 9112 (3.2) asks; only HTTP/1.0 may leave it out."""
        return self._hosts == 1 or (self._hosts == 0 and self._head == 0)

    def rawDataReceived(self, data: bytes) -> None:
        if not self.refused:
            super().rawDataReceived(data)

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away += len(data)
        if self._thrown_away > HEARD_OUT:
            self.abort()

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        self._answered += 1
        if self._buffer and not self._answered % IN_A_ROW and not self.paused:
            self.paused = True
            self._next_turn = self.site.clock.callLater(0, self._go_on)
        self._close_when_over()

    def _go_on(self) -> None:
        self._next_turn = None
        self.paused = False
        self.dataReceived(b"")

    def _close_when_over(self) -> None:
        over = self.busy is None and not self._receiving and not self.paused
        if self._half_closed and over:
            self.loseConnection()

    def abort(self) -> None:
        """Reset the connection."""
        transport: Any = self.transport
        transport.abortConnection()

    def break_off(self) -> None:
        """Close behind what was written; a reset, if the client does not take that."""
        self.broken_off = True
        if self._linger is None:
            self._linger = self.site.clock.callLater(self.site.stall, self._lingered)
        self.loseConnection()

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
        self._close_for_reader()

    def _close_for_reader(self) -> None:
        """Close, but take in for a while what is still on its way.

        A socket that is closed with bytes unread resets the connection, and
        the answer may be lost with it.
        """
        transport: Any = self.transport
        producer: Any = self._networkProducer
        if self._half_closed or self.isSecure() or not ITCPTransport.providedBy(transport):
            self.loseConnection()
            return
        producer.unregisterProducer()
        self._linger = self.site.clock.callLater(LINGER, self._lingered)
        transport.loseWriteConnection()

    def _lingered(self) -> None:
        self._linger = None
        self.abort()

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
