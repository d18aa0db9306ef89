"""Events as Prometheus metrics, in a registry of their own.

Every label has a bounded set of values: what a client can choose (names, tags,
agents, odd methods) is never one. Where values come from upstream (hosts), the
first few are told apart and the rest are ``other``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from nodecache.events import Event
from nodecache.metrics.faults import Faults
from nodecache.metrics.fetching import Fills, RateLimit, Upstream
from nodecache.metrics.peers import Cluster, Peers
from nodecache.metrics.room import Description
from nodecache.metrics.serving import Cache, Requests

__all__ = ["Description", "Metrics"]


class Metrics:
    """``observe`` takes every event; ``render`` is the answer to a scrape."""

    #: The text format that every Prometheus reads.
    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        # A second series for each counter, of which the text format makes nothing.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        kinds = (Requests, Cache, Fills, Upstream, RateLimit, Peers, Cluster, Faults)
        self._rooms = [kind(self.registry) for kind in kinds]
        self._takers: dict[type[Event], Callable[[Any], None]] = {}
        for room in self._rooms:
            self._takers.update(room.takers())

    def describe(self) -> list[Description]:
        """Every metric of our own, by name."""
        found = (each for room in self._rooms for each in room.described)
        return sorted(found, key=lambda each: each.name)

    def observe(self, event: Event) -> None:
        """Events that count nothing are ignored."""
        take = self._takers.get(type(event))
        if take is not None:
            take(event)

    def render(self) -> bytes:
        """All metrics in the text format."""
        return bytes(generate_latest(self.registry))
