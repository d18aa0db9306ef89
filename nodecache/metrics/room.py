"""What every group of metrics is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from nodecache.events import Event

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


class Room:
    """A few metrics that belong together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def takers(self) -> Takers:
        raise NotImplementedError

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"nodecache_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"nodecache_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(
            f"nodecache_{name}", text, labels, buckets=buckets, registry=self._registry
        )
