"""Tells of pulls once their requests have ended: the clock to ``pulls``."""

from __future__ import annotations

import secrets

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodecache.events import FillFinished, PullFinished, RequestFinished
from nodecache.pulls import Pulls
from nodecache.seams import Observe
from nodecache.web.exchange import Exchange


class PullsTold:
    """``started`` and ``finished`` of one exchange belong together."""

    def __init__(self, clock: IReactorTime, observe: Observe) -> None:
        self._clock = clock
        self._observe = observe
        self._pulls = Pulls()
        self._call: IDelayedCall | None = None
        self._stopped = False

    def started(self, exchange: Exchange) -> None:
        trace = self._pulls.started(
            exchange.client,
            exchange.namespace,
            exchange.repository,
            exchange.reference,
            self._clock.seconds(),
            exchange.trace,
            secrets.token_hex(8),
        )
        exchange.trace = trace or exchange.trace
        exchange.in_pull = True

    def resolved(self, exchange: Exchange, digest: str) -> None:
        """The tag of ``exchange`` means ``digest``."""
        self._pulls.resolved(exchange.namespace, exchange.repository, exchange.reference, digest)

    def fetched(self, event: FillFinished) -> None:
        """A fetch is over."""
        self._pulls.fetched(event)

    def finished(self, event: RequestFinished) -> None:
        if self._stopped:
            return
        self._pulls.finished(event, self._clock.seconds())
        self._schedule()

    def stop(self) -> None:
        """Tell of what is going on, and no more; idempotent."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._tell(self._pulls.stop())

    def _schedule(self) -> None:
        if self._call is not None:
            return
        due = self._pulls.next_due()
        if due is not None:
            pause = max(0.0, due - self._clock.seconds())
            self._call = self._clock.callLater(pause, self._look)

    def _look(self) -> None:
        self._call = None
        self._tell(self._pulls.due(self._clock.seconds()))
        self._schedule()

    def _tell(self, pulls: list[PullFinished]) -> None:
        for pull in pulls:
            self._observe(pull)
