"""Events in, memory out: what a node can say about itself when somebody asks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nodecache import events
from nodecache.events import Event, Source
from nodecache.watching.feeds import Feeds
from nodecache.watching.history import Flow, History, Series
from nodecache.watching.images import Images
from nodecache.watching.troubles import Over, Troubles
from nodecache.watching.upstreams import Place, UpstreamsSeen
from nodecache.watching.words import meaning

_SERIES: Mapping[str, Series] = {source.value: Series(source.value) for source in Source}
_CACHED = frozenset({"blob", "manifest"})
#: As the metrics count them.
_HITS = frozenset({Source.DISK.value, Source.STALE.value})


class Watch:
    """``observe`` takes every event; the rest is to be asked."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.history = History()
        self.troubles = Troubles()
        self.upstreams = UpstreamsSeen(places)
        self.images = Images()
        self.feeds = Feeds()
        self._takers: Mapping[type[Event], Callable[[Any, float], None]] = {
            events.RequestFinished: self._request,
            events.UpstreamBytes: self._upstream_bytes,
            events.PeerBytes: self._peer_bytes,
            events.PullFinished: self.images.pulled,
            events.UpstreamHealth: self.upstreams.health,
            events.RateLimitSeen: self.upstreams.rates,
            events.UpstreamAnswered: self.upstreams.answered,
        }

    def observe(self, event: Event, now: float) -> None:
        """``now`` is on the monotonic clock, in seconds."""
        take = self._takers.get(type(event))
        if take is not None:
            take(event, now)
        found = meaning(event)
        if isinstance(found, Over):
            self.troubles.ended(found)
        elif found is not None:
            self.troubles.met(found, now)

    def _request(self, event: events.RequestFinished, now: float) -> None:
        series = _SERIES.get(event.source)
        if series is None:
            return
        if event.bytes:
            waited = event.first_byte_seconds or 0.0
            self.history.add(Flow(series, event.bytes, event.seconds - waited), now)
        if event.kind in _CACHED and event.source in _HITS:
            self.history.add(Flow(Series.HITS, 1), now)
        elif event.kind in _CACHED and event.source == Source.FILL.value:
            self.history.add(Flow(Series.MISSES, 1), now)

    def _upstream_bytes(self, event: events.UpstreamBytes, now: float) -> None:
        self.history.add(Flow(Series.UPSTREAM, event.bytes), now)

    def _peer_bytes(self, event: events.PeerBytes, now: float) -> None:
        self.feeds.moved(event.peer, event.direction, event.bytes, now)
        series = Series.PEERS if event.direction == "in" else Series.LENT
        self.history.add(Flow(series, event.bytes), now)
