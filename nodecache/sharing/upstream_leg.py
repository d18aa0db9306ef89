"""The last leg of a search: upstream, and all the peers once that is slow or fails."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import Timeouts
from nodecache.seams import BlobBody, BlobSource
from nodecache.sharing.places import Share
from nodecache.sharing.race import Race
from nodecache.sharing.sweep import Sweep
from nodecache.sharing.watched import WatchedBody


class UpstreamLeg:
    """For one span. ``run`` it once.

    ``sweep`` is what looks among the peers; None: they are not asked. It
    begins ``Timeouts.peer_sweep_after`` after upstream was asked, or when that
    has failed; then whoever gives a body first ends the other.
    """

    def __init__(
        self,
        source: BlobSource,
        share: Share,
        sweep: Sweep | None,
        clock: IReactorTime,
        timeouts: Timeouts,
    ) -> None:
        self._source = source
        self._share = share
        self._sweep = sweep
        self._clock = clock
        self._timeouts = timeouts
        self._slow: IDelayedCall | None = None
        self._failure = UpstreamFailure(UpstreamKind.TIMEOUT, "upstream did not answer")
        self._race: Race[BlobBody] = Race(lambda body: body.stop())

    async def run(self, span: Span, deadline: Deadline, *, down: bool) -> BlobBody:
        """``down``: upstream is known to give nothing. Raises UpstreamFailure, that of upstream."""
        self._race.add(self._ask(span, deadline), self._begin_sweep)
        if down:
            self._begin_sweep()
        try:
            body = await self._race.first()
        finally:
            self._forget_timer()
        if body is None:
            raise self._failure
        return body

    async def _ask(self, span: Span, deadline: Deadline) -> BlobBody | None:
        try:
            leave = await self._share.take(self._in_time_for_a_sweep(deadline))
        except UpstreamFailure as failure:
            self._failure = failure
            return None
        if self._sweep is not None:
            self._slow = self._clock.callLater(self._timeouts.peer_sweep_after, self._begin_sweep)
        return await self._fetch(span, deadline, leave)

    async def _fetch(
        self, span: Span, deadline: Deadline, leave: Callable[[], None]
    ) -> BlobBody | None:
        try:
            body = await self._source.fetch(span, deadline)
        except BaseException as error:
            leave()
            if not isinstance(error, UpstreamFailure):
                raise
            self._failure = error
            return None
        return WatchedBody(body, lambda _: leave())

    def _in_time_for_a_sweep(self, deadline: Deadline) -> Deadline:
        now = self._clock.seconds()
        left = deadline.remaining(now)
        return Deadline(now + max(left / 2, left - self._timeouts.peer_sweep_after))

    def _begin_sweep(self) -> None:
        self._forget_timer()
        sweep, self._sweep = self._sweep, None
        if sweep is not None:
            self._race.add(sweep.run())

    def _forget_timer(self) -> None:
        if self._slow is not None and self._slow.active():
            self._slow.cancel()
