"""The composition root: every room of the node is built and wired here, and stopped in turn.

Readable from top to bottom: disk, upstream, neighbours, fills, cache, web
(what a node with peers has beside the rest is in ``neighbours``). Start opens
the ports last, so that a node which listens can answer; stop closes them
first, then lets bodies finish, then ends fills (their segments stay on disk)
and gives the data folder back.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from nodecache.cache import Cache
from nodecache.config import Settings, parse_listen
from nodecache.deadline import Deadline
from nodecache.diskpool import ThreadDiskPool
from nodecache.events import Reloaded, Stopped, Stopping
from nodecache.fill import Fills
from nodecache.membership import Peer
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobSource
from nodecache.service.cluster_view import summary
from nodecache.service.gauges import Gauges
from nodecache.service.ground import close_store, open_store, room_of
from nodecache.service.identity import Identity, identify
from nodecache.service.listeners import Listener, open_listener
from nodecache.service.neighbours import Neighbours
from nodecache.service.policy import policy_of
from nodecache.service.reload import changes, merged
from nodecache.service.started import started
from nodecache.service.steering import Means, Steering
from nodecache.service.surroundings import Surroundings
from nodecache.service.watching import NodeWatch
from nodecache.store import Store
from nodecache.upstream import Upstreams
from nodecache.web import AdminSite, MirrorSite, PeerSite, admin_site


class Node:
    """One running node: made by ``Node.start``, ended by ``stop``; ``reload`` between."""

    def __init__(
        self,
        around: Surroundings,
        settings: Settings,
        pool: ThreadDiskPool,
        store: Store,
        identity: Identity | None,
        watch: NodeWatch,
    ) -> None:
        """``store`` is open and ``pool`` is started; both are this node's to end.

        So is ``identity``, which a node with peers has. ``around`` is that of ``watch``.
        """
        self.settings = settings
        self._reactor = around.reactor
        self._observe = around.observe
        self._pool = pool
        self._store = store
        self._listeners: dict[str, Listener] = {}
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
        self._neighbours: Neighbours | None = None
        if identity is not None:
            self._neighbours = Neighbours(around, settings, identity, self._upstreams)
        self._fills = self._make_fills(around)
        self._cache = self._make_cache(around)
        self.mirror = self._make_mirror(around)
        near = self._neighbours
        means = Means(around, lambda: self.settings, store, self._fills, self._cache, near, pool)
        self.steering = Steering(means)
        self._watch = watch.over(self, store, self._fills, self._neighbours)
        self.admin = self._make_admin(around)
        self._gauges = Gauges(self, around, pool, store, self._neighbours)

    def _make_fills(self, around: Surroundings) -> Fills:
        here = (self._store, self._pool, self._source, around.reactor, around.observe)
        bounds, near = (self.settings.limits, self.settings.timeouts), self._neighbours
        if near is None:
            return Fills(*here, *bounds)
        return Fills(
            *here,
            *bounds,
            places=near.places,
            width=near.width,
            spread=near.spread,
            blame=near.suspicions,
        )

    def _make_cache(self, around: Surroundings) -> Cache:
        near = self._neighbours
        return Cache(
            self._store,
            self._fills,
            self._upstreams if near is None else near.upstreams,
            policy_of(self.settings),
            clock=around.reactor,
            wall=around.wall,
            observe=around.observe,
            limits=self.settings.limits,
            timeouts=self.settings.timeouts,
            sharing=None if near is None else near.sharing(self._fills),
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
            traces_share=self.settings.telemetry.traces_share,
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
            more=[*self._watch.admin_parts(), self.steering.admin_part(self._status)],
        )

    @classmethod
    async def start(cls, around: Surroundings, settings: Settings) -> Node:
        """Scan the data folder and open the ports.

        Raises DataFolderError, ConfigError (a port that can not be had); what
        was begun is ended then.
        """
        began = around.reactor.seconds()
        watch = NodeWatch(around, settings)
        around = watch.around
        pool = ThreadDiskPool(around.reactor, settings.limits.disk_threads)
        pool.start()
        store: Store | None = None
        node: Node | None = None
        identity: Identity | None = None
        try:
            store = await open_store(around, settings, pool)
            scanned = around.reactor.seconds() - began
            identity = await identify(around, settings, pool)
            node = cls(around, settings, pool, store, identity, watch)
            node._listen()
        except BaseException:
            if node is not None:
                await node.stop("the ports can not be opened")
            else:
                if identity is not None:
                    identity.secrets.stop()
                await close_store(store, pool)
            raise
        node._begin(scanned)
        return node

    def _source(self, repository: Repository, digest: Digest) -> BlobSource:
        upstreams = self._upstreams if self._neighbours is None else self._neighbours.upstreams
        return upstreams.get(repository.namespace).blob_source(repository.name, digest)

    def _listen(self) -> None:
        sites: list[tuple[str, str, Any]] = [
            ("listen", self.settings.listen, self.mirror),
            ("admin_listen", self.settings.admin_listen, self.admin),
        ]
        if self._neighbours is not None and self.settings.peer_address is not None:
            site = self._peer_site(self._neighbours)
            sites.append(("peer_listen", self.settings.peer_address, site))
        for setting, address, site in sites:
            listener = open_listener(self._reactor, setting, parse_listen(address), site)
            self._listeners[setting] = listener
        self.steering.listen()

    def _peer_site(self, near: Neighbours) -> PeerSite:
        assert self._cache.owner is not None
        return near.serve(self._cache.owner, self._pool, self._cache.size_of, self._status)

    def _status(self) -> dict[str, Any]:
        """What peers may know of this node."""
        near = {} if self._neighbours is None else self._neighbours.status()
        return {**near, **summary(self._watch.status())}

    @property
    def mirror_port(self) -> int:
        """The port that was opened, also where the setting says 0."""
        return self._listeners["listen"].addresses[0][1]

    @property
    def admin_port(self) -> int:
        return self._listeners["admin_listen"].addresses[0][1]

    def live_peers(self) -> tuple[Peer, ...]:
        """The other nodes that are asked now."""
        return () if self._neighbours is None else self._neighbours.live_peers()

    def _begin(self, scan_seconds: float) -> None:
        me = "" if self._neighbours is None else self._neighbours.membership.me.id
        self._observe(started(self.settings, self._listeners, self._store, me, scan_seconds))
        self._gauges.start()
        if self._neighbours is not None:
            self._neighbours.start()

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
        if self._neighbours is not None:
            self._neighbours.reload(self.settings)
        cap, floor = room_of(self.settings)
        self._store.set_limits(cap, floor)
        self._observe(Reloaded(changed=", ".join(found.live), ignored=", ".join(found.restart)))

    def hurry(self) -> None:
        """Cut the bodies that a stop still waits for."""
        self.mirror.abort_all()
        if self._neighbours is not None:
            self._neighbours.abort_all()

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
        deadline = Deadline(began + self.settings.timeouts.drain)
        await self._close_listener("listen")
        await self.steering.stop()
        self._gauges.stop()
        aborted = await self._drain(deadline)
        self.mirror.abort_all()
        if self._neighbours is not None:
            await self._close_listener("peer_listen")
            self._neighbours.abort_all()
            self._neighbours.stop_asking()
        self._cache.stop()
        await self._fills.stop()
        if self._neighbours is not None:
            await self._neighbours.close()
        await self._upstreams.close()
        await close_store(self._store, self._pool)
        await self._close_listener("admin_listen")
        self.admin.abort_all()
        self._observe(Stopped(aborted=aborted, seconds=self._reactor.seconds() - began))

    async def _close_listener(self, setting: str) -> None:
        if (listener := self._listeners.get(setting)) is not None:
            await listener.close()

    async def _drain(self, deadline: Deadline) -> int:
        """Let bodies finish; how many did not. New askers are referred to others meanwhile."""
        if (near := self._neighbours) is None:
            return await self.mirror.drain(deadline)
        await near.leave()
        own = Deferred.fromCoroutine(self.mirror.drain(deadline))
        theirs = Deferred.fromCoroutine(near.drain(deadline))
        return sum(left for _, left in await DeferredList([own, theirs]))
