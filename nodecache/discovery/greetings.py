"""Greets whom the membership names, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure as Reason

from nodecache.failures import PeerFailure, PeerKind
from nodecache.membership import Address, Hello, Membership
from nodecache.upstream.waits import LATE

#: Greetings under way at a time.
MOST: Final = 32

Greet = Callable[[Address], Awaitable[Hello]]


class Greetings:
    """Owns its greetings until ``stop``. ``told`` is called after each that ended.

    ``bound``: seconds within which a greeting ends, whatever happens.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        membership: Membership,
        greet: Greet,
        bound: float,
        told: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._membership = membership
        self._greet = greet
        self._bound = bound
        self._told = told
        self._running: dict[Deferred[None], Address] = {}
        self._idle: list[Deferred[None]] = []
        self._sending = False
        self._stopped = False

    def send(self) -> None:
        """Greet who is due, as far as there is room."""
        if self._sending or self._stopped:
            return
        self._sending = True
        while (room := MOST - len(self._running)) > 0:
            due = self._membership.due(self._clock.seconds(), room)
            for address in due:
                self._begin(address)
            if not due:
                break
        self._sending = False
        self._look()

    def _look(self) -> None:
        if not self._running:
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)

    def _begin(self, address: Address) -> None:
        greeting = Deferred.fromCoroutine(self._greeted(address))
        self._running[greeting] = address
        greeting.addErrback(self._unforeseen)
        greeting.addCallback(self._ended, greeting)

    async def _greeted(self, address: Address) -> None:
        membership, now = self._membership, self._clock.seconds
        latest = now() + self._bound + LATE
        try:
            hello = await self._greet(address)
        except PeerFailure as failure:
            if now() > latest:  # this process stood still
                membership.ungreeted(address, now())
            else:
                membership.unanswered(address, failure.problem, now())
        except CancelledError:
            raise
        except Exception:
            membership.unanswered(address, PeerKind.WRONG, now())
            raise
        else:
            membership.greeted(address, hello, now(), answered=True)

    def _unforeseen(self, reason: Reason) -> None:
        if not reason.check(CancelledError):
            self.log.failure("a greeting failed in a way that nothing foresaw", reason)

    def _ended(self, _none: None, greeting: Deferred[None]) -> None:
        del self._running[greeting]
        if self._stopped:
            return
        self._told()
        self.send()

    def idle(self) -> Deferred[None]:
        """Fires when no greeting is under way and none is due."""
        if not self._running:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(waiter)
        return waiter

    def stop(self) -> None:
        self._stopped = True
        for greeting in tuple(self._running):
            greeting.cancel()
