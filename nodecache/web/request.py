"""A request to one of our ports, and the answer to it.

The rules that every answer keeps: one set of headers and no ``Server``; a
Content-Length or chunks; after the first byte either the whole body or a
reset, never an error page in the middle of it; and the next request of the
connection is looked at only when the client has taken this answer.
"""

from __future__ import annotations

import fcntl
import io
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure as Reason
from twisted.web.http import datetimeToString
from twisted.web.server import Request

from nodecache.answers import Answer, Asked, answer
from nodecache.body import Outcome, Sender
from nodecache.events import Unexpected
from nodecache.failures import Failure
from nodecache.web.channel import BODY_IGNORED, GuardedChannel

if TYPE_CHECKING:
    from nodecache.web.site import GuardedSite

JSON = "application/json; charset=utf-8"


class LastBytes(Sender):
    """Waits until the client has taken what was written, then finishes the request."""

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._end(Outcome.COMPLETE, "")

    def _begin(self) -> None:
        self._paused = True

    def _release(self) -> None:
        pass


class GuardedRequest(Request):
    """Subclasses bring ``respond``, which may raise."""

    defaultContentType = None
    # None once the request is over.
    channel: GuardedChannel | None = None  # type: ignore[assignment]
    site: GuardedSite

    def __init__(self, channel: GuardedChannel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self.site = channel.site
        self.gone = False
        self.started_at = self.site.clock.seconds()
        self.first_byte_at: float | None = None
        self._open = False  # being answered
        self._aborted = False
        self._body_bytes = 0

    # Reading the request.

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()  # nothing of a body is kept
        if length is not None and length > BODY_IGNORED and self.channel is not None:
            self.channel.refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > BODY_IGNORED and self.channel is not None:
            self.channel.refuse_body()

    def process(self) -> None:
        channel = self.channel
        if channel is None or channel.refused:
            return
        channel.busy = self
        self._open = True
        self.site.active.add(self)
        try:
            if not self.respond_at_once():
                self._begin_headers()
                self.respond()
        except Exception:
            self._begin_headers()
            self.processingFailed(Reason())

    def _begin_headers(self) -> None:
        self.setHeader("Date", datetimeToString(self.site.wall()))
        self.setHeader("X-Content-Type-Options", "nosniff")

    def respond_at_once(self) -> bool:
        """Answer by a shorter way than ``respond``; False: nothing was done, and that has to."""
        return False

    def respond(self) -> None:
        raise NotImplementedError

    # Writing the answer.

    def write(self, data: bytes) -> None:
        if not self.startedWriting and self.channel is not None and not self.channel.persistent:
            self.setHeader("Connection", "close")
        if data and self.first_byte_at is None:
            self.first_byte_at = self.site.clock.seconds()
        super().write(data)

    def finish(self) -> None:
        channel = self.channel
        if not self._open or self._aborted or channel is None:
            return
        if not self.startedWriting:
            self.write(b"")
        if channel.congested:
            LastBytes(self, self.site.tools, self._last_bytes_ended).start()
            return
        self._end(complete=True)
        super().finish()

    def _last_bytes_ended(self, outcome: Outcome, reason: str) -> None:
        if outcome is not Outcome.COMPLETE:
            self.body_ended(outcome, reason)

    def body_ended(self, outcome: Outcome, reason: str) -> None:
        """How the body ended; told again if its last bytes end otherwise."""

    def reply(self, status: int, body: bytes, content_type: str) -> bytes:
        """Set what a small answer needs; returns ``body``, to be written."""
        self.setResponseCode(status)
        self.setHeader("Content-Type", content_type)
        self.setHeader("Content-Length", str(len(body)))
        return body

    def reply_error(self, refusal: Answer) -> bytes:
        """As ``reply``, without what an answer that failed has set before."""
        for name in ("Accept-Ranges", "Content-Range", "Docker-Content-Digest", "ETag"):
            self.responseHeaders.removeHeader(name)
        for name, value in refusal.headers:
            self.setHeader(name, value)
        return self.reply(refusal.status, refusal.body(), JSON)

    def respond_with(self, body: bytes) -> None:
        """Write what ``reply`` returned, and finish."""
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Reason) -> Reason:
        """A defect of ours: a clean 500, or a reset where the answer has begun."""
        self.site.observe(
            Unexpected(
                where=f"{self.method.decode('latin-1')} {type(self).__name__}",
                error=repr(reason.value),
                trace=reason.getTraceback(),
            )
        )
        if not self._open or self._aborted:
            return reason
        if self.startedWriting:
            self.body_ended(Outcome.ABORTED, "a defect of nodecache")
            self.abort()
        else:
            self.respond_with(self.reply_error(self.answer_to(Failure("an unexpected error"))))
        return reason

    def answer_to(self, failure: Failure) -> Answer:
        return answer(failure, Asked.OTHER)

    def abort(self) -> None:
        self._aborted = True
        if self.channel is not None:
            self.channel.abort()

    def break_off(self) -> None:
        """End before the body does; a reset where a client could take the end for its own.

        containerd takes up a body that ends too early by Range, and fails a pull
        whose connection was reset (measured: 1.6 and 2.1).
        """
        framed = self.responseHeaders.hasHeader("Content-Length") or self.chunked
        if not framed or self.channel is None:
            self.abort()
            return
        self._aborted = True
        self.channel.break_off()

    # The end.

    def connectionLost(self, reason: Any) -> None:
        self.gone = True
        super().connectionLost(reason)
        self._end(complete=False)

    def cut(self, reason: str) -> None:
        """Break the answer off."""
        self.body_ended(Outcome.ABORTED, reason)
        self.abort()

    def _end(self, *, complete: bool) -> None:
        if not self._open:
            return
        self._open = False
        self.over(complete=complete)
        if self.channel is not None and self.channel.busy is self:
            self.channel.busy = None
        self.site.request_over(self)

    def over(self, *, complete: bool) -> None:
        """Called once, when the request was answered, or its client is gone."""

    # What klein asks.

    def getRequestHostname(self) -> bytes:
        """Not what the client says: nothing here depends on it, and it may be junk."""
        return b"localhost"

    # The socket.

    def plain_socket(self) -> socket.socket | None:
        return None if self.gone or self.isSecure() else _socket_of(self.transport)

    def unsent(self) -> int:
        found = None if self.gone else _socket_of(self.transport)
        return 0 if found is None else _unsent(found)


def _socket_of(transport: Any) -> socket.socket | None:
    """The socket under a transport, and under TLS if need be."""
    while transport is not None:
        try:
            handle = transport.getHandle()
        except AttributeError:  # a transport of the tests, or one just closed
            return None
        if isinstance(handle, socket.socket):
            return handle
        transport = getattr(transport, "transport", None)
    return None


def _unsent(connected: socket.socket) -> int:
    try:
        return int(struct.unpack("i", fcntl.ioctl(connected, termios.TIOCOUTQ, b"\0" * 4))[0])
    except (OSError, ValueError):  # closed
        return 0
