"""What clients were given, and what is on disk for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs
from prometheus_client import CollectorRegistry, Counter, Histogram

from nodecache import events
from nodecache.events import Source
from nodecache.metrics.room import OTHER, Bounded, Room, Takers, exemplar

_FIRST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REQUEST_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 120, 600)
_PULL_SECONDS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_METHODS: Final = frozenset({"GET", "HEAD"})
_CACHED_KINDS: Final = ("blob", "manifest")
_HITS: Final = frozenset({Source.DISK.value, Source.STALE.value})
#: Answers for which nothing was asked upstream.
_SPARED: Final = _HITS | {Source.FLIGHT.value}


@attrs.frozen
class _Series:
    """Where requests of one kind are counted that ended in the same way."""

    count: Counter
    ends: Counter
    bytes: Counter
    seconds: Histogram
    cached: Counter | None  # hits or misses


class Requests(Room):
    """Looking up a series by its labels costs more than counting in it: each is kept."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        by = ("kind", "source")
        self._count = self._counter(
            "requests_total",
            "Requests on the mirror port, by what was asked and where the answer came from.",
            ("kind", "method", "source", "status"),
        )
        self._ends = self._counter("request_ends_total", "How answers ended.", ("kind", "outcome"))
        self._bytes = self._counter("response_bytes_total", "Body bytes sent to clients.", by)
        self._seconds = self._histogram(
            "request_seconds", "From a request to the end of its answer.", _REQUEST_SECONDS, by
        )
        self._first = self._histogram(
            "first_byte_seconds", "From a request to its first body byte.", _FIRST_SECONDS, by
        )
        self._hits = self._counter(
            "cache_hits_total", "Answers from disk, stale ones among them.", ("kind",)
        )
        self._misses = self._counter(
            "cache_misses_total", "Answers that began a fetch upstream.", ("kind",)
        )
        self._pulls = self._counter(
            "pulls_total", "Images pulled by one client, as far as requests show.", ("result",)
        )
        self._pull_seconds = self._histogram(
            "pull_seconds",
            "From the first request of a pull to its last, by where most bytes came from.",
            _PULL_SECONDS,
            ("source",),
        )
        self._pull_bytes = self._counter(
            "pull_bytes_total",
            "Body bytes of pulls, by where they came from; those that peers brought apart.",
            ("source",),
        )
        self._series: dict[tuple[str, str, str, int, str], _Series] = {}
        self._firsts: dict[tuple[str, str], Histogram] = {}
        for kind in _CACHED_KINDS:
            self._hits.labels(kind)
            self._misses.labels(kind)
        for result in ("complete", "failed"):
            self._pulls.labels(result)

    def takers(self) -> Takers:
        return {events.RequestFinished: self._request, events.PullFinished: self._pull}

    def _request(self, event: events.RequestFinished) -> None:
        method = event.method if event.method in _METHODS else OTHER
        by = (event.kind, method, event.source, event.status, event.outcome)
        series = self._series.get(by)
        if series is None:
            series = self._series[by] = self._series_of(*by)
        series.count.inc()
        series.ends.inc()
        series.bytes.inc(event.bytes)
        trace = exemplar(event.trace_id)
        series.seconds.observe(event.seconds, trace)
        if series.cached is not None:
            series.cached.inc()
        if event.first_byte_seconds is not None:
            self._first_of(event.kind, event.source).observe(event.first_byte_seconds, trace)

    def _series_of(self, kind: str, method: str, source: str, status: int, end: str) -> _Series:
        return _Series(
            count=self._count.labels(kind, method, source, str(status)),
            ends=self._ends.labels(kind, end),
            bytes=self._bytes.labels(kind, source),
            seconds=self._seconds.labels(kind, source),
            cached=self._cached_of(kind, source),
        )

    def _cached_of(self, kind: str, source: str) -> Counter | None:
        if kind not in _CACHED_KINDS:
            return None
        if source in _HITS:
            return self._hits.labels(kind)
        return self._misses.labels(kind) if source == Source.FILL.value else None

    def _first_of(self, kind: str, source: str) -> Histogram:
        found = self._firsts.get((kind, source))
        if found is None:
            found = self._firsts[kind, source] = self._first.labels(kind, source)
        return found

    def _pull(self, event: events.PullFinished) -> None:
        self._pulls.labels("failed" if event.failed else "complete").inc()
        self._pull_seconds.labels(event.source).observe(event.seconds, exemplar(event.trace_id))
        for source, count in event.bytes_by_source.items():
            self._pull_bytes.labels(source).inc(count)


class Saved(Room):
    """What upstream was spared, as this node sees it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._pulls = self._counter(
            "counted_pulls_avoided_total",
            "GETs of manifests, which registries count, that came from disk, from a fetch under"
            " way here or from a peer that had it. At least so many: whoever joins a fetch that is"
            " under way at a peer is not counted.",
        )
        self._bytes = self._counter(
            "upstream_saved_bytes_total",
            "Body bytes that came from disk, from a fetch under way or from peers.",
        )

    def takers(self) -> Takers:
        return {
            events.RequestFinished: self._request,
            events.PeerAsked: self._asked,
            events.FillFinished: self._filled,
        }

    def _request(self, event: events.RequestFinished) -> None:
        if event.kind not in _CACHED_KINDS or event.source not in _SPARED:
            return
        self._bytes.inc(event.bytes)
        if event.kind == "manifest" and event.method == "GET" and event.status < 300:
            self._pulls.inc()

    def _asked(self, event: events.PeerAsked) -> None:
        # One that a peer fetched for us was counted there; no registry counts a HEAD.
        if event.what == "manifest" and event.outcome == "hit" and not event.head:
            self._pulls.inc()

    def _filled(self, event: events.FillFinished) -> None:
        if event.outcome == "stored":
            self._bytes.inc(event.from_peers)


class Images(Room):
    """What was pulled, by image: only where the settings ask for it, since names are many."""

    def __init__(self, registry: CollectorRegistry, most: int) -> None:
        super().__init__(registry)
        self._image = Bounded(most)
        by = ("image",)
        self._pulls = self._counter(
            "image_pulls_total",
            "Pulls, for the first images that were pulled; the rest are other.",
            by,
        )
        self._bytes = self._counter(
            "image_bytes_total", "Body bytes of pulls, for the same images.", by
        )

    def takers(self) -> Takers:
        return {events.PullFinished: self._pull}

    def _pull(self, event: events.PullFinished) -> None:
        if event.failed == event.requests:
            return  # what a client makes up takes nobody's place
        image = self._image(f"{event.namespace}/{event.repository}")
        self._pulls.labels(image).inc()
        self._bytes.labels(image).inc(event.bytes)


class Cache(Room):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._bytes = self._gauge("cache_bytes", "Bytes on disk.")
        self._reserved = self._gauge("cache_reserved_bytes", "Bytes kept free for fetches.")
        self._blobs = self._gauge("cache_blobs", "Blobs on disk.")
        self._manifests = self._gauge("cache_manifests", "Manifests on disk.")
        self._evictions = self._counter("evictions_total", "What was given up for room.", ("kind",))
        self._evicted = self._counter(
            "evicted_bytes_total", "Bytes that were given up for room.", ("kind",)
        )
        self._coalesced = self._counter(
            "coalesced_total", "Requests that joined a fetch under way.", ("kind",)
        )
        self._stale = self._counter(
            "stale_total", "Stale answers, because upstream fails.", ("namespace",)
        )
        self._tags = self._counter("tag_lookups_total", "What became of tags.", ("outcome",))
        for outcome in ("hit", "revalidated", "changed", "stale", "miss"):
            self._tags.labels(outcome)
        for kind in (*_CACHED_KINDS, "partial"):
            self._evictions.labels(kind)
            self._evicted.labels(kind)

    def expect(self, namespaces: Collection[str], origins: Collection[str]) -> None:
        del origins
        for namespace in namespaces:
            self._stale.labels(namespace)

    def takers(self) -> Takers:
        return {
            events.CacheSize: self._size,
            events.Evicted: self._evict,
            events.Coalesced: lambda event: self._coalesced.labels(event.kind).inc(),
            events.ServedStale: lambda event: self._stale.labels(event.namespace).inc(),
            events.TagResolved: lambda event: self._tags.labels(event.outcome).inc(),
        }

    def _size(self, event: events.CacheSize) -> None:
        self._bytes.set(event.bytes)
        self._reserved.set(event.reserved)
        self._blobs.set(event.blobs)
        self._manifests.set(event.manifests)

    def _evict(self, event: events.Evicted) -> None:
        self._evictions.labels(event.kind).inc()
        self._evicted.labels(event.kind).inc(event.bytes)
