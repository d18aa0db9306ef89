"""Images moved by order: fetched ahead, imported, exported; and what peers wish."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from nodecache.cache import Cache, Platform
from nodecache.cache.placing import Placing
from nodecache.config import Settings
from nodecache.fill import Fills
from nodecache.membership import Peer
from nodecache.reference import Repository
from nodecache.seams import DiskPool
from nodecache.service.ground import room_of
from nodecache.service.neighbours import Neighbours
from nodecache.service.surroundings import Surroundings
from nodecache.steering import Tell, Verb
from nodecache.steering.lasting import Lasting
from nodecache.steering.trying import Spare, Trying, TryPorts
from nodecache.steering.warm import WarmingByOrder, WarmPorts
from nodecache.store import Store
from nodecache.warming import Ports, Warming, Wishes
from nodecache.web.api import PeerState

_AWAY: Final = {
    PeerState.LIVE: "too many nodes fail for any to be asked",
    PeerState.ASIDE: "it failed a moment ago, and is not asked",
    PeerState.VERSION: "it speaks another version of the wire",
    PeerState.LEAVING: "it is stopping",
    PeerState.UNKNOWN: "it has never answered",
}
#: Orders that move images by archive.
BY_ARCHIVE: Final = ("import", "export")


def _carrying() -> Callable[[Moved, Warming, Ports, Lasting], dict[str, Verb]]:
    """Blocks."""
    from nodecache.service.carrying import carrying  # noqa: PLC0415

    return carrying


def own_platform() -> str:
    """That of the images which this machine runs."""
    own = Platform.of_machine(platform.machine())
    return f"{own.os}/{own.architecture}"


@attrs.frozen
class Moved:
    """What images are moved with. ``settings`` are those that hold now."""

    around: Surroundings
    settings: Callable[[], Settings]
    pool: DiskPool
    store: Store
    fills: Fills
    cache: Cache
    neighbours: Neighbours | None

    def known(self) -> Sequence[str]:
        """The namespaces of this node, in their order."""
        return [one.namespace for one in self.settings().upstreams]

    def permit(self, name: str, namespace: str) -> Repository:
        """Raises UnknownNamespace, NameDenied."""
        return self.cache.repository(name, namespace)

    def cap(self) -> int:
        """Bytes that it can come to hold: as many as it may, or the disk has above its floor."""
        usage, spare = self.store.usage(), self.spare()
        return min(usage.cap, usage.bytes + max(0, spare.disk))

    def spare(self) -> Spare:
        """What may be written without an eviction."""
        usage, (_, floor) = self.store.usage(), room_of(self.settings())
        return Spare(usage.cap - usage.bytes - usage.reserved, usage.disk_free - floor)

    def placing(self) -> Placing:
        """Puts images in."""
        forget = self.store.census.drop_manifest
        return Placing(self.store, self.fills, self.pool, self.around.wall, forget)

    def live(self) -> tuple[Peer, ...]:
        """The other nodes that may be asked."""
        return () if self.neighbours is None else self.neighbours.live_peers()

    def away(self) -> list[tuple[str, str]]:
        """The ids of those that may not, and why."""
        if self.neighbours is None:
            return []
        live, known = {peer.id for peer in self.live()}, self.neighbours.table.seen().peers
        return [(row.id, _AWAY[row.state]) for row in known if row.id not in live]


class Moving:
    """``verbs`` are its orders; ``stop`` is owed."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        settings = moved.settings()
        self._lasting = Lasting()
        self._carried: dict[str, Verb] = {}
        self._ports = Ports(moved.cache, moved.fills, moved.store, moved.around.reactor)
        self._warming = Warming(self._ports, settings.limits, settings.timeouts)
        self._wishes = Wishes(
            self._warming,
            settings.limits.peer_warms,
            permit=lambda repository: moved.permit(repository.name, repository.namespace),
            platform=own_platform,
            cap=moved.cap,
            offline=lambda: moved.settings().offline,
            clock=moved.around.reactor,
            observe=moved.around.observe,
        )
        if moved.neighbours is not None:
            moved.neighbours.warm = self._wishes.wish

    def verbs(self) -> Iterable[Verb]:
        """The orders."""
        yield self._warm().verb()
        yield from map(self._by_archive, BY_ARCHIVE)
        yield self._try().verb()

    def _by_archive(self, name: str) -> Verb:
        """Loaded once it is given: a start needs nothing of what reads and writes archives."""

        async def run(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
            if not self._carried:
                # Not in the reactor, which it would hold up.
                make = await self._moved.pool.run(_carrying)
                # Another may have been given meanwhile.
                self._carried = self._carried or make(
                    self._moved, self._warming, self._ports, self._lasting
                )
            return await self._carried[name].run(given, tell)

        return Verb(name, run)

    def _warm(self) -> WarmingByOrder:
        moved, near = self._moved, self._moved.neighbours
        return WarmingByOrder(
            WarmPorts(
                warming=self._warming,
                clock=moved.around.reactor,
                limits=moved.settings().limits,
                known=moved.known,
                permit=moved.permit,
                platform=own_platform,
                cap=moved.cap,
                peers=None if near is None else near.peers,
                live=moved.live,
                away=moved.away,
            )
        )

    def _try(self) -> Trying:
        moved = self._moved
        return Trying(
            TryPorts(
                placing=moved.placing(),
                pool=moved.pool,
                spare=moved.spare,
                known=moved.known,
                permit=moved.permit,
            ),
            self._lasting,
        )

    async def stop(self) -> None:
        """Returns when nothing is under way that works with the store."""
        self._wishes.stop()
        await self._lasting.idle()
