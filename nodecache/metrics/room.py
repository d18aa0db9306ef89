"""What every group of metrics is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import attrs
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from nodecache.events import Event
from nodecache.traces import CURRENT

#: Distinct values of a label whose values come from outside.
DISTINCT: Final = 32
OTHER: Final = "other"

Takers = Mapping[type[Event], Callable[[Any], None]]


class Bounded:
    """Values of a label: the first ``most`` as they are, all others as ``other``."""

    def __init__(self, most: int = DISTINCT) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


@attrs.frozen
class Description:
    """A metric, for the documents; ``name`` is as a scrape shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def exemplar(trace_id: str | None = None) -> dict[str, str] | None:
    """What leads from a value to its trace; that of the running request, if none is named."""
    if trace_id is None:
        trace = CURRENT.get()
        trace_id = "" if trace is None else trace.trace_id
    return {"trace_id": trace_id} if trace_id else None


class Room:
    """A few metrics that belong together; ``described`` holds each of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.described: list[Description] = []
        self._registry = registry

    def takers(self) -> Takers:
        raise NotImplementedError

    def expect(self, namespaces: Collection[str], origins: Collection[str]) -> None:
        """Show what may be counted for these upstreams as 0: a rate misses a first value."""

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        name = self._describe(name, "counter", text, labels)
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        name = self._describe(name, "gauge", text, labels)
        return Gauge(name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        name = self._describe(name, "histogram", text, labels)
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def _describe(self, name: str, kind: str, text: str, labels: tuple[str, ...]) -> str:
        full = f"nodecache_{name}"
        self.described.append(Description(full, kind, labels, text))
        return full
