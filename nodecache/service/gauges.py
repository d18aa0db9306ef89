"""How the node is at the moment, read when somebody scrapes it.

What needs the disk to be asked (free space) is asked in a thread, and shown
with the next scrape: one that hangs holds up no other.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from nodecache.config import Settings
from nodecache.diskpool import ThreadDiskPool
from nodecache.failures import DataFolderError, StoreFailure
from nodecache.metrics import Readings, Threads
from nodecache.service.ground import room_of
from nodecache.service.heap import Heap
from nodecache.service.lag import LoopLag
from nodecache.service.neighbours import Neighbours
from nodecache.service.surroundings import Surroundings
from nodecache.store import Store
from nodecache.upstream.urls import origin_of
from nodecache.web import AdminSite, MirrorSite, PeerState


class Looked(Protocol):
    """The node that is looked at."""

    settings: Settings
    mirror: MirrorSite
    admin: AdminSite

    def readiness(self) -> str | None: ...


@attrs.frozen
class _Space:
    """Of the disk, in bytes and inodes; ``floor`` is by the settings."""

    size: int
    free: int
    inodes: int
    inodes_free: int
    floor: int


def _look(settings: Settings) -> _Space:
    """Blocks. Raises OSError, DataFolderError."""
    found = os.statvfs(settings.data_dir)
    return _Space(
        size=found.f_blocks * found.f_frsize,
        free=found.f_bavail * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_favail,
        floor=room_of(settings)[1],
    )


class Gauges:
    """``start`` once the node serves; ``stop`` is owed.

    It also watches whether the reactor turns in time, for the metrics and,
    where there are some, for the neighbours. With its ticks the heap is looked after.
    """

    def __init__(
        self,
        node: Looked,
        around: Surroundings,
        pool: ThreadDiskPool,
        store: Store,
        near: Neighbours | None,
    ) -> None:
        self._node = node
        self._reactor: Any = around.reactor
        self._pool = pool
        self._store = store
        self._near = near
        self._metrics = around.metrics
        self._space: _Space | None = None
        self._looking: Deferred[None] | None = None
        self._heap = Heap(self._reactor.seconds())
        self._lag = LoopLag(around.reactor, self._busy, self._thawed, self._lagged)
        upstreams = node.settings.upstreams
        origins = [origin_of(url) for one in upstreams for url in one.urls]
        self._metrics.expect([one.namespace for one in upstreams], origins)
        self._metrics.live.read = self.read

    def start(self) -> None:
        """Begin to measure."""
        self._lag.start()
        self._refresh()

    def stop(self) -> None:
        """Measure no more; idempotent."""
        self._lag.stop()
        if self._looking is not None:
            self._looking.cancel()
        self._metrics.live.read = Readings

    def read(self) -> Readings:
        """All of it, now; the disk as it was a scrape ago."""
        space, node = self._space, self._node
        found = Readings(
            ready=node.readiness() is None,
            busy=self._lag.busy,
            bodies=self._bodies(),
            connections=self._connections(),
            threads=self._threads(),
            cap=self._store.usage().cap,
            floor=None if space is None else space.floor,
            disk_size=None if space is None else space.size,
            disk_free=None if space is None else space.free,
            inodes=None if space is None else space.inodes,
            inodes_free=None if space is None else space.inodes_free,
            pins=self._store.pins,
            peers=self._peers(),
            view=self._view(),
            link=None if self._near is None else self._near.membership.link.best,
            behind=None if self._near is None else self._near.membership.link.behind,
        )
        self._refresh()
        return found

    # The parts.

    def _bodies(self) -> dict[str, int]:
        found = {"mirror": len(self._node.mirror.active_bodies)}
        if self._near is not None and self._near.site is not None:
            found["peer"] = len(self._near.site.active_bodies)
        return found

    def _connections(self) -> dict[str, int]:
        sites = {"mirror": self._node.mirror.channels, "admin": self._node.admin.channels}
        if self._near is not None and self._near.site is not None:
            sites["peer"] = self._near.site.channels
        return {name: len(channels) for name, channels in sites.items()}

    def _threads(self) -> dict[str, Threads]:
        load = self._pool.load
        found = {"disk": Threads(most=load.most, busy=load.busy, waiting=load.waiting)}
        names = self._reactor.threadpool  # resolves names; there once it was needed
        if names is not None:
            found["reactor"] = Threads(most=names.max, busy=len(names.working))
        return found

    def _peers(self) -> dict[str, int]:
        if self._near is None:
            return {}
        states = Counter(peer.state for peer in self._near.table.seen().peers)
        return {state.value: states[state] for state in PeerState}

    def _view(self) -> int | None:
        if self._near is None:
            return None
        names = {peer.id for peer in self._near.live_peers()} | {self._near.membership.me.id}
        return zlib.crc32("\n".join(sorted(names)).encode())

    # The disk.

    def _refresh(self) -> None:
        if self._looking is None:
            settings = self._node.settings
            looked = self._pool.run(lambda: _look(settings))
            self._looking = looked.addCallbacks(self._seen, self._unseen)

    def _seen(self, space: _Space) -> None:
        self._space, self._looking = space, None

    def _unseen(self, reason: Any) -> None:
        """A disk that can not be asked is shown by the readiness, and by what fails on it."""
        self._space = self._looking = None
        reason.trap(OSError, DataFolderError, StoreFailure, Exception)

    # The reactor.

    def _busy(self, busy: bool) -> None:  # noqa: FBT001 - it is the whole message
        if self._near is not None:
            self._near.busy(busy)

    def _lagged(self, late: float) -> None:
        self._metrics.loop.lagged(late)
        self._heap.look(self._reactor.seconds())

    def _thawed(self, late: float) -> None:
        self._metrics.loop.stood_still(late)
        if self._near is not None:
            self._near.thawed(late)
