"""The mirror port as the composition root sees it."""

from __future__ import annotations

import itertools
import random
import secrets
from typing import cast

from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from nodecache.answers import Answer
from nodecache.body import BlobTools, Lane, Outcome, Sender
from nodecache.deadline import Deadline
from nodecache.events import RequestFinished
from nodecache.limits import Limits, Timeouts
from nodecache.results import Registry
from nodecache.seams import DiskPool, Observe, WallClock
from nodecache.traces import Trace, parse_traceparent
from nodecache.web.channel import GuardedChannel
from nodecache.web.exchange import Exchange, client_name
from nodecache.web.mirror import Mirror
from nodecache.web.mirror_channel import Heard, MirrorChannel
from nodecache.web.mirror_request import MirrorRequest
from nodecache.web.pulling import PullsTold
from nodecache.web.ready import ReadyAnswers
from nodecache.web.site import GuardedSite


class MirrorSite(GuardedSite):
    """A factory to listen with.

    ``traces_share`` of the traces that begin here are recorded, from 0 to 1.
    ``active_bodies`` are the bodies being sent now. ``clock`` (the reactor, if
    it is not given) is for times and timers only. ``pool`` reads what is not in
    the page cache, where sendfile can not be used.
    """

    protocol = MirrorChannel
    name = "mirror"

    def __init__(
        self,
        registry: Registry,
        *,
        reactor: IReactorFDSet,
        pool: DiskPool,
        observe: Observe,
        wall: WallClock,
        timeouts: Timeouts,
        limits: Limits,
        sole_registry: bool = False,
        traces_share: float = 1.0,
        clock: IReactorTime | None = None,
    ) -> None:
        # A reactor that watches descriptors keeps time as well.
        ticking = cast(IReactorTime, reactor) if clock is None else clock
        tools = BlobTools(
            clock=ticking,
            observe=observe,
            stall=timeouts.client_stall,
            lane=Lane(reactor),
            pool=pool,
        )
        self._mirror = Mirror(registry, tools, limits.tail)
        super().__init__(self._mirror.app.resource(), MirrorRequest, tools, wall, timeouts, limits)
        self.sole_registry = sole_registry
        self._traces_share = traces_share
        self.active_bodies: set[Sender] = set()
        self.pulls = PullsTold(ticking, observe)
        self.ready = ReadyAnswers(registry, self)
        self.heard = Heard()
        self._prefix = secrets.token_hex(3)
        self._count = itertools.count(1)

    def next_id(self) -> str:
        """A name for a request, never used again by this node."""
        return f"{self._prefix}-{next(self._count)}"

    def trace_of(self, traceparent: str | None) -> Trace:
        """That of the client, or a new one, of which a share is recorded."""
        span_id = secrets.token_hex(8)
        sampled = random.random() < self._traces_share
        new = Trace(secrets.token_hex(16), span_id, sampled=sampled)
        return parse_traceparent(traceparent, span_id) or new

    def told(self, exchange: Exchange, event: RequestFinished) -> None:
        """A request is over."""
        self.observe(event)
        if exchange.in_pull:
            self.pulls.finished(event)

    def refused(self, channel: GuardedChannel, refusal: Answer) -> None:
        now = self.clock.seconds()
        exchange = Exchange(
            request_id=self.next_id(),
            client=client_name(getattr(channel.getPeer(), "host", "")),
            agent="",
            method="",
            started_at=now,
            outcome=Outcome.COMPLETE,
            code=refusal.code,
            reason=refusal.message,
        )
        self.observe(exchange.finished(refusal.status, len(refusal.body()), now, now))

    async def drain(self, deadline: Deadline) -> int:
        left = await super().drain(deadline)
        if not left:
            self.pulls.stop()
        return left

    def abort_all(self) -> int:
        cut = super().abort_all()
        self.pulls.stop()
        return cut
