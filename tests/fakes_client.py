"""A plain HTTP client for tests: one request, the whole answer, nothing hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH


@attrs.frozen
class Got:
    """``broken`` is why the body ended early; None when it ended complete.

    ``length`` is the Content-Length; None where there was none.
    """

    status: int
    headers: Headers
    body: bytes
    broken: str | None
    length: int | None = None

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return ", ".join(values) if values else None


class _Collector(Protocol):
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.ended: Deferred[BaseException | None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.value)


async def fetch(
    reactor: Any,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str | list[str]] | None = None,
) -> Got:
    """Ask once on a connection of its own; several values of a header are a line each.

    Raises what Twisted's Agent raises."""
    return await (await begin(reactor, url, method, headers)).whole()


class Begun:
    """An answer whose headers are in; its body comes meanwhile."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.code
        self._response = response
        self._collector = _Collector()
        response.deliverBody(self._collector)

    @property
    def received(self) -> int:
        """Bytes of the body so far."""
        return self._collector.size

    def stop_reading(self) -> None:
        """Take no byte more, and do not leave either."""
        self._response._transport.pauseProducing()

    def leave(self) -> None:
        """Reset the connection, as one does that is closed with bytes unread."""
        self._response._transport._producer.abortConnection()

    async def whole(self) -> Got:
        """All of it, once it has ended."""
        response, collector = self._response, self._collector
        reason = await collector.ended
        broken = None if isinstance(reason, ResponseDone) else type(reason).__name__
        length = None if response.length is UNKNOWN_LENGTH else response.length
        return Got(response.code, response.headers, b"".join(collector.parts), broken, length)


async def begin(
    reactor: Any,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str | list[str]] | None = None,
) -> Begun:
    """As ``fetch``, as far as the headers of the answer."""
    given = (headers or {}).items()
    raw = Headers({name: [value] if isinstance(value, str) else value for name, value in given})
    return Begun(await Agent(reactor).request(method.encode(), url.encode(), raw))


async def until(reactor: Any, happened: Callable[[], object]) -> None:
    """Turn the reactor until it happened; the test's own time limit ends a wait in vain.

    A reactor that never rests keeps the interpreter from the threads of the disk, each of
    whose calls then waits for it: what takes 50 ms took 2 s.
    """
    while not happened():
        await deferLater(reactor, 0.001)
