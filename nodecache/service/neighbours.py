"""What a node with peers has beside the rest, built and wired in one place.

Who they are (membership, fed by discovery), how they are asked (peers, and the
shared upstreams before the real ones), what they are told (the peer site). The
pieces that both sides look at stand here as well: what this node has promised
to fetch, whom it waits for, and whom it suspects.
"""

from __future__ import annotations

import random
import secrets
import zlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList

from nodecache import __version__
from nodecache.admission import Admission
from nodecache.cache.owning import Sharing
from nodecache.config import Settings, parse_listen
from nodecache.deadline import Deadline
from nodecache.discovery import Discovery
from nodecache.discovery.twins import Twins
from nodecache.events import Coalesced, Event, PeerFailed, PeersSeen
from nodecache.failures import PeerFailure, PeerKind
from nodecache.fill import Fills
from nodecache.limits import WIRE_VERSION
from nodecache.membership import Address, Membership, Peer
from nodecache.peers import Peers
from nodecache.reference import Digest
from nodecache.results import PeerRegistry
from nodecache.seams import DiskPool
from nodecache.segments import Spread, segment_count
from nodecache.service.identity import Identity
from nodecache.service.peer_table import PeerTable
from nodecache.service.surroundings import Surroundings
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.places import UpstreamPlaces
from nodecache.sharing.suspicions import Suspicions
from nodecache.sharing.tools import Tools
from nodecache.sharing.upstreams import SharedUpstreams
from nodecache.sourcing import segments_at_a_time
from nodecache.upstream import Upstreams
from nodecache.web import PeerSite
from nodecache.web.peer_ports import Status
from nodecache.web.peer_warm import Warm

#: Missing segments among which the next one is chosen (bench/simulate.py compares).
WINDOW = 24
#: Seconds. Peers are told that this node is leaving, and not waited for any longer.
GOODBYE = 0.5


class Neighbours:
    """``start`` once the peer port is open; ``leave``, then ``stop``, are owed."""

    def __init__(
        self,
        around: Surroundings,
        settings: Settings,
        identity: Identity,
        upstreams: Upstreams,
    ) -> None:
        """``identity`` is this node's to end."""
        self._reactor = around.reactor
        self._settings = settings
        self._secrets = identity.secrets
        self._around = around
        self.membership = _membership(settings, identity.id)
        self.table = PeerTable(self.membership, around.reactor)
        self.peers = self._make_peers()
        self._discovery = self._make_discovery()
        self.suspicions = Suspicions(
            self.peers, around.reactor, self.observe, self._put_aside, settings.timeouts
        )
        self.admission = Admission(settings.limits)
        self._duties, self._asking = Duties(self.membership.me.id), Asking()
        self._offline, self._tag_ttl = settings.offline, settings.tag_ttl
        self._sizes: Callable[[Digest], int | None] | None = None
        self.upstreams = SharedUpstreams(
            upstreams,
            self._tools(),
            put_aside=self._put_aside,
            joined=lambda: self.observe(Coalesced(kind="manifest")),
        )
        self._filling: Callable[[], int] = lambda: 1
        self.site: PeerSite | None = None
        #: What becomes of the wishes of peers that this node fetches an image.
        self.warm: Warm | None = None

    def _make_peers(self) -> Peers:
        return Peers(
            self.membership.me.id,
            self._reactor,
            self.membership,
            self._secrets,
            self._around.wall,
            self.observe,
            self._settings.timeouts,
            self._settings.limits,
        )

    def _make_discovery(self) -> Discovery:
        assert self._settings.peers is not None
        me = self.membership
        return Discovery(
            self._reactor,
            self._settings.peers,
            me,
            Twins(self.peers.hello, me.me.id, me.instance, self.observe).hello,
            self.observe,
            self._settings.timeouts,
            random.Random(),
        )

    def _tools(self) -> Tools:
        limits = self._settings.limits
        return Tools(
            cluster=self.peers,
            duties=self._duties,
            asking=self._asking,
            places=UpstreamPlaces(
                limits.connections_per_node, limits.connections_per_blob, self._reactor
            ),
            suspicions=self.suspicions,
            clock=self._reactor,
            limits=limits,
            timeouts=self._settings.timeouts,
            offline=lambda: self._offline,
            size_of=self._size_of,
            tag_ttl=lambda: self._tag_ttl,
        )

    def observe(self, event: Event) -> None:
        """What is told of peers is kept by peer as well."""
        self.table.observe(event)
        self._around.observe(event)
        if isinstance(event, PeerFailed):
            self._discovery.poke()
        elif isinstance(event, PeersSeen):
            # What greetings alone have changed is told of as well.
            self.admission.behind = self.peers.view().behind

    # For the fills.

    @property
    def places(self) -> int:
        """Connections of all fills; those to upstream have a bound of their own."""
        limits = self._settings.limits
        return limits.connections_per_node + limits.peer_connections_per_node

    def width(self, digest: Digest, total: int) -> int:
        """How many connections the fill of a blob has; more once others have ended."""
        del digest
        if not self.live_peers():
            return 1
        limits = self._settings.limits
        share = max(2, limits.peer_connections_shared // max(1, self._filling()))
        return max(1, min(share, 2 * segment_count(total)))

    def spread(self, digest: Digest) -> Spread | None:
        """Each node in an order of its own, so that not all want the same segment."""
        peers = self.live_peers()
        if not peers:
            return None
        at_a_time = segments_at_a_time(len(peers) + 1, self._settings.limits)
        me = self.membership.me.id
        return Spread(zlib.crc32(f"{me}/{digest}".encode()), WINDOW, at_a_time)

    # For the cache, and what comes of it.

    def sharing(self, fills: Fills) -> Sharing:
        """What the cache is made with."""
        self._filling = lambda: sum(1 for flight in fills.active() if flight.clients)
        return Sharing(
            direct=self.upstreams.owned,
            others=self.upstreams.rest,
            lender=fills,
            duties=self._duties,
            asking=self._asking,
            repairs_alone=self.suspicions.repairs_alone,
        )

    def _size_of(self, digest: Digest) -> int | None:
        return None if self._sizes is None else self._sizes(digest)

    def serve(
        self,
        registry: PeerRegistry,
        pool: DiskPool,
        sizes: Callable[[Digest], int | None],
        status: Status,
    ) -> PeerSite:
        """The site for the peer port. ``sizes`` names bytes of blobs as manifests do."""
        self._sizes = sizes
        self.site = PeerSite(
            registry,
            self.admission,
            self.membership,
            me=self.membership.me.id,
            secrets=lambda: self._secrets.accepted,
            clock=self._reactor,
            pool=pool,
            observe=self.observe,
            wall=self._around.wall,
            timeouts=self._settings.timeouts,
            limits=self._settings.limits,
            status=status,
            warm=self.warm,
        )
        return self.site

    def live_peers(self) -> tuple[Peer, ...]:
        """Those that may be asked now."""
        return self.peers.view().peers

    def reload(self, settings: Settings) -> None:
        """Whether upstream may be asked, and for how long its word on a tag holds."""
        self._offline, self._tag_ttl = settings.offline, settings.tag_ttl

    def status(self) -> dict[str, Any]:
        """Who this node is, for its peers."""
        me = self.membership.me
        return {"id": me.id, "zone": me.zone, "release": __version__, "wire": WIRE_VERSION}

    # Life.

    def start(self) -> None:
        """Look for the others."""
        self._discovery.first.addCallback(lambda _: self.peers.first_greeted())
        self._discovery.start()

    def busy(self, busy: bool) -> None:  # noqa: FBT001 - it is the whole message
        """Whether this node is slow: peers are told, and sent elsewhere."""
        self.membership.busy = self.admission.slow = busy

    def thawed(self, late: float) -> None:
        """The process stood still for so long, in seconds."""
        self.membership.thawed(self._reactor.seconds(), late)

    def _put_aside(self, peer: str, kind: PeerKind = PeerKind.CORRUPT) -> None:
        """Its bytes were not those of their digest."""
        pause = self.membership.failed(peer, kind, self._reactor.seconds())
        self.observe(
            PeerFailed(
                peer=peer,
                what="blob",
                kind=kind.value,
                reason="its bytes were not those of their digest",
                pause_seconds=pause,
            )
        )

    async def leave(self) -> None:
        """Refer those who ask to others, and tell the peers that this node is stopping."""
        if self.site is not None:
            self.site.leave()
        self._discovery.stop()
        going = [Deferred.fromCoroutine(self._goodbye(peer)) for peer in self.live_peers()]
        said = DeferredList(going, consumeErrors=True)
        await said.addTimeout(GOODBYE, self._reactor, lambda *_: [])

    async def _goodbye(self, peer: Peer) -> None:
        try:
            await self.peers.hello(peer.addresses[0])
        except (PeerFailure, CancelledError):
            return

    async def drain(self, deadline: Deadline) -> int:
        """Let bodies finish until ``deadline``; how many did not."""
        return 0 if self.site is None else await self.site.drain(deadline)

    def abort_all(self) -> None:
        """Cut the bodies that are being sent."""
        if self.site is not None:
            self.site.abort_all()

    def stop_asking(self) -> None:
        """Nothing new is asked of anybody; fills may end."""
        self._discovery.stop()
        self.upstreams.stop()
        self.suspicions.stop()

    async def close(self) -> None:
        """End all connections to peers."""
        self._secrets.stop()
        await self.peers.close()


def _membership(settings: Settings, me: str) -> Membership:
    assert settings.peers is not None
    own = Peer(me, _own_addresses(settings), settings.zone)
    found = Membership(own, settings.timeouts, __version__, settings.peers.addresses)
    found.instance = secrets.token_hex(8)
    return found


def _own_addresses(settings: Settings) -> tuple[Address, ...]:
    """As told; where nothing was, a node finds them among those of the peers."""
    assert settings.peer_address is not None
    port = parse_listen(settings.peer_address).port
    return tuple(Address(host, port) for host in settings.node_address)
