"""A connection to whichever of a peer's addresses answers first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure as Reason
from zope.interface import implementer

from nodecache.membership import Address
from nodecache.upstream.dial import NoConnection
from nodecache.upstream.waits import NEAR_TURNS, TimedOut, bounded

#: Seconds after which the next address is tried beside the one before.
ATTEMPT_DELAY: Final = 0.1


@implementer(IStreamClientEndpoint)
class AnyAddress:
    """Each attempt gets ``seconds``, all together twice that.

    Fails with the error of the attempt that failed last, or with NoConnection
    when the time ran out.
    """

    def __init__(self, reactor: Any, addresses: Sequence[Address], seconds: float) -> None:
        self._reactor = reactor
        self._addresses = tuple(addresses)
        self._seconds = seconds

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        race = _Race(self._reactor, self._addresses, protocolFactory, self._seconds)
        within = bounded(self._reactor, race.begin(), 2 * self._seconds, NEAR_TURNS)
        return within.addErrback(_explained)


class _Race:
    def __init__(
        self, reactor: Any, addresses: Sequence[Address], factory: IProtocolFactory, seconds: float
    ) -> None:
        self._reactor = reactor
        self._waiting: Iterator[Address] = iter(addresses)
        self._factory = factory
        self._seconds = seconds
        self._running: list[Deferred[IProtocol]] = []
        self._next: Any = None
        self._over = False
        self._last: Reason = Reason(ConnectError("no address is known"))
        self._outcome: Deferred[IProtocol] = Deferred(lambda _: self._stop())

    def begin(self) -> Deferred[IProtocol]:
        self._attempt()
        return self._outcome

    def _attempt(self) -> None:
        self._cancel_next()
        address = next(self._waiting, None)
        if address is not None:
            self._dial(address)
        elif not self._running and not self._over:
            self._stop()
            self._outcome.errback(self._last)

    def _dial(self, address: Address) -> None:
        make = TCP6ClientEndpoint if ":" in address.host else TCP4ClientEndpoint
        endpoint = make(self._reactor, address.host, address.port)
        dialling = bounded(
            self._reactor, endpoint.connect(self._factory), self._seconds, NEAR_TURNS
        )
        self._running.append(dialling)
        self._next = self._reactor.callLater(ATTEMPT_DELAY, self._attempt)
        dialling.addCallbacks(
            lambda protocol: self._connected(dialling, protocol),
            lambda reason: self._failed(dialling, reason),
        )

    def _connected(self, dialling: Deferred[IProtocol], protocol: IProtocol) -> None:
        self._running.remove(dialling)
        self._stop()
        self._outcome.callback(protocol)

    def _failed(self, dialling: Deferred[IProtocol], reason: Reason) -> None:
        self._running.remove(dialling)
        if self._over:
            return
        if not reason.check(CancelledError):
            self._last = reason
        self._attempt()

    def _stop(self) -> None:
        self._over = True
        self._cancel_next()
        for dialling in tuple(self._running):
            dialling.cancel()

    def _cancel_next(self) -> None:
        timer, self._next = self._next, None
        if timer is not None and timer.active():
            timer.cancel()


def _explained(failure: Reason) -> Reason:
    if isinstance(failure.value, TimedOut):
        raise NoConnection(late=failure.value.late)
    return failure
