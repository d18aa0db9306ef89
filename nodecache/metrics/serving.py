"""What clients were given, and what is on disk for them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from nodecache import events
from nodecache.events import Source
from nodecache.metrics.room import OTHER, Room, Takers

_REQUEST_SECONDS: Final = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 120, 600)
_PULL_SECONDS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_METHODS: Final = frozenset({"GET", "HEAD"})
_CACHED_KINDS: Final = ("blob", "manifest")
_HITS: Final = frozenset({Source.DISK.value, Source.STALE.value})


class Requests(Room):
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
            "first_byte_seconds", "From a request to its first body byte.", _REQUEST_SECONDS, by
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
            "pull_seconds", "From the first request of a pull to its last.", _PULL_SECONDS
        )
        for kind in _CACHED_KINDS:
            self._hits.labels(kind)
            self._misses.labels(kind)

    def takers(self) -> Takers:
        return {events.RequestFinished: self._request, events.PullFinished: self._pull}

    def _request(self, event: events.RequestFinished) -> None:
        method = event.method if event.method in _METHODS else OTHER
        self._count.labels(event.kind, method, event.source, str(event.status)).inc()
        self._ends.labels(event.kind, event.outcome).inc()
        self._bytes.labels(event.kind, event.source).inc(event.bytes)
        self._seconds.labels(event.kind, event.source).observe(event.seconds)
        if event.first_byte_seconds is not None:
            self._first.labels(event.kind, event.source).observe(event.first_byte_seconds)
        if event.kind in _CACHED_KINDS:
            if event.source in _HITS:
                self._hits.labels(event.kind).inc()
            elif event.source == Source.FILL.value:
                self._misses.labels(event.kind).inc()

    def _pull(self, event: events.PullFinished) -> None:
        self._pulls.labels("failed" if event.failed else "complete").inc()
        self._pull_seconds.observe(event.seconds)


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
        for kind in (*_CACHED_KINDS, "partial"):
            self._evictions.labels(kind)
            self._evicted.labels(kind)

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
