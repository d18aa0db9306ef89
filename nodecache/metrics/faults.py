"""What should not have happened."""

from __future__ import annotations

import platform
from typing import Final

import twisted
from prometheus_client import CollectorRegistry

from nodecache import __version__, events
from nodecache.metrics.room import Bounded, Room, Takers

#: What is shown as never failed; a rate misses the first value of what begins later.
OPERATIONS: Final = (
    "begin a blob",
    "check",
    "close a partial",
    "evict",
    "fill",
    "marker",
    "open a blob",
    "read a listing",
    "read a manifest",
    "read a tag",
    "recover",
    "scan",
    "scrub",
    "send",
    "write a listing",
    "write a manifest",
    "write a tag",
)


class Faults(Room):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        build = self._gauge(
            "build_info",
            "1, by the running release and what it runs on.",
            ("version", "python", "twisted"),
        )
        build.labels(__version__, platform.python_version(), twisted.__version__).set(1)
        self._corrupt = self._counter(
            "corruptions_total", "Rotten bytes found and dropped.", ("kind", "found_by")
        )
        self._disk = self._counter("disk_failures_total", "Failed disk calls.", ("operation",))
        self._defects = self._counter("unexpected_total", "Defects of nodecache met.")
        self._left_out = self._counter(
            "log_lines_left_out_total",
            "Lines of the log that were left out as too many of their kind.",
        )
        self._traces = self._counter(
            "traces_failed_total", "Complaints of and about the collector of traces."
        )
        self._turned = self._counter(
            "turned_away_total",
            "Connections that a port refused, by the limit that was met.",
            ("port", "limit"),
        )
        for port in ("mirror", "peer", "admin", "control"):
            for limit in ("all", "address", "head", "slow"):
                self._turned.labels(port, limit)
        self._operation = Bounded()
        for operation in OPERATIONS:
            self._disk.labels(self._operation(operation))
        for kind in ("blob", "manifest", "segment"):
            for found_by in ("scan", "scrub", "read", "resume", "verify"):
                self._corrupt.labels(kind, found_by)

    def takers(self) -> Takers:
        return {
            events.CorruptionFound: self._corruption,
            events.DiskFailed: self._disk_failed,
            events.LeftOut: lambda event: self._left_out.inc(event.count),
            events.TracesFailed: lambda _: self._traces.inc(),
            events.TurnedAway: self._turned_away,
            events.Unexpected: lambda _: self._defects.inc(),
        }

    def _corruption(self, event: events.CorruptionFound) -> None:
        self._corrupt.labels(event.kind, event.found_by).inc()

    def _turned_away(self, event: events.TurnedAway) -> None:
        self._turned.labels(event.port, event.limit).inc()

    def _disk_failed(self, event: events.DiskFailed) -> None:
        self._disk.labels(self._operation(event.operation)).inc()
