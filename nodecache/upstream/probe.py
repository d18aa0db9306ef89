"""Asks origins that are down, in the background, until they answer again.

No client waits for a probe, and none pays for an upstream that is still down.
An origin that only an answer named (a CDN, a token server) is forgotten after
a while: it may never come back, and nobody may be sent there again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure
from nodecache.health import Down
from nodecache.upstream.courier import Attempt, Courier

#: Seconds after which an origin that is not configured is probed no more.
FORGOTTEN = 600.0


class Prober:
    """``fixed`` are the configured origins. Owns its timer and its probes, until ``stop``."""

    log = Logger()

    def __init__(self, courier: Courier, fixed: Collection[str]) -> None:
        self._courier = courier
        self._fixed = frozenset(fixed)
        self._timer: Any = None
        self._running: dict[str, Deferred[None]] = {}
        self._stopped = False
        courier.went_down = self.arrange

    def arrange(self) -> None:
        """See to it that the next probe goes out on time."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        waiting = [
            down.probe_at
            for origin, down in self._courier.health.down().items()
            if origin not in self._running
        ]
        if waiting and not self._stopped:
            pause = max(0.0, min(waiting) - self._courier.now())
            self._timer = self._courier.clock.callLater(pause, self._send_due)

    def _send_due(self) -> None:
        for origin in self._courier.health.due(self._courier.now()):
            if origin not in self._running:
                probing = Deferred.fromCoroutine(self._probe(origin))
                self._running[origin] = probing
                probing.addErrback(self._unforeseen)
                probing.addBoth(self._ended, origin)
        self.arrange()

    async def _probe(self, origin: str) -> None:
        courier, health = self._courier, self._courier.health
        now = courier.now()
        state = health.state(origin, now)
        known = courier.probes.get(origin)
        if not isinstance(state, Down):
            return
        if known is None or (origin not in self._fixed and now - state.since > FORGOTTEN):
            courier.probes.pop(origin, None)
            health.succeeded(origin, now)
            courier.came_back(origin, "it is not asked any more")
            return
        letter, guard = known
        deadline = Deadline(now + courier.timeouts.answer / 2)
        attempt = Attempt(origin, guard, now, deadline, lenient=True)
        with contextlib.suppress(UpstreamFailure):  # the courier has kept the books
            courier.discard(await courier.send(letter, attempt))
        self._still_down(origin)

    def _still_down(self, origin: str) -> None:
        """A probe that failed without a verdict (a frozen process) counts as one that failed."""
        now = self._courier.now()
        state = self._courier.health.state(origin, now)
        if isinstance(state, Down) and state.probe_at <= now:
            self._courier.health.failed(origin, now, state.kind, state.reason)

    def _unforeseen(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("a probe failed in a way that nothing foresaw", failure)

    def _ended(self, _none: None, origin: str) -> None:
        del self._running[origin]
        self.arrange()

    def stop(self) -> None:
        self._stopped = True
        self.arrange()
        for probing in tuple(self._running.values()):
            probing.cancel()
