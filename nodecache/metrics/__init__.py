"""Events as Prometheus metrics, in a registry of their own.

Every label has a bounded set of values: what a client can choose (names, tags,
agents, odd methods) is never one. Where values come from upstream (hosts), the
first few are told apart and the rest are ``other``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from nodecache.events import Event
from nodecache.metrics.faults import Faults
from nodecache.metrics.fetching import Fills, RateLimit, Upstream
from nodecache.metrics.serving import Cache, Requests

__all__ = ["Metrics"]


class Metrics:
    """``observe`` takes every event; ``render`` is the answer to a scrape."""

    #: The text format that every Prometheus reads.
    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        rooms = (Requests, Cache, Fills, Upstream, RateLimit, Faults)
        self._takers: dict[type[Event], Callable[[Any], None]] = {}
        for room in rooms:
            self._takers.update(room(self.registry).takers())

    def observe(self, event: Event) -> None:
        """Events that count nothing are ignored."""
        take = self._takers.get(type(event))
        if take is not None:
            take(event)

    def render(self) -> bytes:
        """All metrics in the text format."""
        return bytes(generate_latest(self.registry))
