"""The composition root: every room of the node is built and wired here, and stopped in turn.

Readable from top to bottom: disk, upstream, fills, cache, web. Start opens
the ports last, so that a node which listens can answer; stop closes them
first, then lets bodies finish, then ends fills (their segments stay on disk)
and gives the data folder back.
"""

from __future__ import annotations

import os
import platform

from twisted.internet.defer import Deferred

from nodecache import __version__
from nodecache.cache import Cache, Platform, Policy
from nodecache.config import Settings, parse_listen
from nodecache.deadline import Deadline
from nodecache.diskpool import ThreadDiskPool
from nodecache.events import Reloaded, Started, Stopped, Stopping
from nodecache.failures import DataFolderError
from nodecache.fill import Fills
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobSource
from nodecache.service.listeners import Listener, open_listener
from nodecache.service.reload import changes, merged
from nodecache.service.surroundings import Surroundings
from nodecache.store import Store
from nodecache.upstream import Upstreams
from nodecache.web import AdminSite, MirrorSite, admin_site


class Node:
    """One running node: made by ``Node.start``, ended by ``stop``; ``reload`` between."""

    def __init__(
        self, around: Surroundings, settings: Settings, pool: ThreadDiskPool, store: Store
    ) -> None:
        """``store`` is open and ``pool`` is started; both are this node's to end."""
        self.settings = settings
        self._reactor = around.reactor
        self._observe = around.observe
        self._pool = pool
        self._store = store
        self._listeners: list[Listener] = []
        self._stopped: Deferred[None] | None = None
        self._upstreams = Upstreams(
            settings.upstreams,
            around.reactor,
            around.wall,
            around.observe,
            settings.limits,
            settings.timeouts,
            around.environ,
            offline=settings.offline,
        )
        self._fills = Fills(
            store,
            pool,
            self._source,
            around.reactor,
            around.observe,
            settings.limits,
            settings.timeouts,
        )
        self._cache = self._make_cache(around)
        self.mirror = self._make_mirror(around)
        self.admin = self._make_admin(around)

    def _make_cache(self, around: Surroundings) -> Cache:
        return Cache(
            self._store,
            self._fills,
            self._upstreams,
            policy_of(self.settings),
            clock=around.reactor,
            wall=around.wall,
            observe=around.observe,
            limits=self.settings.limits,
            timeouts=self.settings.timeouts,
        )

    def _make_mirror(self, around: Surroundings) -> MirrorSite:
        return MirrorSite(
            self._cache,
            reactor=around.reactor,
            pool=self._pool,
            observe=around.observe,
            wall=around.wall,
            timeouts=self.settings.timeouts,
            limits=self.settings.limits,
            sole_registry=self.settings.sole_registry,
        )

    def _make_admin(self, around: Surroundings) -> AdminSite:
        return admin_site(
            around.metrics,
            self.readiness,
            clock=around.reactor,
            observe=around.observe,
            wall=around.wall,
            timeouts=self.settings.timeouts,
            limits=self.settings.limits,
        )

    @classmethod
    async def start(cls, around: Surroundings, settings: Settings) -> Node:
        """Scan the data folder and open the ports.

        Raises DataFolderError, ConfigError (a port that can not be had); what
        was begun is ended then.
        """
        began = around.reactor.seconds()
        pool = ThreadDiskPool(around.reactor, settings.limits.disk_threads)
        pool.start()
        store: Store | None = None
        node: Node | None = None
        try:
            store = await _open_store(around, settings, pool)
            scanned = around.reactor.seconds() - began
            node = cls(around, settings, pool, store)
            node._listen()
        except BaseException:
            if node is not None:
                await node.stop("the ports can not be opened")
            else:
                await _close_store(store, pool)
            raise
        node._tell_started(scanned)
        return node

    def _source(self, repository: Repository, digest: Digest) -> BlobSource:
        return self._upstreams.get(repository.namespace).blob_source(repository.name, digest)

    def _listen(self) -> None:
        for setting, site in (("listen", self.mirror), ("admin_listen", self.admin)):
            address = parse_listen(getattr(self.settings, setting))
            self._listeners.append(open_listener(self._reactor, setting, address, site))

    @property
    def mirror_port(self) -> int:
        """The port that was opened, also where the setting says 0."""
        return self._listeners[0].addresses[0][1]

    @property
    def admin_port(self) -> int:
        return self._listeners[1].addresses[0][1]

    def _tell_started(self, scan_seconds: float) -> None:
        usage = self._store.usage()
        self._observe(
            Started(
                version=__version__,
                listen=self._listeners[0].describe(),
                admin=self._listeners[1].describe(),
                data_dir=os.path.abspath(self.settings.data_dir),
                upstreams=", ".join(
                    f"{one.namespace}={one.url}" for one in self.settings.upstreams
                ),
                blobs=usage.blobs,
                bytes=usage.bytes,
                scan_seconds=scan_seconds,
                unclean=self._store.unclean,
            )
        )

    def readiness(self) -> str | None:
        """Why the node is not ready; None when it is. Neither upstream nor a full disk counts."""
        if self._stopped is not None:
            return "the node is stopping"
        if not self._listeners:
            return "the ports are not open yet"
        return self._store.problem

    # While it runs.

    def reload(self, new: Settings) -> None:
        """Take on what a running node can; the event names what needs a restart."""
        found = changes(self.settings, new)
        self.settings = merged(self.settings, new)
        self._cache.policy = policy_of(self.settings)
        self._upstreams.set_offline(offline=self.settings.offline)
        cap, floor = _room(self.settings)
        self._store.set_limits(cap, floor)
        self._observe(Reloaded(changed=", ".join(found.live), ignored=", ".join(found.restart)))

    def hurry(self) -> None:
        """Cut the bodies that a stop still waits for."""
        self.mirror.abort_all()

    # The end.

    async def stop(self, reason: str) -> None:
        """Drain and stop; whoever calls again waits for the same end."""
        if self._stopped is not None:
            waiter: Deferred[None] = Deferred()
            self._stopped.chainDeferred(waiter)
            await waiter
            return
        self._stopped = Deferred()
        await self._end(reason)
        self._stopped.callback(None)

    async def _end(self, reason: str) -> None:
        began = self._reactor.seconds()
        self._observe(Stopping(reason=reason, bodies=len(self.mirror.active_bodies)))
        for listener in self._listeners[:1]:
            await listener.close()
        aborted = await self.mirror.drain(Deadline(began + self.settings.timeouts.drain))
        self.mirror.abort_all()
        self._cache.stop()
        await self._fills.stop()
        await self._upstreams.close()
        await _close_store(self._store, self._pool)
        for listener in self._listeners[1:]:
            await listener.close()
        self.admin.abort_all()
        self._observe(Stopped(aborted=aborted, seconds=self._reactor.seconds() - began))


def policy_of(settings: Settings) -> Policy:
    """What the cache acts by, of the settings."""
    return Policy(
        rules={one.namespace: one.rules for one in settings.upstreams},
        tag_ttl=settings.tag_ttl,
        offline=settings.offline,
        platform=Platform.of_machine(platform.machine()),
    )


async def _open_store(around: Surroundings, settings: Settings, pool: ThreadDiskPool) -> Store:
    cap, floor = _room(settings)
    return await Store.open(
        settings.data_dir,
        pool,
        around.reactor,
        around.wall,
        around.observe,
        cap=cap,
        floor=floor,
        timeouts=settings.timeouts,
        limits=settings.limits,
    )


async def _close_store(store: Store | None, pool: ThreadDiskPool) -> None:
    if store is not None:
        await store.close()
    await pool.stop()


def _room(settings: Settings) -> tuple[int, int]:
    """Cap and floor in bytes, by the size of the disk that holds (or will hold) the folder."""
    folder = os.path.abspath(settings.data_dir)
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    try:
        found = os.statvfs(folder)
    except OSError as error:
        raise DataFolderError(f"data folder {folder}: {error.strerror}") from error
    total = found.f_blocks * found.f_frsize
    return settings.cap(total), settings.floor(total)
