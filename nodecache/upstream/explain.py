"""What went wrong on the wire, in words for a log line, and as a kind."""

from __future__ import annotations

from collections.abc import Iterator

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.ssl import VerificationError
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from nodecache.failures import UpstreamKind
from nodecache.upstream.dial import NoConnection
from nodecache.upstream.guard import AddressRefused
from nodecache.upstream.tunnel import ProxyRefused


def causes(thrown: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was made of (Twisted nests them), the outer first."""
    yield thrown
    for failure in getattr(thrown, "reasons", ()):
        yield from causes(failure.value)


def explain(thrown: BaseException) -> tuple[UpstreamKind, str]:
    """Kind and words for an error of connecting, or of asking. No secrets, no addresses."""
    for cause in causes(thrown):
        if (known := _known(cause)) is not None:
            return known
    if isinstance(thrown, ResponseNeverReceived | RequestTransmissionFailed):
        return UpstreamKind.UNREACHABLE, "it closed the connection without an answer"
    if isinstance(thrown, ResponseFailed):
        return UpstreamKind.ERROR, "its answer is not HTTP"
    return UpstreamKind.UNREACHABLE, f"{type(thrown).__name__}: {thrown}"


def _known(cause: BaseException) -> tuple[UpstreamKind, str] | None:
    if isinstance(cause, AddressRefused):
        words = "it leads to a private or loopback address, which is refused"
        return UpstreamKind.WRONG, words
    if isinstance(cause, NoConnection):
        return UpstreamKind.UNREACHABLE, "no connection in time"
    if isinstance(cause, ProxyRefused):
        return UpstreamKind.UNREACHABLE, str(cause)
    if isinstance(cause, error.DNSLookupError):
        return UpstreamKind.UNREACHABLE, "its name is not found in DNS"
    if isinstance(cause, error.ConnectError):
        return UpstreamKind.UNREACHABLE, _connect(cause)
    if isinstance(cause, VerificationError):
        return UpstreamKind.UNREACHABLE, "TLS: the certificate is for another host"
    if isinstance(cause, SSL.Error):
        return UpstreamKind.UNREACHABLE, f"TLS: {_openssl(cause)}"
    return None


def _connect(cause: error.ConnectError) -> str:
    if isinstance(cause, error.ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, error.NoRouteError):
        return "no route to it"
    if isinstance(cause, error.TimeoutError | error.TCPTimedOutError):
        return "no connection in time"
    return "no connection"


def _openssl(cause: SSL.Error) -> str:
    """The reason is the last of (library, function, reason); the list may be empty."""
    reasons = [entry[-1] for entry in (cause.args[0] if cause.args else ()) if entry[-1]]
    return reasons[-1] if reasons else "the connection ended in the handshake"
