"""Several real caches whose peers are each other, without a wire between them.

All have the same Docker Hub, each by an egress of its own that can be cut.
Questions are answered by the other node's ``Owner`` in the same turn, unless
that is dead, silent, or not seen by who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import Span
from nodecache.cache import Cache, Policy
from nodecache.cache.lending import Lender
from nodecache.cache.owning import Sharing
from nodecache.events import Event
from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address, Peer
from nodecache.membership.view import View
from nodecache.peerwire.answers import Absent, Bytes, Manifest, ManifestAnswer, Refusal
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion
from nodecache.reference import Digest, Reference, Repository
from nodecache.results import Loan
from nodecache.seams import BlobSource
from nodecache.sharing.duties import Asking, Duties
from nodecache.sharing.places import UpstreamPlaces
from nodecache.sharing.ports import Cluster, PeerBody
from nodecache.sharing.suspicions import Suspicions
from nodecache.sharing.tools import Tools
from nodecache.sharing.upstreams import SharedUpstreams
from tests.fakes_cache import (
    ALPINE,
    EPOCH,
    LATEST,
    FakeFills,
    FakeReadable,
    FakeStore,
    FakeUpstream,
    Fetched,
    FetchedPage,
    Found,
    open_policy,
)


class Egress:
    """One node's way to the Hub; ``cut`` is what everything fails with, once it is set.

    ``known``: the node has noticed, and asks no more.
    """

    def __init__(self, hub: FakeUpstream, node: str) -> None:
        self.hub = hub
        self.node = node
        self.cut: UpstreamFailure | None = None
        self.known = False
        self.asked: list[str] = []

    def down(self) -> UpstreamFailure | None:
        if self.cut is not None and self.known:
            return self.cut
        return self.hub.down()

    def _go(self, what: str) -> None:
        self.asked.append(what)
        if self.cut is not None:
            raise self.cut

    async def head_manifest(self, name: str, reference: Reference) -> Found:
        self._go("HEAD")
        return await self.hub.head_manifest(name, reference)

    async def get_manifest(self, name: str, reference: Reference) -> Fetched:
        self._go("GET")
        return await self.hub.get_manifest(name, reference)

    async def head_blob(self, name: str, digest: Digest) -> int:
        self._go("SIZE")
        return await self.hub.head_blob(name, digest)

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        return self.hub.blob_source(name, digest)

    async def tags(self, name: str, n: int | None, last: str | None) -> FetchedPage:
        self._go("LIST")
        return await self.hub.tags(name, n, last)

    async def referrers(self, name: str, digest: Digest, artifact_type: str | None) -> FetchedPage:
        self._go("LIST")
        return await self.hub.referrers(name, digest, artifact_type)


class FakeLoan(Loan):
    def __init__(self, total: int, *, fetched: bool) -> None:
        self._readable = FakeReadable(total)
        self._total = total
        self._fetched = fetched

    @property
    def readable(self) -> FakeReadable:
        return self._readable

    @property
    def total(self) -> int:
        return self._total

    @property
    def ranged(self) -> bool:
        return True

    @property
    def fetched(self) -> bool:
        return self._fetched

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        self._readable.close()


class FakeLender(Lender):
    """Lends what is whole in ``store``, ``partial`` blobs (by size), and what it may fetch."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.partial: dict[Digest, int] = {}
        self.fetchable: dict[Digest, int] = {}
        self.failure: Exception | None = None
        self.loans: list[FakeLoan] = []
        self.asked: list[tuple[Digest, bool]] = []
        self.waits: list[float] = []
        #: Blobs that a fill is getting, no byte of which is here.
        self.getting: set[Digest] = set()
        self.distrusted: list[tuple[Digest, dict[int, tuple[int, ...]]]] = []

    async def lend(
        self,
        repository: Repository,
        digest: Digest,
        span: Span,
        size: int | None,
        *,
        fetch: bool,
        asker: str,
        wait: float = 0.0,
    ) -> Loan | None:
        self.waits.append(wait)
        self.asked.append((digest, fetch))
        total = self.partial.get(digest, self.store.blob_size(digest))
        fetched = total is None
        if total is None and fetch:
            if self.failure is not None:
                raise self.failure
            total = self.fetchable.get(digest)
        if total is None:
            return None
        self.loans.append(FakeLoan(total, fetched=fetched))
        return self.loans[-1]

    def is_getting(self, digest: Digest, span: Span, asker: str) -> bool:
        return digest in self.getting

    async def is_new(self, digest: Digest) -> bool:
        return await self.holds(digest, Span(0, 1), "") is None

    async def holds(self, digest: Digest, span: Span, asker: str) -> int | None:
        return self.partial.get(digest, self.store.blob_size(digest))

    async def distrust(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        self.distrusted.append((digest, dict(sums)))


class MemoryCluster(Cluster):
    """One node's peers. ``unseen`` are not in its view."""

    def __init__(self, case: ClusterCase, me: str) -> None:
        self.case = case
        self.me = me
        self.unseen: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []
        self.put_aside: list[str] = []
        self.twist: dict[str, Any] = {}

    def view(self) -> View:
        others = [name for name in self.case.nodes if name != self.me and name not in self.unseen]
        return View(_peer(self.me), [_peer(name) for name in others])

    async def ready(self) -> None:
        pass

    async def blob(
        self, peer: Peer, question: BlobQuestion, silence: float | None = None
    ) -> PeerBody | Refusal:
        raise NotImplementedError

    async def has_blob(self, peer: Peer, question: BlobQuestion) -> Bytes | Refusal:
        owner = await self._reach(peer, "has_blob", question.mode.value, None)
        size = await owner.peer_has_blob(question)
        return Absent() if size is None else Bytes(size, ranged=True)

    async def manifest(
        self, peer: Peer, question: ManifestQuestion, silence: float | None = None
    ) -> ManifestAnswer:
        what = "head" if question.head else "get"
        owner = await self._reach(peer, what, question.mode.value, silence)
        asking = Deferred.fromCoroutine(owner.peer_manifest(question, self.me))
        answer: ManifestAnswer = await asking
        twist = self.twist.get(peer.id)
        return twist(answer) if twist is not None and isinstance(answer, Manifest) else answer

    async def suspect(
        self, peer: Peer, digest: Digest, sums: Mapping[int, tuple[int, ...]]
    ) -> None:
        owner = await self._reach(peer, "suspect", "", None)
        await owner.peer_suspect(digest, dict(sums), self.me)

    async def _reach(self, peer: Peer, what: str, mode: str, silence: float | None) -> Any:
        self.asked.append((peer.id, what, mode))
        node = self.case.nodes[peer.id]
        if node.dead:
            raise PeerFailure(peer.id, PeerKind.REFUSED, "connection refused")
        if node.silent:
            waiting: Deferred[None] = Deferred()

            def failed(*_: object) -> None:
                raise PeerFailure(peer.id, PeerKind.TIMEOUT, "it said nothing")

            await waiting.addTimeout(silence or 1.5, self.case.clock, failed)
        assert node.cache.owner is not None
        return node.cache.owner


def _peer(name: str) -> Peer:
    return Peer(name, (Address("10.0.0.1", 5001),))


@attrs.define(eq=False)
class Node:
    """``skew``: seconds by which its wall clock is ahead."""

    name: str
    store: FakeStore
    fills: FakeFills
    lender: FakeLender
    egress: Egress
    cluster: MemoryCluster
    duties: Duties
    asking: Asking
    events: list[Event]
    cache: Cache = attrs.field(init=False)
    skew: float = 0.0
    dead: bool = False
    silent: bool = False

    def set_policy(self, **changes: Any) -> None:
        self.cache.policy = attrs.evolve(self.cache.policy, **changes)


class ClusterCase(SynchronousTestCase):
    """``make(n)`` makes the nodes n0, n1 and so on, before the same Hub."""

    tag_ttl = 60.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = FakeUpstream()
        self.timeouts = Timeouts()
        self.limits = Limits()
        self.nodes: dict[str, Node] = {}

    def make(self, count: int) -> list[Node]:
        for number in range(count):
            name = f"n{number}"
            self.nodes[name] = self.make_node(name)
        return list(self.nodes.values())

    def make_node(self, name: str) -> Node:
        store = FakeStore()
        node = Node(
            name,
            store,
            FakeFills(),
            FakeLender(store),
            Egress(self.hub, name),
            MemoryCluster(self, name),
            Duties(),
            Asking(),
            [],
        )
        node.cache = self.make_cache(node)
        return node

    def make_cache(self, node: Node, policy: Policy | None = None) -> Cache:
        """A new cache for the node, as after a restart."""

        class Only:
            def get(self, _namespace: str) -> Egress:
                return node.egress

        def offline() -> bool:
            return node.cache.policy.offline

        observe = node.events.append
        aside = node.cluster.put_aside.append

        def doubted(peer: str, _kind: PeerKind) -> None:
            aside(peer)

        suspicions = Suspicions(node.cluster, self.clock, observe, doubted, self.timeouts)
        tools = Tools(
            cluster=node.cluster,
            duties=node.duties,
            asking=node.asking,
            places=UpstreamPlaces(8, 8, self.clock),
            suspicions=suspicions,
            clock=self.clock,
            limits=self.limits,
            timeouts=self.timeouts,
            offline=offline,
        )
        shared = SharedUpstreams(Only(), tools, put_aside=aside)
        return Cache(
            node.store,
            node.fills,
            shared,
            policy or open_policy(self.tag_ttl),
            clock=self.clock,
            wall=lambda: EPOCH + self.clock.seconds() + node.skew,
            observe=observe,
            limits=self.limits,
            timeouts=self.timeouts,
            sharing=Sharing(
                direct=shared.owned,
                others=shared.rest,
                lender=node.lender,
                duties=node.duties,
                asking=node.asking,
                repairs_alone=suspicions.repairs_alone,
            ),
        )

    # Who is who.

    def ranked(self, key: str) -> list[Node]:
        """All nodes as they rank for ``key``, by a view of all of them."""
        view = View(_peer("n0"), [_peer(name) for name in self.nodes])
        return [self.nodes[peer.id] for peer in view.rank(key, len(self.nodes))]

    def by_tag(self, reference: Reference = LATEST, repository: Repository = ALPINE) -> list[Node]:
        return self.ranked(f"{repository.namespace}/{repository.name}:{reference}")

    # What is done.

    def start(self, work: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)

    def ask(
        self,
        node: Node,
        reference: Reference = LATEST,
        *,
        head: bool = False,
        repository: Repository = ALPINE,
    ) -> Deferred[Any]:
        return self.start(node.cache.manifest(repository, reference, head=head))

    def pull(self, node: Node, reference: Reference = LATEST, **how: Any) -> Any:
        """The result of a question that must be answered at once."""
        return self.successResultOf(self.ask(node, reference, **how))

    def refused(self, node: Node, reference: Reference = LATEST, **how: Any) -> Any:
        return self.failureResultOf(self.ask(node, reference, **how)).value

    def spent(self) -> list[str]:
        """What was asked of the Hub since the last time."""
        asked, self.hub.asked = self.hub.asked, []
        return asked

    def questions(self) -> list[tuple[str, str, str, str]]:
        """What nodes asked of each other since the last time: asker, asked, what, mode."""
        found = []
        for node in self.nodes.values():
            found += [(node.name, *asked) for asked in node.cluster.asked]
            node.cluster.asked = []
        return found
