"""Events as Prometheus metrics, in a registry of their own.

Every label has a bounded set of values: what a client can choose (names, tags,
agents, odd methods) is never one. Where values come from upstream (hosts), the
first few are told apart and the rest are ``other``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.openmetrics import exposition as openmetrics

from nodecache.events import Event
from nodecache.metrics.faults import Faults
from nodecache.metrics.fetching import Fills, RateLimit, Upstream
from nodecache.metrics.live import Live, Readings, Threads
from nodecache.metrics.loop import Loop
from nodecache.metrics.peers import Cluster, Peers
from nodecache.metrics.room import Description, Room
from nodecache.metrics.serving import Cache, Images, Requests, Saved

__all__ = ["Description", "Metrics", "Readings", "Threads"]

_KINDS: Final = (Requests, Saved, Cache, Fills, Upstream, RateLimit, Peers, Cluster, Faults)


class Metrics:
    """``observe`` takes every event; ``render`` is the answer to a scrape.

    ``live`` asks for what is read at that moment, ``loop`` takes what is
    measured of the reactor. ``images`` is how many images are counted by name;
    none, if it is 0.
    """

    #: The text format that every Prometheus reads.
    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, images: int = 0) -> None:
        # A second series for each counter, of which the text format makes nothing.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.live, self.loop = Live(self.registry), Loop(self.registry)
        self._rooms: list[Room] = [kind(self.registry) for kind in _KINDS]
        self._rooms += [self.live, self.loop]
        if images > 0:
            self._rooms.append(Images(self.registry, images))
        self._takers: dict[type[Event], list[Callable[[Any], None]]] = defaultdict(list)
        for room in self._rooms:
            for kind, take in room.takers().items():
                self._takers[kind].append(take)

    def describe(self) -> list[Description]:
        """Every metric of our own, by name."""
        found = (each for room in self._rooms for each in room.described)
        return sorted(found, key=lambda each: each.name)

    def expect(self, namespaces: Collection[str], origins: Collection[str] = ()) -> None:
        """Show what may be counted for these upstreams as 0 from the start, and all as up."""
        for room in self._rooms:
            room.expect(namespaces, origins)

    def observe(self, event: Event) -> None:
        """Events that count nothing are ignored."""
        for take in self._takers.get(type(event), ()):
            take(event)

    def render(self) -> bytes:
        """All metrics in the text format."""
        return bytes(generate_latest(self.registry))

    def answer(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and their content type, in the format that a scraper asks for.

        In OpenMetrics a value can carry the trace that it comes from.
        """
        if not _takes_openmetrics(accept):
            return self.render(), self.content_type
        text = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
        return bytes(text), openmetrics.CONTENT_TYPE_LATEST


def _takes_openmetrics(accept: str) -> bool:
    """Whether ``accept`` names it, and not with a weight of 0."""
    for each in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in each.split(";"))
        if kind == "application/openmetrics-text":
            return not any(re.fullmatch(r"q=0(\.0*)?", one) for one in parameters)
    return False
