"""TLS to an upstream, whose records are handed on by the read and not one by one.

A record holds at most 16 KiB, and OpenSSL gives one at a time: whoever reads a
body would be called 65,000 times for each GiB. What one read of the socket brought
is therefore handed on as one piece.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

from nodecache.upstream.head import Head


class JoinedRecords(BufferingTLSTransport):
    """Above it is a ``Head``, which can gather."""

    def dataReceived(self, data: bytes) -> None:
        above: Any = self.wrappedProtocol
        gathering = above.gathering() if isinstance(above, Head) else nullcontext()
        with gathering:
            super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's own gap


@implementer(IStreamClientEndpoint)
class Secured:
    """TLS over what ``endpoint`` connects to."""

    def __init__(
        self, creator: IOpenSSLClientConnectionCreator, endpoint: IStreamClientEndpoint
    ) -> None:
        self._creator = creator
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        secure = TLSMemoryBIOFactory(self._creator, True, protocolFactory)
        secure.protocol = JoinedRecords
        return self._endpoint.connect(secure).addCallback(_above)


def _above(secure: Any) -> IProtocol:
    above: IProtocol = secure.wrappedProtocol
    return above
