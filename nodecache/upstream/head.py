"""The head of an answer is bounded in bytes: who sends headers without an end is not heard out.

Whatever comes over a connection passes here, so this is where its reads are seen (``reads``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure as Reason

from nodecache.limits import KIB
from nodecache.upstream.reads import Reads

#: Bytes of an answer's head.
MOST_HEAD: Final = 64 * KIB

_END: Final = b"\r\n\r\n"


class Head(ProtocolWrapper):
    """Stands between a connection and the protocol that reads it.

    ``bytes`` came since the last request was sent; ``endless``: the head had
    no end, and the connection was ended for it.
    """

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._reads: Reads = factory.reads
        self._tcp: Any = None
        self.bytes = 0
        self.endless = False
        self._reading = False
        self._gathered: list[bytes] | None = None

    def makeConnection(self, transport: Any) -> None:
        tcp = transport
        while isinstance(tcp, ProtocolWrapper):  # TLS
            tcp = tcp.transport
        self._tcp = tcp
        super().makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's own

    def connectionLost(self, reason: Reason = connectionDone) -> None:
        self._reads.forget(self._tcp)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's own

    def write(self, data: bytes) -> None:
        self._begin()
        self._wire.write(data)

    def writeSequence(self, data: Any) -> None:
        self._begin()
        self._wire.writeSequence(data)

    @property
    def _wire(self) -> Any:
        return self.transport

    def _begin(self) -> None:
        self.bytes, self._reading = 0, True

    def over(self) -> None:
        """The head is in."""
        self._reading = False

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """What comes within is handed on as one piece, at its end."""
        pieces: list[bytes] = []
        self._gathered = pieces
        try:
            yield
        finally:
            self._gathered = None
            if pieces:
                self._hand_on(b"".join(pieces))

    def dataReceived(self, data: bytes) -> None:
        if self._gathered is None:
            self._hand_on(data)
        else:
            self._gathered.append(data)

    def _hand_on(self, data: bytes) -> None:
        self._reads.came(self._tcp, len(data))
        if self._reading and self.bytes > MOST_HEAD:
            self.endless = True
            self._wire.abortConnection()
            return
        self.bytes += len(data)
        if self._reading:
            # Twisted's parser copies all that follows a header's line for each of them.
            end = data.find(_END) + len(_END)
            if len(_END) <= end < len(data):
                self.wrappedProtocol.dataReceived(data[:end])
                data = data[end:]
        self.wrappedProtocol.dataReceived(data)


class Heads(WrappingFactory):
    """All share ``reads``."""

    protocol = Head
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, reads: Reads) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]  # Twisted's own
        self.reads = reads


def connect(
    endpoint: IStreamClientEndpoint, factory: IProtocolFactory, reads: Reads
) -> Deferred[IProtocol]:
    """A connection whose transport is a ``Head``."""
    return endpoint.connect(Heads(factory, reads)).addCallback(_inner)


def _inner(head: Any) -> IProtocol:
    inner: IProtocol = head.wrappedProtocol
    return inner
