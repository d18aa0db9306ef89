"""What was fetched from upstream, and how upstream is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from prometheus_client import CollectorRegistry

from nodecache import events
from nodecache.metrics.room import OTHER, Bounded, Room, Takers, exemplar

_UPSTREAM_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FILL_SECONDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 1800)


class Fills(Room):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._going = self._gauge("fills_active", "Blobs being fetched now.")
        self._digests: set[str] = set()
        self._count = self._counter("fills_total", "How fetches of blobs ended.", ("outcome",))
        self._seconds = self._histogram(
            "fill_seconds", "From the begin of a fetch of a blob to its end.", _FILL_SECONDS
        )
        self._bytes = self._counter(
            "fill_bytes_total",
            "Bytes that were fetched for blobs, from upstream or from peers.",
            ("origin",),
        )
        for origin in ("upstream", "peer"):
            self._bytes.labels(origin)
        for outcome in ("stored", "kept", "mismatch", "failed", "discarded", "stopped"):
            self._count.labels(outcome)
        self._resumes = self._counter("fill_resumes_total", "Bodies taken up again.")
        self._passed = self._counter(
            "passed_through_total", "Blobs sent without being stored.", ("outcome",)
        )
        for outcome in ("complete", "mismatch", "failed", "left"):
            self._passed.labels(outcome)
        self._passed_bytes = self._counter(
            "passed_through_bytes_total", "Bytes sent without being stored."
        )

    def takers(self) -> Takers:
        return {
            events.FillStarted: self._started,
            events.FillFinished: self._finished,
            events.FillResumed: lambda _: self._resumes.inc(),
            events.PassedThrough: self._pass,
        }

    def _started(self, event: events.FillStarted) -> None:
        self._digests.add(event.digest)
        self._going.set(len(self._digests))

    def _finished(self, event: events.FillFinished) -> None:
        self._digests.discard(event.digest)  # one that failed early was never told as started
        self._going.set(len(self._digests))
        self._count.labels(event.outcome).inc()
        self._seconds.observe(event.seconds, exemplar())
        self._bytes.labels("peer").inc(event.from_peers)
        self._bytes.labels("upstream").inc(max(0, event.fetched - event.from_peers))

    def _pass(self, event: events.PassedThrough) -> None:
        self._passed.labels(event.outcome).inc()
        self._passed_bytes.inc(event.bytes)


class Upstream(Room):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._count = self._counter(
            "upstream_requests_total",
            "Requests that an upstream answered.",
            ("namespace", "leg", "method", "status"),
        )
        self._seconds = self._histogram(
            "upstream_request_seconds",
            "From a request to upstream to its headers.",
            _UPSTREAM_SECONDS,
            ("namespace", "leg"),
        )
        self._failures = self._counter(
            "upstream_failures_total",
            "Requests to an upstream that failed.",
            ("namespace", "leg", "kind"),
        )
        self._bytes = self._counter(
            "upstream_bytes_total", "Body bytes that came from upstream.", ("namespace", "leg")
        )
        self._tokens = self._counter(
            "upstream_tokens_total", "Tokens fetched for an upstream.", ("namespace",)
        )
        self._up = self._gauge("upstream_up", "0 while an origin is not asked.", ("origin",))
        self._origin = Bounded()

    def expect(self, namespaces: Collection[str], origins: Collection[str]) -> None:
        for namespace in namespaces:
            for leg in ("manifest", "blob"):
                self._bytes.labels(namespace, leg)
        for origin in origins:
            self._up.labels(self._origin(origin)).set(1)

    def takers(self) -> Takers:
        return {
            events.UpstreamAnswered: self._answered,
            events.UpstreamFailed: self._failed,
            events.UpstreamBytes: self._got,
            events.UpstreamHealth: self._health,
            events.TokenFetched: lambda event: self._tokens.labels(event.namespace).inc(),
        }

    def _answered(self, event: events.UpstreamAnswered) -> None:
        status = str(event.status) if 100 <= event.status <= 599 else OTHER
        self._count.labels(event.namespace, event.leg, event.method, status).inc()
        self._seconds.labels(event.namespace, event.leg).observe(event.seconds, exemplar())

    def _failed(self, event: events.UpstreamFailed) -> None:
        self._failures.labels(event.namespace, event.leg, event.kind).inc()

    def _got(self, event: events.UpstreamBytes) -> None:
        self._bytes.labels(event.namespace, event.leg).inc(event.bytes)

    def _health(self, event: events.UpstreamHealth) -> None:
        self._up.labels(self._origin(event.origin)).set(event.up)


class RateLimit(Room):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        by = ("namespace",)
        self._limit = self._gauge("upstream_rate_limit", "Pulls that upstream allows.", by)
        self._left = self._gauge(
            "upstream_rate_limit_remaining", "Pulls that upstream still allows.", by
        )
        self._window = self._gauge(
            "upstream_rate_limit_window_seconds", "The time that the limit of pulls is for.", by
        )
        self._seen_at = self._gauge(
            "upstream_rate_limit_seen_timestamp_seconds",
            "When upstream last spoke of its limit; what it said before is old news.",
            by,
        )
        self._resets = self._gauge(
            "upstream_rate_limit_reset_timestamp_seconds", "When upstream counts anew.", by
        )

    def takers(self) -> Takers:
        return {events.RateLimitSeen: self._seen}

    def _seen(self, event: events.RateLimitSeen) -> None:
        self._seen_at.labels(event.namespace).set_to_current_time()
        for gauge, value in (
            (self._limit, event.limit),
            (self._left, event.remaining),
            (self._window, event.window_seconds),
            (self._resets, event.resets_at),
        ):
            if value is not None:
                gauge.labels(event.namespace).set(value)
