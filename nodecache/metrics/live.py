"""How the node is at the moment of a scrape: read then, and not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from nodecache.metrics.room import Room, Takers


@attrs.frozen
class Threads:
    """Of a pool: how many there may be, how many work, and how many jobs wait for one."""

    most: int
    busy: int
    waiting: int | None = None


@attrs.frozen(kw_only=True)
class Readings:
    """What is known of the node now; None is shown as nothing. Bytes and seconds.

    ``bodies`` and ``connections`` are by port (mirror, peer, admin),
    ``threads`` by pool, ``peers`` by what the other nodes are to this one.
    ``view`` is a checksum of the names of all nodes that this one counts
    itself among: nodes with the same one see the same cluster. ``link`` and
    ``behind`` are of its own link (nodecache/membership/link.py).
    """

    ready: bool | None = None
    busy: bool | None = None
    bodies: Mapping[str, int] = attrs.field(factory=dict)
    connections: Mapping[str, int] = attrs.field(factory=dict)
    threads: Mapping[str, Threads] = attrs.field(factory=dict)
    cap: int | None = None
    floor: int | None = None
    disk_size: int | None = None
    disk_free: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None
    pins: int | None = None
    peers: Mapping[str, int] = attrs.field(factory=dict)
    view: int | None = None
    link: int | None = None
    behind: bool | None = None


Samples = Iterable[tuple[tuple[str, ...], float]]


def _one(value: float | None) -> Samples:
    return [] if value is None else [((), value)]


def _each(values: Mapping[str, float]) -> Samples:
    return [((name,), value) for name, value in values.items()]


@attrs.frozen
class _Gauge:
    name: str
    text: str
    labels: tuple[str, ...]
    of: Callable[[Readings], Samples]


def _pools(pick: Callable[[Threads], int | None]) -> Callable[[Readings], Samples]:
    def samples(now: Readings) -> Samples:
        found = {name: pick(pool) for name, pool in now.threads.items()}
        return _each({name: value for name, value in found.items() if value is not None})

    return samples


_GAUGES: Final = (
    _Gauge("ready", "1 while the node can serve.", (), lambda now: _one(now.ready)),
    _Gauge("loop_busy", "1 while the reactor often turns late.", (), lambda now: _one(now.busy)),
    _Gauge("open_bodies", "Bodies being sent now.", ("port",), lambda now: _each(now.bodies)),
    _Gauge(
        "connections", "Connections that are open.", ("port",), lambda now: _each(now.connections)
    ),
    _Gauge("threads", "Threads that a pool may have.", ("pool",), _pools(lambda one: one.most)),
    _Gauge(
        "threads_busy", "Threads of a pool that work now.", ("pool",), _pools(lambda one: one.busy)
    ),
    _Gauge(
        "thread_jobs_waiting",
        "Jobs that wait for a thread.",
        ("pool",),
        _pools(lambda one: one.waiting),
    ),
    _Gauge("cache_max_bytes", "The cap of the cache.", (), lambda now: _one(now.cap)),
    _Gauge(
        "disk_floor_bytes", "Free bytes of the disk that are kept.", (), lambda now: _one(now.floor)
    ),
    _Gauge(
        "disk_size_bytes",
        "Size of the disk that the cache is on.",
        (),
        lambda now: _one(now.disk_size),
    ),
    _Gauge(
        "disk_free_bytes",
        "Free bytes of the disk that the cache is on.",
        (),
        lambda now: _one(now.disk_free),
    ),
    _Gauge(
        "disk_inodes", "Inodes of the disk that the cache is on.", (), lambda now: _one(now.inodes)
    ),
    _Gauge(
        "disk_inodes_free",
        "Free inodes of the disk that the cache is on.",
        (),
        lambda now: _one(now.inodes_free),
    ),
    _Gauge("pins", "Tags that are never given up for room.", (), lambda now: _one(now.pins)),
    _Gauge(
        "peers",
        "Other nodes, by what they are to this one.",
        ("state",),
        lambda now: _each(now.peers),
    ),
    _Gauge(
        "peers_view_checksum",
        "Checksum of the names of the nodes that this one sees; equal where the view is.",
        (),
        lambda now: _one(now.view),
    ),
    _Gauge(
        "link_bytes_per_second",
        "What this node's link was seen to carry from peers, of late; 0 before that is known.",
        (),
        lambda now: _one(now.link),
    ),
    _Gauge(
        "link_behind",
        "1 while this node's link is slow beside those of its peers, so that it ranks last.",
        (),
        lambda now: _one(now.behind),
    ),
)


class Live(Room, Collector):
    """``read`` is set by whoever knows the node; until then nothing is shown."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.read: Callable[[], Readings] = Readings
        for gauge in _GAUGES:
            self._describe(gauge.name, "gauge", gauge.text, gauge.labels)
        registry.register(self)

    def takers(self) -> Takers:
        return {}

    def describe(self) -> Iterator[Metric]:
        """The names, for the registry: it must not read before there is a node."""
        return (self._family(gauge) for gauge in _GAUGES)

    def collect(self) -> Iterator[Metric]:
        now = self.read()
        for gauge in _GAUGES:
            family = self._family(gauge)
            for labels, value in gauge.of(now):
                family.add_metric(labels, float(value))
            if family.samples:
                yield family

    def _family(self, gauge: _Gauge) -> Any:
        return GaugeMetricFamily(f"nodecache_{gauge.name}", gauge.text, labels=gauge.labels)
