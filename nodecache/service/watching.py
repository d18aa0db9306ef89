"""Looks at a running node: what ``watching`` remembers, and what can only be seen now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, Self

import attrs
from klein import Klein

from nodecache import __version__
from nodecache.config import Settings, UpstreamSettings
from nodecache.events import Event, FillFinished
from nodecache.fill import Fills
from nodecache.inflight import Flight
from nodecache.service.cluster_feeds import ClusterFeeds
from nodecache.service.neighbours import Neighbours
from nodecache.service.surroundings import Surroundings
from nodecache.store import Store
from nodecache.upstream.urls import origin_of
from nodecache.watching import (
    CacheNow,
    Flow,
    Now,
    PeersNow,
    Place,
    Series,
    Speeds,
    Transfer,
    Watch,
    Window,
    documents,
)
from nodecache.web import (
    MirrorSite,
    PeersSeenHere,
    PeerState,
    peers_api,
    status_api,
    status_page,
)
from nodecache.web.under_way import under_way

#: Ranges of a blob in flight that are shown; those closest together are merged.
SPANS: Final = 48
#: Blobs in flight, and names of each, that are shown.
SHOWN: Final = 100
NAMES: Final = 5

_SOURCES: Final = {series.value: series for series in Series}


class Looked(Protocol):
    """The node that is looked at."""

    settings: Settings
    mirror: MirrorSite

    def readiness(self) -> str | None: ...


class NodeWatch:
    """``around`` is what the node is to be made with, so that every event comes by here.

    ``over`` is owed before anything is asked.
    """

    _node: Looked
    _store: Store
    _fills: Fills
    _near: Neighbours | None
    _cluster: ClusterFeeds | None = None

    def __init__(self, around: Surroundings, settings: Settings) -> None:
        self.around = attrs.evolve(around, observe=self.observe)
        self._clock = around.reactor
        self._wall = around.wall
        self._observe = around.observe
        self._watch = Watch([_place(one) for one in settings.upstreams])
        self._speeds = Speeds()
        self._began = self._clock.seconds()

    def over(self, node: Looked, store: Store, fills: Fills, near: Neighbours | None) -> Self:
        """Look at these from now on."""
        self._node, self._store, self._fills, self._near = node, store, fills, near
        if near is not None:
            self._cluster = ClusterFeeds(near, self._clock, self._own_feeds)
        return self

    def observe(self, event: Event) -> None:
        """Remember, and tell on."""
        self._observe(event)
        self._watch.observe(event, self._clock.seconds())
        if isinstance(event, FillFinished):
            self._node.mirror.pulls.fetched(event)

    def admin_parts(self) -> list[Callable[[Klein], None]]:
        """For ``admin_site(more=...)``: the status page, and what stands behind it."""
        if self._near is None:
            return [status_page(self, None), status_api(self)]
        seen = self._near.table.seen
        return [status_page(self, seen), status_api(self), peers_api(seen)]

    # The documents.

    def status(self) -> dict[str, Any]:
        return documents.status(self._watch, self._now(), self._clock.seconds())

    def history(self, window: Window) -> dict[str, Any]:
        now = self._clock.seconds()
        return documents.history(self._watch, window, self._going(), self._wall(), now)

    def transfers(self) -> dict[str, Any]:
        flights = self._fills.active()
        self._speeds.keep({flight.digest for flight in flights})
        found = [self._transfer(flight) for flight in flights[:SHOWN]]
        return documents.transfers(found, len(self._node.mirror.active_bodies))

    def errors(self) -> dict[str, Any]:
        return documents.errors(self._watch, self._wall(), self._clock.seconds())

    def feeds(self) -> dict[str, Any] | None:
        """Looking makes this node ask its peers."""
        return None if self._cluster is None else self._cluster.document()

    # What is seen now.

    def _own_feeds(self) -> list[dict[str, Any]]:
        return documents.feeds(self._watch, self._clock.seconds())

    def _now(self) -> Now:
        node = self._node
        seen = None if self._near is None else self._near.table.seen()
        return Now(
            at=self._wall(),
            problem=node.readiness(),
            version=__version__,
            node_id=(node.settings.node_id or "") if seen is None else seen.id,
            uptime=self._clock.seconds() - self._began,
            offline=node.settings.offline,
            cache=CacheNow(**attrs.asdict(self._store.usage())),
            peers=None if seen is None else _peers(seen),
            in_flight=len(self._fills.active()),
            sending=len(node.mirror.active_bodies),
            going=self._going(),
        )

    def _going(self) -> tuple[Flow, ...]:
        """What is on its way to clients, as far as it came."""
        now = self._clock.seconds()
        return tuple(
            Flow(_SOURCES[body.source], body.sent, now - body.since)
            for body in under_way(self._node.mirror)
            if body.source in _SOURCES
        )

    def _transfer(self, flight: Flight) -> Transfer:
        now = self._clock.seconds()
        return Transfer(
            digest=str(flight.digest),
            images=tuple(f"{name.namespace}/{name.name}" for name in flight.names[:NAMES]),
            status=flight.status.value,
            present=flight.present,
            total=flight.total,
            fetched=flight.fetched,
            from_peers=tuple(sorted(flight.by_peer.items())),
            speed=self._speeds.at(flight.digest, flight.fetched, now, flight.began_at),
            seconds=now - flight.began_at,
            readers=flight.readers,
            clients=flight.clients,
            connections=flight.connections,
            spans=_merged((span.start, span.stop) for span in flight.progress.present.spans()),
        )


def _place(settings: UpstreamSettings) -> Place:
    return Place(settings.namespace, settings.url, tuple(origin_of(url) for url in settings.urls))


def _peers(seen: PeersSeenHere) -> PeersNow:
    states = [peer.state for peer in seen.peers]
    return PeersNow(
        known=len(states),
        live=states.count(PeerState.LIVE),
        aside=states.count(PeerState.ASIDE),
        off=seen.off_seconds is not None,
    )


def _merged(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """At most ``SPANS`` of them: the smallest gaps are closed."""
    found = list(spans)
    if len(found) <= SPANS:
        return tuple(found)
    gaps = range(1, len(found))
    widest = sorted(gaps, key=lambda at: found[at - 1][1] - found[at][0])[: SPANS - 1]
    starts, stops = [0, *sorted(widest)], [*sorted(widest), len(found)]
    return tuple(
        (found[first][0], found[behind - 1][1]) for first, behind in zip(starts, stops, strict=True)
    )
